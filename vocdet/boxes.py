"""Boxes: (N, 4) xmin, ymin, xmax, ymax in pixels, 0-based, half-open, so width = xmax - xmin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # (N, 4)


def area(boxes: Boxes) -> NDArray[np.float64]:
    """(N,) square pixels; an inverted box has area 0."""
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)  # (N, 2)
    return np.asarray(size[:, 0] * size[:, 1], np.float64)


def shared_areas(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """(N, M) square pixels that each box of `a` (N, 4) shares with each of `b` (M, 4)."""
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    return np.asarray(np.clip(corner, 0, None).prod(axis=2))


def box_ious(a: Boxes, b: Boxes, shared: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """(N, M) IoU of boxes, in [0, 1], from their `shared_areas` where these are known; two empty boxes have IoU 0."""
    common = shared_areas(a, b) if shared is None else shared
    return np.asarray(common / np.maximum(area(a)[:, None] + area(b)[None] - common, 1e-9))


def clip(boxes: Boxes, width: float, height: float) -> Boxes:
    """Boxes clipped to an image; one outside it gets area 0."""
    return np.asarray(np.clip(boxes, 0, np.array([width, height, width, height], np.float64)))
