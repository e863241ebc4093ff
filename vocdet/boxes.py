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
