"""The shapes of a labelme file as objects: boxes, polygons and masks."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vocdet import masks
from vocdet.data.findings import Notes
from vocdet.data.rotated import rotated_extra
from vocdet.formats.labelme.file import LabelmeFile
from vocdet.formats.shared.builder import FLAGS
from vocdet.formats.shared.json_file import encoded, is_empty, is_number, shown
from vocdet.formats.shared.shapes import FARTHEST, ellipse
from vocdet.formats.shared.values import as_whole, clean_label
from vocdet.wording import counted

SHAPE_KEYS = frozenset(("label", "points", "shape_type", "mask", "line_color", "fill_color", "flags", "attributes",
                         "group_id", "description"))  # fmt: skip
_POLYGONS, _ROTATIONS = ("polygon", "quadrilateral"), ("rotation", "oriented_rectangle")
_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_REDRAW = "draw the shape again in labelme, or delete it"


@dataclass(slots=True)
class Item:
    """An object: one shape, or several with the same label and group."""

    label: str
    box: tuple[float, float, float, float]
    index: int  # of its first shape
    segmentation: bytes = b""
    flags: int = 0
    extra: bytes = b""
    rotated: bool = False


def read_items(file: LabelmeFile, size: tuple[int, int], notes: Notes) -> list[Item]:
    """The objects of a file whose image has this size; shapes with the same label and group are one object."""
    groups: dict[tuple[Any, ...], list[_Shape]] = {}
    for index, value in enumerate(file.shapes):
        findings = _ShapeFindings(file.path, index, notes)
        shape = _shape(value, size, findings)
        if shape is not None:
            group = shape.keys.get("group_id")
            alone = group is None or isinstance(group, (dict, list))
            key: tuple[Any, ...] = (index,) if alone else (shape.label, str(group))
            groups.setdefault(key, []).append(shape)
    return [_object_of(shapes, size) for shapes in groups.values()]


@dataclass(slots=True)
class _ShapeFindings:
    """Where the findings of one shape go."""

    path: Path
    index: int
    notes: Notes

    def error(self, code: str, problem: str, hint: str = _REDRAW) -> None:
        self.notes.add(code, "error", problem, self.path, hint, inside=f"shapes[{self.index}]")

    def warning(self, code: str, problem: str, hint: str) -> None:
        self.notes.add(code, "warning", problem, self.path, hint, inside=f"shapes[{self.index}]")


@dataclass(slots=True)
class _Shape:
    label: str
    index: int
    keys: Mapping[str, Any]  # as in the file
    box: tuple[float, float, float, float]
    polygon: list[float] = field(default_factory=list)  # of every shape but a mask
    mask: NDArray[np.bool_] | None = None  # (H, W) of the image
    rectangle: bool = False  # alone, it is a box without a mask
    rotated: bool = False


def _shape(value: object, size: tuple[int, int], findings: _ShapeFindings) -> _Shape | None:
    if not isinstance(value, dict):
        findings.error("labelme.shape", f"is {shown(value)}, not an object")
        return None
    kind = value.get("shape_type") or "polygon"  # the first versions of labelme had only polygons
    label = _label_text(value.get("label"), findings)
    if kind in _WITHOUT_AREA:
        problem = f"is a {kind}, which has no area: it is ignored"
        findings.warning("labelme.shape.no_area", problem, "draw a polygon or a rectangle around the object")
        return None
    points = _points(value.get("points"), size, findings)
    if label is None or points is None:
        return None
    _check_flags(value, findings)
    shape = _Shape(label, findings.index, value, (0, 0, 0, 0))
    if kind == "mask":
        return _with_mask(shape, points, size, findings)
    if kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        shape.polygon = ellipse(*points[0], radius, radius)
    elif kind == "rectangle" and len(points) in (2, 4):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        shape.polygon = [min(xs), min(ys), max(xs), min(ys), max(xs), max(ys), min(xs), max(ys)]
        shape.rectangle = True
    elif kind in _POLYGONS and len(points) >= 3:
        shape.polygon = [number for point in points for number in point]
    elif kind in _ROTATIONS and len(points) == 4:
        shape.polygon = [number for point in points for number in point]
        shape.rectangle = shape.rotated = True
    elif kind in ("circle", "rectangle", *_POLYGONS, *_ROTATIONS):
        findings.error("labelme.shape.points", f"is a {kind} with {counted(len(points), 'point')}")
        return None
    else:
        findings.error("labelme.shape.type", f"has the unknown shape_type {shown(kind)}")
        return None
    xs, ys = shape.polygon[::2], shape.polygon[1::2]
    shape.box = min(xs), min(ys), max(xs), max(ys)
    return shape


def _is_flag(value: object) -> bool:
    """Whether a JSON value is true, false, 1 or 0."""
    return isinstance(value, (bool, int)) and value in (0, 1)


def _check_flags(keys: Mapping[str, Any], findings: _ShapeFindings) -> None:
    flags = keys.get("flags")
    if flags is not None and not isinstance(flags, dict):
        findings.warning("labelme.flags", f"flags are {shown(flags)}, not an object: they are ignored", "correct them")
    stated = {**(flags if isinstance(flags, dict) else {}), **keys}
    for name in FLAGS:
        if not is_empty(stated.get(name)) and not _is_flag(stated[name]):
            problem = f"{name} is {shown(stated[name])}, neither true nor false: it is kept as an attribute"
            findings.warning("labelme.flags", problem, "write true or false")


def _label_text(value: object, findings: _ShapeFindings) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        problem = "has no label" if value is None or isinstance(value, str) else f"has the label {shown(value)}"
        findings.error("label.empty", problem, "give it a label, or delete the shape")
        return None
    label = clean_label(value)
    if label != value:
        problem = f"the label {value!r} has extra whitespace"
        findings.warning("label.whitespace", problem, "remove it; it is ignored here")
    return label


def _points(value: object, size: tuple[int, int], findings: _ShapeFindings) -> list[tuple[float, float]] | None:
    if not isinstance(value, list) or not value:
        findings.error("labelme.shape.points", "has no points")
        return None
    points = []
    for i, point in enumerate(value):
        if not (isinstance(point, list) and len(point) == 2 and all(map(is_number, point))):
            findings.error("labelme.shape.points", f"points[{i}] is {shown(point)}, not two numbers")
            return None
        if max(map(abs, point)) > FARTHEST * max(size):
            problem = f"points[{i}] is {shown(point)}, far outside an image of {size[0]}×{size[1]}"
            findings.error("labelme.shape.far", problem)
            return None
        points.append((point[0], point[1]))
    return points


def _with_mask(
    shape: _Shape, points: Sequence[tuple[float, float]], size: tuple[int, int], findings: _ShapeFindings
) -> _Shape | None:
    """A mask: a PNG of the pixels from its first point to its second, inclusive, or of the whole image."""
    try:
        (left, top), (right, bottom) = ((int(x), int(y)) for x, y in points)
        inside = 0 <= left <= right < size[0] and 0 <= top <= bottom < size[1]
        small = _png(shape.keys.get("mask"), (right - left + 1, bottom - top + 1) if inside else size, size)
    except Exception as error:  # Pillow's readers raise many kinds on broken files
        findings.error("labelme.mask", f"has a mask that cannot be read: {error}")
        return None
    mask = small
    if small.shape != (size[1], size[0]):
        mask = np.zeros((size[1], size[0]), np.bool_)
        mask[top : bottom + 1, left : right + 1] = small
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        findings.error("labelme.mask", "has an empty mask")
        return None
    shape.mask = mask
    shape.box = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    return shape


def _png(text: object, crop: tuple[int, int], whole: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) of a mask that must have one of these sizes (width, height)."""
    if not isinstance(text, str):
        raise ValueError("it is missing")
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)) as image:
        if image.size not in (crop, whole):
            raise ValueError(f"it is {image.width}×{image.height} pixels, not {crop[0]}×{crop[1]}")
        values = np.asarray(image)
    return np.asarray(values.reshape(*values.shape[:2], -1)[:, :, 0] > 0, np.bool_)


def _object_of(shapes: Sequence[_Shape], size: tuple[int, int]) -> Item:
    first = shapes[0]
    lows = [min(side) for side in zip(*(shape.box[:2] for shape in shapes), strict=True)]
    highs = [max(side) for side in zip(*(shape.box[2:] for shape in shapes), strict=True)]
    item = Item(first.label, (lows[0], lows[1], highs[0], highs[1]), first.index)
    polygons = [list(map(as_whole, shape.polygon)) for shape in shapes if shape.polygon]
    drawn_masks = [shape.mask for shape in shapes if shape.mask is not None]
    if drawn_masks:
        width, height = size
        whole = np.logical_or.reduce([*drawn_masks, *([masks.pixels(polygons, height, width)] if polygons else [])])
        item.segmentation = masks.rle_json(whole)
    elif len(shapes) > 1 or not first.rectangle:
        item.segmentation = msgspec.json.encode(polygons)
    attributes: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for shape in reversed(shapes):  # the first takes precedence
        others |= {key: value for key, value in shape.keys.items() if key not in SHAPE_KEYS and not is_empty(value)}
        others |= {key: shape.keys[key] for key in ("group_id", "description") if not is_empty(shape.keys.get(key))}
        for name in ("attributes", "flags"):
            values = shape.keys.get(name)
            attributes |= values if isinstance(values, dict) else {}
    marked = {name: value for name in FLAGS if _is_flag(value := others.get(name, attributes.get(name)))}
    item.flags = sum(FLAGS[name] for name, value in marked.items() if value)
    scalars = {k: v for k, v in attributes.items() if isinstance(v, (str, int, float)) and k not in marked}
    others = {key: value for key, value in others.items() if key not in marked}
    extra = ({"attributes": scalars} if scalars else {}) | others
    item.rotated = first.rotated and len(shapes) == 1
    if item.rotated:
        extra |= rotated_extra(polygons[0], _degrees(extra.pop("direction", None)))
    item.extra = encoded(extra)
    return item


def _degrees(direction: Any) -> float | None:
    """The angle of X-AnyLabeling's `direction`, in radians clockwise."""
    return round(math.degrees(direction) % 360, 6) % 360 if is_number(direction) else None
