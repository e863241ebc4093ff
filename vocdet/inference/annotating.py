"""Detections as annotations to correct: what they add to an image, and in which order images teach most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes, box_ious
from vocdet.data.detections import Detections
from vocdet.inputs.images import Image

ANNOTATED_FROM = 0.5  # IoU from which a detection is an object that is annotated
DRAWN_ALIKE = 0.75  # IoU from which it is drawn alike
OUTLINE_OFF = 1.5  # pixels that an outline may be off, to have fewer corners
THUMBNAIL = 8  # pixels a side, to compare images with


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of detections and of objects."""

    new: list[int]  # detections without an object
    missed: list[int]  # objects without a detection
    other: list[tuple[int, int]]  # detection and object in one place, with another box or another label


def compare(detections: Detections, labels: Sequence[str], boxes: Boxes, names: Sequence[str]) -> Comparison:
    """What a model sees otherwise than the annotated boxes (N, 4) with their label names; the best detections first."""
    iou = box_ious(detections.boxes, boxes)
    free, new, other = set(range(len(boxes))), list[int](), list[tuple[int, int]]()
    for row in range(len(detections)):
        name = labels[int(detections.labels[row])]
        near = [k for k in range(len(boxes)) if iou[row, k] >= ANNOTATED_FROM]
        match = max((k for k in near if k in free), key=lambda k: (names[k] == name, iou[row, k]), default=None)
        if match is None:
            if not near:
                new.append(row)
            continue
        free.remove(match)
        if names[match] != name or iou[row, match] < DRAWN_ALIKE:
            other.append((row, match))
    return Comparison(new, sorted(free), other)


def uncertainty(detections: Detections, thresholds: NDArray[np.float32]) -> float:
    """How unsure a model is of an image, in [0, 1]: of its least sure decision at the thresholds (L,) of the labels.

    A score at its threshold counts 1, one of 0 or 1 counts 0. An image without any detection counts 0.5.
    """
    if not len(detections):
        return 0.5
    limit = np.clip(thresholds[detections.labels], 0.01, 0.99)
    scores = detections.scores
    away = np.where(scores >= limit, (scores - limit) / (1 - limit), (limit - scores) / limit)
    return float(1 - away.min())


def looks(image: Image, detections: Detections, count: int) -> NDArray[np.float32]:
    """A description of an image to compare it with others: a thumbnail, and the number of objects of `count` labels."""
    small = cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32).reshape(-1) / 255
    numbers = np.log1p(np.bincount(detections.labels, minlength=count)).astype(np.float32)
    return np.concatenate([small / np.sqrt(len(small)), numbers / np.sqrt(max(count, 1))])


def simplified(polygon: Sequence[float]) -> list[float]:
    """A polygon (x1, y1, x2, y2, ...) with few corners to correct, `OUTLINE_OFF` pixels from the given one at most."""
    corners = cv2.approxPolyDP(np.array(polygon, np.float32).reshape(-1, 1, 2), OUTLINE_OFF, True)
    return [float(side) for side in corners.reshape(-1)] if len(corners) > 2 else list(polygon)


def teaching_order(unsure: NDArray[np.float64], described: NDArray[np.float32]) -> list[int]:
    """Rows in the order in which labeling them teaches most: unsure ones that look unlike those before them.

    The first is the least sure; then each is that with the largest product of uncertainty (N,) and distance of its
    description (N, D) to the nearest one before it, as in the greedy k-center selection of Sener and Savarese, 2018.
    """
    count = len(unsure)
    distance, order = np.ones(count), list[int]()
    left = np.ones(count, np.bool_)
    for _ in range(count):
        value = np.where(left, (unsure + 0.05) * distance, -1.0)
        row = int(value.argmax())
        order.append(row)
        left[row] = False
        to = np.linalg.norm(described - described[row], axis=1)
        distance = to if len(order) == 1 else np.minimum(distance, to)
    return order
