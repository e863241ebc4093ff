"""Faster and Mask R-CNN: network, anchors, region proposals, heads."""
