"""Compare detections with ground truth: metrics."""
