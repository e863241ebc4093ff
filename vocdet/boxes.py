"""Boxes: (N, 4) xmin, ymin, xmax, ymax in pixels, 0-based, half-open, so width = xmax - xmin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # (N, 4)


def area(boxes: Boxes) -> NDArray[np.float64]:
    """(N,) square pixels; an inverted box has area 0."""
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)  # (N, 2)
    return np.asarray(size[:, 0] * size[:, 1], np.float64)


def clip(boxes: Boxes, width: float, height: float) -> Boxes:
    """Boxes clipped to an image; one outside it gets area 0."""
    return np.asarray(np.clip(boxes, 0, np.array([width, height, width, height], np.float64)))


def pairwise_iou(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """IoU of every box of `a` (N, 4) with every box of `b` (M, 4): (N, M), in [0, 1].

    Two empty boxes have IoU 0, not NaN.
    """
    low = np.maximum(a[:, None, :2], b[:, :2])  # (N, M, 2)
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    inter = np.prod(np.maximum(high - low, 0), axis=2)  # (N, M)
    union = area(a)[:, None] + area(b) - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0))
