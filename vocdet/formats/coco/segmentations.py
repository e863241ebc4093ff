"""Segmentations in other notations than COCO's own: one flat list, lists of points, numbers as texts."""

from __future__ import annotations

import json
import re
from contextlib import suppress

import msgspec

from vocdet import masks
from vocdet.formats.coco.values import number_in

_USUAL_BEGIN = re.compile(rb"\s*(?:\{|\[\s*\[\s*[^\s\[\"\]])")  # an RLE, or a list of lists of numbers
_TWO_NUMBERS = re.compile(rb"\s*\[\s*\[[^\[\],]*,[^\[\],]*\]")  # begins with a list of two numbers
_POLYGON_NUMBERS = 6  # numbers of a polygon


def is_usual(text: bytes) -> bool:
    """Whether a segmentation begins as COCO defines it."""
    return bool(_USUAL_BEGIN.match(text)) and not _TWO_NUMBERS.match(text)


def normalized(text: bytes) -> tuple[bytes, str]:
    """The segmentation in COCO's notation, and what it was; unchanged and "" where its meaning is not certain."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        value: object = msgspec.json.decode(text)
        was = ""
        if isinstance(value, str) and value.strip():
            value, was = json.loads(value), "a text"
        if was and isinstance(value, dict):
            return msgspec.json.encode(value), was
        polygons, notation = _polygons(value)
        if polygons and (was or notation):
            return msgspec.json.encode(polygons), was or notation
    return text, ""


def bounds(text: bytes) -> tuple[float, float, float, float] | None:
    """x, y, width and height of the box around a segmentation; None if it is invalid."""
    try:
        around = masks.bounds(masks.parse(normalized(text)[0]))
    except masks.MaskError:
        return None
    if around is None:
        return None
    xmin, ymin, xmax, ymax = around
    return xmin, ymin, xmax - xmin, ymax - ymin


def _polygons(value: object) -> tuple[list[list[float]], str]:
    """The polygons in a list, and its notation, "" for COCO's; no polygon if the notation is unknown."""
    if not isinstance(value, list):
        return [], ""
    flat = _polygon_numbers(value)
    if flat:
        return [flat], "one flat list"
    points = _point_numbers(value)
    if points:
        return [points], "a list of points"
    polygons = [_point_numbers(item) if isinstance(item, list) else None for item in value]
    if all(polygons):
        return [polygon for polygon in polygons if polygon], "lists of points"
    polygons = [_polygon_numbers(item) if isinstance(item, list) else None for item in value]
    if all(polygons):
        texts = any(isinstance(number, str) for item in value for number in item)
        return [polygon for polygon in polygons if polygon], "numbers as texts" if texts else ""
    return [], ""


def _point_numbers(value: list[object]) -> list[float] | None:
    """x1, y1, x2, y2, … of a list of three or more points."""
    if not all(isinstance(item, list) and len(item) == 2 for item in value):
        return None
    return _polygon_numbers([number for item in value if isinstance(item, list) for number in item])


def _polygon_numbers(value: list[object]) -> list[float] | None:
    """The numbers of a polygon, also those in texts."""
    if len(value) < _POLYGON_NUMBERS or len(value) % 2:
        return None
    numbers = [number_in(item) for item in value]
    return [number for number in numbers if number is not None] if None not in numbers else None
