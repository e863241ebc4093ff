"""SSD-lite: network, anchors, loss, detections."""
