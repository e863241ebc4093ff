"""VGG Image Annotator: a JSON or CSV file for all images."""
