"""COCO: one JSON file a dataset or split."""
