"""CVAT for images and CVAT for video: an annotations.xml for all images."""
