"""Circles and ellipses as polygons, and which numbers can be points of an image."""

from __future__ import annotations

import math
from collections.abc import Iterable

FARTHEST = 10  # times the larger side of the image; points beyond are mistakes


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> list[float]:
    """An ellipse about a center, turned clockwise, as a polygon that deviates by less than half a pixel."""
    corners = 4 * math.ceil(math.pi / math.acos(1 - 0.5 / max(rx, ry, 1)) / 4)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    points = []
    for i in range(corners):
        a, b = rx * math.cos(2 * math.pi * i / corners), ry * math.sin(2 * math.pi * i / corners)
        points += [round(x + a * cos - b * sin, 6) + 0.0, round(y + a * sin + b * cos, 6) + 0.0]
    return points


def is_near(numbers: Iterable[float], size: tuple[int, int]) -> bool:
    """Whether all numbers are finite and can be coordinates in an image of this size, or beside it."""
    return all(abs(number) <= FARTHEST * max(size) for number in numbers)  # False for NaN
