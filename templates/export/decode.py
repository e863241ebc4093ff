"""From the outputs of the model in this folder to detections, with NumPy alone; OpenCV prepares the image.

inputs = prepare(cv2.cvtColor(cv2.imread("photo.jpg"), cv2.COLOR_BGR2RGB), width, height)   # of the model's input
boxes, scores, labels = select(*model(inputs), width=image.shape[1], height=image.shape[0])
"""

from __future__ import annotations

from typing import Any

import numpy as np

LEAST = 0.001  # score of a detection: compare it with the threshold of its label
OVERLAP = 0.55  # IoU above which the worse of two boxes of a label is removed
CANDIDATES = 300  # of a label, before that
MOST = 300  # detections
AVERAGE = True  # whether a box is the mean of the candidates of its label that overlap it, weighted by their scores
NO_VOTE, FULL_VOTE = 0.75, 0.85  # IoU with the box from which a candidate counts, and counts in full


def prepare(image: Any, width: int, height: int) -> Any:
    """An RGB image (H, W, 3) uint8 as the model takes it: (1, 3, height, width) float32 in [0, 1]."""
    if image.shape[:2] != (height, width):
        import cv2

        shrink = min(image.shape[0] / height, image.shape[1] / width)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrink > 2 else cv2.INTER_LINEAR)
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def select(boxes: Any, scores: Any, width: int, height: int, average: bool = AVERAGE) -> tuple[Any, Any, Any]:
    """Boxes (N, 4) in pixels of an image of these sides, scores (N,) and labels (N,), the best first.

    From the model's boxes (1, A, 4) in shares of the image, and scores (1, A, L).
    """
    boxes, scores = boxes.reshape(-1, 4), scores.reshape(-1, scores.shape[-1])
    chosen, rows, labels = [], [], []
    for label in range(scores.shape[1]):
        order = np.flatnonzero(scores[:, label] > LEAST)
        order = some = order[np.argsort(-scores[order, label], kind="stable")[:CANDIDATES]]
        while len(order):
            box = boxes[order[0]]
            chosen.append(_mean(box, boxes[some], scores[some, label]) if average else box)
            rows.append(order[0])
            labels.append(label)
            order = order[1:][_iou(box, boxes[order[1:]]) <= OVERLAP]
    row, found = np.array(rows, np.int64), np.array(labels, np.int64)
    points = scores[row, found]
    best = np.argsort(-points, kind="stable")[:MOST]
    sides = np.array([width, height, width, height], np.float32)
    return np.array(chosen, np.float32).reshape(-1, 4)[best] * sides, points[best], found[best]


def _mean(box: Any, others: Any, scores: Any) -> Any:
    votes = np.clip((_iou(box, others) - NO_VOTE) / (FULL_VOTE - NO_VOTE), 0, 1) * scores
    return votes @ others / votes.sum() if votes.any() else box


def _iou(box: Any, others: Any) -> Any:
    sides = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0)
    inter = sides[:, 0] * sides[:, 1]
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return inter / np.maximum((box[2] - box[0]) * (box[3] - box[1]) + areas - inter, 1e-12)
