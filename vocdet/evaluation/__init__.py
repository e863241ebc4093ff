"""Detections and truth in, figures out."""
