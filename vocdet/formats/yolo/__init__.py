"""YOLO: one text file an image, a data.yaml for all."""
