"""How datasets and detections are stored in files."""
