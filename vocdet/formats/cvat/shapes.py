"""The shapes of CVAT as objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from vocdet import masks
from vocdet.data.findings import Notes
from vocdet.data.rotated import around, rotated_extra, turned
from vocdet.formats.cvat.tracks import CvatShape
from vocdet.formats.images.facts import Size
from vocdet.formats.shared.builder import DIFFICULT, OCCLUDED, TRUNCATED
from vocdet.formats.shared.records import Item, Record
from vocdet.formats.shared.shapes import ellipse, is_near
from vocdet.formats.shared.values import NUMBER, ShapeError, clean_label

_FLAGS = {"difficult": DIFFICULT, "truncated": TRUNCATED, "occluded": OCCLUDED}
_SIDES_OF = {"box": ("xtl", "ytl", "xbr", "ybr"), "ellipse": ("cx", "cy", "rx", "ry"),
          "mask": ("left", "top", "width", "height")}  # fmt: skip
_REDRAW = "draw it again in CVAT, or delete it"


def read_items(record: Record, size: Size, notes: Notes, *, root: Path) -> Iterator[Item]:
    """The objects of an image of this size."""
    path = root / record.source
    for shape in record.shapes:
        if shape.values.get("outside") == "1":
            continue
        if shape.kind not in (*_SIDES_OF, "polygon"):
            problem = f"is a {shape.kind[:40]}, which has no area: it is ignored"
            hint = "draw a box or a polygon around the object"
            notes.add("cvat.shape.no_area", "warning", problem, path, hint, line=shape.line)
            continue
        if not shape.label.strip():
            notes.add("label.empty", "error", "has no label", path, "give it a label, or delete it", line=shape.line)
            continue
        try:
            yield _shape_object(shape, size)
        except ShapeError as error:
            notes.add("cvat.shape", "error", f"the {shape.kind} {error}", path, _REDRAW, line=shape.line)


def _shape_object(shape: CvatShape, size: Size) -> Item:
    item = Item(clean_label(shape.label), (0, 0, 0, 0), shape.line)
    item.flags = OCCLUDED if shape.values.get("occluded") == "1" else 0
    attributes = dict(shape.attributes)
    for name in [name for name in attributes if name.lower() in _FLAGS]:
        item.flags |= _FLAGS[name.lower()] if attributes.pop(name).lower() == "true" else 0
    item.extra = {"attributes": attributes} if attributes else {}
    item.extra |= {key: int(text) for key in ("group_id", "z_order") if _is_count(text := shape.values.get(key, ""))}
    item.extra |= {"track_id": int(shape.track)} if shape.track.isdecimal() and len(shape.track) < 16 else {}
    if shape.kind == "polygon":
        _outline(item, _polygon_points(shape.values.get("points", "")), size)
        return item
    if shape.kind == "mask":
        _make_mask(item, shape, size)
        return item
    turn = _side_of(shape, "rotation") % 360 if shape.values.get("rotation") else 0.0
    first, second, third, fourth = (_side_of(shape, side) for side in _SIDES_OF[shape.kind])
    if not is_near((first, second, third, fourth, turn / 360), size):  # NaN for a turn without end
        raise ShapeError(f"is far outside an image of {size[0]}×{size[1]}")
    if shape.kind == "ellipse":
        if min(third, fourth) <= 0:
            raise ShapeError("has no area")
        _outline(item, ellipse(first, second, third, fourth, turn), size)
        return item
    item.box = first, second, third, fourth
    if turn:
        corners = turned(item.box, turn)
        item.box, item.rotated = around(corners), True
        item.extra |= rotated_extra(corners, round(turn, 6))
    return item


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 16 and int(text) > 0


def _outline(item: Item, points: list[float], size: Size) -> None:
    """Make an item a polygon."""
    if not is_near(points, size):
        raise ShapeError(f"is far outside an image of {size[0]}×{size[1]}")
    item.box = around(points)
    item.segmentation = msgspec.json.encode([[int(number) if number == int(number) else number for number in points]])


def _side_of(shape: CvatShape, name: str) -> float:
    text = shape.values.get(name, "").strip()
    if not NUMBER.fullmatch(text):
        raise ShapeError(f"has {name}={text[:40]!r}, not a number" if text else f"has no {name}")
    return float(text)


def _polygon_points(text: str) -> list[float]:
    """The points of a polygon, x1,y1;x2,y2;..., of which it needs three."""
    pairs = [pair.split(",") for pair in text.split(";") if pair.strip()]
    numbers = [len(pair) == 2 and all(NUMBER.fullmatch(one.strip()) for one in pair) for pair in pairs]
    bad = next((pair for pair, valid in zip(pairs, numbers, strict=True) if not valid), None)
    if bad is not None:
        raise ShapeError(f"has the point {','.join(bad)[:40]!r}")
    if len(pairs) < 3:
        raise ShapeError(f"has {len(pairs)} points, but needs three")
    return [float(number) for pair in pairs for number in pair]


def _make_mask(item: Item, shape: CvatShape, size: Size) -> None:
    """Make an item a mask: run lengths of 0 and 1 in row order, beginning with 0, inside a box of whole pixels."""
    sides = [_side_of(shape, side) for side in _SIDES_OF["mask"]]
    if not all(0 <= side < 2**31 and side == int(side) for side in sides):
        raise ShapeError("does not begin and end at whole pixels")
    left, top, width, height = map(int, sides)
    if not (width and height and left + width <= size[0] and top + height <= size[1]):
        raise ShapeError(f"of {width}×{height} at {left},{top} is not inside an image of {size[0]}×{size[1]}")
    if size[0] * size[1] > masks.MOST_PIXELS or max(size) > masks.LARGEST_SIDE:
        raise ShapeError("is too large to draw")
    texts = shape.values.get("rle", "").split(",")
    if not all(text.strip().isdecimal() and len(text.strip()) < 10 for text in texts):
        raise ShapeError("has an rle that is not a list of run lengths")
    counts = np.array([int(text) for text in texts], np.int64)
    if counts.sum() > width * height or counts[1::2].sum() == 0:
        raise ShapeError(f"has runs of {counts.sum()} pixels for {width}×{height}, {counts[1::2].sum()} of them set")
    pixels = np.zeros(width * height, np.bool_)  # runs of 0 at the end may be missing
    pixels[: counts.sum()] = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    whole = np.zeros((size[1], size[0]), np.bool_)
    whole[top : top + height, left : left + width] = pixels.reshape(height, width)
    item.segmentation = masks.rle_json(whole)
    columns, rows = np.flatnonzero(whole.any(axis=0)), np.flatnonzero(whole.any(axis=1))
    item.box = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
