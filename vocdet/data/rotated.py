"""Rotated boxes: read as the upright box around them. The angle and the corners are extras, and are written back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from vocdet.data.findings import Notes
from vocdet.wording import counted

ANGLE, CORNERS = "angle", "corners"  # keys of an object's extras: degrees clockwise; x1, y1, ..., y4 in pixels


class _Rotated(msgspec.Struct):
    angle: float
    corners: list[float]


_DECODE = msgspec.json.Decoder(_Rotated).decode

Box = tuple[float, float, float, float]


def turned(box: Box, degrees: float) -> list[float]:
    """The corners of a box (xmin, ymin, xmax, ymax) after it turns clockwise about its center."""
    xmin, ymin, xmax, ymax = box
    x, y = (xmin + xmax) / 2, (ymin + ymax) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = ((xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax))
    points = ((x + (a - x) * cos - (b - y) * sin, y + (a - x) * sin + (b - y) * cos) for a, b in corners)
    return [round(number, 6) + 0.0 for point in points for number in point]


def angle_of(corners: Sequence[float]) -> float:
    """Degrees clockwise, from 0 to 360, from the x axis to the line from the first corner to the second."""
    degrees = math.degrees(math.atan2(corners[3] - corners[1], corners[2] - corners[0]))
    return round(degrees % 360, 6) % 360


def around(points: Sequence[float]) -> Box:
    """The upright box around points x1, y1, x2, y2, ..."""
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def rotated_extra(corners: Sequence[float], degrees: float | None = None) -> dict[str, Any]:
    """The extras of a rotated box; without `degrees`, its corners give the angle."""
    return {ANGLE: angle_of(corners) if degrees is None else degrees, CORNERS: list(corners)}


def corners_in(extra: dict[str, Any]) -> list[float] | None:
    """The four corners in the extras of an object; None if they are not those of a rotated box."""
    if ANGLE not in extra or CORNERS not in extra:
        return None
    try:
        corners = msgspec.convert(extra, _Rotated).corners
    except msgspec.ValidationError:
        return None
    return corners if len(corners) == 8 else None


def corners_of(extra: bytes) -> list[float] | None:
    """`corners_in` of extras as JSON."""
    try:
        found = _DECODE(extra) if b'"corners"' in extra else None
    except (msgspec.DecodeError, RecursionError):
        return None
    return found.corners if found is not None and len(found.corners) == 8 else None


def note_rotated(count: int, path: Path, notes: Notes) -> None:
    """Note that a dataset has rotated boxes."""
    if count:
        problem = f"{counted(count, 'rotated box', 'rotated boxes')}: the upright box around each is used"
        hint = "nothing to do if upright boxes are enough: angles and corners are kept in the extras"
        notes.add("box.rotated", "warning", problem, path, hint)
