"""Rows of four corners: rotated boxes where all polygons of a dataset are rectangles, else polygons of four points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

OUTSIDE = 0.5  # of the image: how far corners of a rotated box may be outside

_SLACK = 1.5  # pixels that corners may be off, as those that were rounded to whole pixels
_SLACK_SHARE = 0.02  # of the longer side


def may_be_rotated(polygon: Sequence[float]) -> bool:
    """Whether fractions x1, y1, ..., y4 may be a rotated box: a parallelogram that is not far outside the image."""
    if len(polygon) != 8 or not all(-OUTSIDE <= value <= 1 + OUTSIDE for value in polygon):
        return False
    x1, y1, x2, y2, x3, y3, x4, y4 = polygon
    return math.hypot(x1 + x3 - x2 - x4, y1 + y3 - y2 - y4) <= 0.1 * math.hypot(x3 - x1, y3 - y1) + 0.01


def rotated_boxes(
    polygons: Mapping[int, Sequence[float]], sizes: NDArray[np.float64]
) -> dict[int, NDArray[np.float64]]:
    """The corners (4, 2) in pixels of every object, if all polygons are rectangles and not all upright; else nothing.

    `polygons` are fractions by the row of their object, `sizes` (M, 2) the widths and heights of the objects' images.
    """
    if not polygons or any(len(polygon) != 8 for polygon in polygons.values()):
        return {}
    corners = {row: np.array(polygon).reshape(4, 2) * sizes[row] for row, polygon in polygons.items()}
    return corners if all(map(_is_rectangle, corners.values())) and not all(map(_is_upright, corners.values())) else {}


def _slack(corners: NDArray[np.float64]) -> float:
    return max(_SLACK, _SLACK_SHARE * float(np.ptp(corners, axis=0).max()))


def _is_rectangle(corners: NDArray[np.float64]) -> bool:
    one, two = corners[1] - corners[0], corners[3] - corners[0]
    off = np.hypot(*(corners[0] + corners[2] - corners[1] - corners[3]))
    skew = abs(float(one @ two)) / max(np.hypot(*one), np.hypot(*two), 1e-9)
    return bool(off <= 2 * _slack(corners) and skew <= _slack(corners))


def _is_upright(corners: NDArray[np.float64]) -> bool:
    """Whether every corner is near one of the box around them."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    distances = np.minimum(corners - low, high - corners)
    return bool(distances.max() <= 0.5)
