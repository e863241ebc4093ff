"""An <object> of a VOC file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import msgspec
import numpy as np
from lxml import etree

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.data.findings import Severity
from vocdet.data.rotated import angle_of, around, turned
from vocdet.formats.shared.builder import FLAGS
from vocdet.formats.shared.values import NOT_FINITE, NUMBER, clean_label, number_text
from vocdet.formats.shared.xml import Note
from vocdet.wording import box_text, json_reason, quoted

RawBox = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax as written

# Tags of other tools that are preserved without being interpreted. Tags beyond these are preserved too, and reported.
KNOWN_TAGS = frozenset(
    ("owner", "actions", "point", "viewpoint", "id", "deleted", "verified", "date", "type", "contour")
)

_REDRAW = "redraw the box in labelImg, or delete its <object>"
SIDES = ("xmin", "ymin", "xmax", "ymax")
_FEW_DIGITS = 100  # of four numbers together: too few for an infinite one
_JSON_NUMBERS = re.compile(r"-?(0|[1-9]\d{0,8})(\.\d+)?(,-?(0|[1-9]\d{0,8})(\.\d+)?)*", re.ASCII)


@dataclass(slots=True)
class RareFields:
    """Fields that few objects have."""

    area: float = math.nan
    polygons: tuple[str, ...] = ()  # x1,y1,x2,y2,... as written, in numbers that are valid JSON
    segmentation: bytes = b""  # COCO's JSON, in which vocdet writes RLEs
    parts: tuple[tuple[str, RawBox], ...] = ()  # name and box as written
    attributes: dict[str, str] | None = None  # in CVAT's form
    coco: bytes = b""  # JSON object of fields from a COCO file; b"": none
    corners: tuple[float, ...] = ()  # of a rotated box: x1, y1, ..., y4
    angle: float = math.nan  # of a rotated box, in degrees clockwise
    tags: tuple[str, ...] = ()  # XML of all other children


NO_RARE_FIELDS = RareFields()


class RawObject(NamedTuple):
    """An object as written in its file."""

    label: str
    box: RawBox
    flags: int  # DIFFICULT | TRUNCATED | OCCLUDED | CROWD
    line: int
    pose: str  # "": none
    rare: RareFields | None  # None in most files


@dataclass(frozen=True, slots=True, eq=False)
class ObjectColumns:
    """Objects as written; row i of every column is object i."""

    labels: Sequence[str] = ()
    boxes: Boxes = field(default_factory=lambda: np.empty((0, 4)))
    flags: Sequence[int] = ()
    lines: Sequence[int] = ()
    poses: Sequence[str] = ()
    rare: dict[int, RareFields] = field(default_factory=dict)

    def rows(self) -> tuple[RawObject, ...]:
        """The objects."""
        columns = zip(self.labels, map(tuple, self.boxes.tolist()), self.flags, self.lines, self.poses, strict=True)
        return tuple(RawObject(*one, self.rare.get(row)) for row, one in enumerate(columns))


def columns_of(objects: Sequence[RawObject]) -> ObjectColumns:
    """The columns of some objects."""
    labels, boxes, flags, lines, poses, rares = zip(*objects, strict=True)
    rare = {row: one for row, one in enumerate(rares) if one is not None}
    return ObjectColumns(labels, np.array(boxes), flags, lines, poses, rare)


def read_object(element: etree._Element, note: Note, unknown: set[str]) -> RawObject | None:
    """Read an <object>; None, with one finding for all its errors, if it has any. Adds unknown tags to `unknown`."""
    errors: list[tuple[str, str, int, str]] = []

    def collect(code: str, severity: Severity, problem: str, line: int, hint: str) -> None:
        if severity == "error":
            errors.append((code, problem, line, hint))
        else:
            note(code, severity, problem, line, hint)

    item = _read_object(element, collect, unknown)
    if not errors:
        return item
    code, _, line, hint = errors[0]
    note(code, "error", "; ".join(dict.fromkeys(problem for _, problem, _, _ in errors)), line, hint)
    return None


def _read_object(element: etree._Element, note: Note, unknown: set[str]) -> RawObject | None:
    """The content of an <object>; errors and warnings are noted."""
    name: str | None = None
    bounds: etree._Element | None = None
    others: list[etree._Element] | None = None
    flags, pose = 0, ""
    seen: dict[str, bool] = {}  # flags
    if element.keys():
        problem = f"<object> has the attribute {quoted(str(element.keys()[0]))}, which is not read"
        note("voc.object.attribute", "warning", problem, line_of(element), "write it as an element, as labelImg does")
    for child in element:
        tag: str = child.tag  # type: ignore[assignment] # as in tag_of, whose call would show here
        if tag == "name":
            if name is None:
                name = child.text or ""
                if len(child):
                    note("voc.nested", "error", _holds(child), line_of(child), "write only the label in it")
            else:
                note("voc.tag.repeated", "warning", "a second <name> is ignored", line_of(child), "delete one of them")
        elif tag == "bndbox":
            if bounds is None:
                bounds = child
            else:
                note("voc.tag.repeated", "warning", "a second <bndbox> is ignored", line_of(child), _REDRAW)
        elif tag == "pose":
            pose = (child.text or "").strip()
            if len(child):
                note("voc.nested", "warning", _holds(child), line_of(child), "write only the pose in it")
        elif tag in FLAGS:
            text = child.text
            value = text == "1" or (text != "0" and _flag(child, tag, note))
            if len(child):
                note("voc.nested", "warning", _holds(child), line_of(child), "write 0 or 1")
            if seen.setdefault(tag, value) != value:
                problem = f"<{tag}> is there twice, as 0 and as 1: read as 1"
                note("voc.tag.repeated", "warning", problem, line_of(child), "delete the wrong one")
            flags |= value * FLAGS[tag]
        elif others is None:
            others = [child]
        else:
            others.append(child)
    rare = _rare_fields(others, note, unknown) if others else None
    line = line_of(element)
    if others and _is_deleted(others):
        problem = "an <object> is marked as <deleted>: it is left out"
        note("voc.object.deleted", "warning", problem, line, "delete the <object>, or write 0 in <deleted>")
        return None
    label = _label(name, line, note)
    if bounds is not None:
        box = read_box(bounds, note)
        if box is not None and rare is not None and not rare.corners and rare.angle == rare.angle:  # CVAT's rotation
            rare.corners = tuple(turned(box, rare.angle))
            box = around(rare.corners)
    elif rare is not None and rare.corners:
        box = around(rare.corners)
    elif rare is not None and rare.polygons:
        points = [float(value) for polygon in rare.polygons for value in polygon.split(",")]
        box = min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
        problem = "an <object> has a <polygon> and no <bndbox>: its box is that of the polygon"
        note("voc.box.from_polygon", "warning", problem, line, "")
    else:
        note("voc.box.missing", "error", "an <object> has no <bndbox>", line, _REDRAW)
        return None
    if label is None or box is None or not _plausible(box, bounds if bounds is not None else element, note):
        return None
    return RawObject(label, box, flags, line, "" if pose == "Unspecified" else pose, rare)


def _label(text: str | None, line: int, note: Note) -> str | None:
    label = clean_label(text or "")
    if not label:
        note("label.empty", "error", "an <object> has no <name>", line, "give it a label, or delete the <object>")
        return None
    if label != text:
        hint = "vocdet ignores the space; remove it from the label"
        note("label.whitespace", "warning", f"the label {text!r} has extra space", line, hint)
    return label


def _plausible(box: RawBox, element: etree._Element, note: Note) -> bool:
    if not _is_near(box, element, note):
        return False
    xmin, ymin, xmax, ymax = box
    if xmin > xmax or ymin > ymax:
        problem = f"the box {box_text(box)} ends before it begins (xmin ymin xmax ymax)"
        note("voc.box.inverted", "error", problem, line_of(element), _REDRAW)
        return False
    if xmax <= 1 and ymax <= 1 and min(box) >= 0 and any(value % 1 for value in box):
        hint = "VOC boxes are in pixels: multiply by the width and height of the image"
        problem = f"the box {box_text(box)} looks normalized, not in pixels"
        note("voc.box.looks_normalized", "error", problem, line_of(element), hint)
        return False
    return True


def _flag(element: etree._Element, tag: str, note: Note) -> bool:
    text = (element.text or "").strip()
    if text in ("", "0", "1"):
        return text == "1"
    folded = text.lower()
    value = folded in ("true", "yes") or (bool(NUMBER.fullmatch(text)) and float(text) != 0)
    if folded not in ("unspecified", "false", "true"):
        problem = f"<{tag}> is {text[:40]!r}, not 0 or 1: read as {int(value)}"
        note("voc.flag.bad_value", "warning", problem, line_of(element), "write 0 or 1")
    return value


def read_box(bounds: etree._Element, note: Note) -> RawBox | None:
    """The four numbers of a <bndbox>; None, with a finding, if one is missing or invalid."""
    texts: dict[str, str | None] = {side.tag: side.text for side in bounds}  # type: ignore[misc] # as in tag_of
    try:
        xmin, ymin, xmax, ymax = texts["xmin"], texts["ymin"], texts["xmax"], texts["ymax"]
        digits = xmin + ymin + xmax + ymax  # type: ignore[operator] # of None, which is caught
        few = digits.isdigit() and digits.isascii() and len(digits) <= _FEW_DIGITS
        if few and len(bounds) == 4 and not any(map(len, bounds)):
            return float(xmin), float(ymin), float(xmax), float(ymax)  # type: ignore[arg-type] # as above
    except (KeyError, TypeError, ValueError):  # a side is missing or empty
        pass
    values: dict[str, float] = {}
    bad = False
    for child in bounds:
        side = tag_of(child)
        if side in SIDES:
            value = _number_in(child, side, note)
            if value is None:
                bad = True
            elif values.setdefault(side, value) != value:
                problem = f"<{side}> is there twice, as {number_text(values[side])} and as {number_text(value)}"
                note("voc.tag.repeated", "error", problem, line_of(child), "delete the wrong one")
                bad = True
    if bad:
        return None
    missing = [side for side in SIDES if side not in values]
    if missing:
        problem = f"<bndbox> has no {', '.join(f'<{side}>' for side in missing)}"
        note("voc.box.missing_coord", "error", problem, line_of(bounds), _REDRAW)
        return None
    return values["xmin"], values["ymin"], values["xmax"], values["ymax"]


def _is_near(box: RawBox, element: etree._Element, note: Note) -> bool:
    """Whether a box is within the size of any image; a finding if not."""
    if max(box) <= masks.FURTHEST and min(box) >= -masks.FURTHEST:
        return True
    problem = f"the box {box_text(box)} exceeds {masks.FURTHEST:.0g} pixels"
    note("voc.box.far", "error", problem, line_of(element), _REDRAW)
    return False


def _holds(element: etree._Element) -> str:
    return f"<{tag_of(element)}> holds an element, <{tag_of(element[0])[:40]}>, in place of text alone"


def _is_deleted(children: list[etree._Element]) -> bool:
    """Whether LabelMe's <deleted> marks an object as removed."""
    return any(tag_of(child) == "deleted" and (child.text or "").strip() == "1" for child in children)


def _rare_fields(children: list[etree._Element], note: Note, unknown: set[str]) -> RareFields:
    """Polygons, parts, attributes, vocdet's own tags, and the XML of all others.

    The object can be used without them, so that their errors are warnings.
    """

    def lenient(code: str, severity: Severity, problem: str, line: int, hint: str) -> None:
        text = f"{problem}: preserved, but not read" if severity == "error" else problem
        note(code, "warning", text, line, hint)

    rare = RareFields()
    tags: list[str] = []
    polygons: list[str] = []
    parts: list[tuple[str, RawBox]] = []
    for child in children:
        tag = tag_of(child)
        if tag == "polygon" and (polygon := _polygon(child, lenient)) is not None:
            polygons.append(polygon)
        elif tag == "part" and (part := _part(child, lenient)) is not None:
            parts.append(part)
        elif tag == "attributes" and rare.attributes is None and (pairs := _attributes(child)) is not None:
            rare.attributes = pairs
        elif tag == "robndbox" and (corners := rotated_box(child, lenient)) is not None:
            rare.corners, rare.angle = corners
            tags.append(xml_of(child))
        elif tag == "area":
            area = _number_in(child, "area", lenient)
            rare.area = math.nan if area is None else area
        elif tag == "segmentation":
            rare.segmentation = _segmentation(child, note)
        elif tag == "coco":
            rare.coco = json_object_in(child, note)
        elif tag.lower() == "object":
            hint = "move it out of the other <object>, directly into <annotation>"
            note("voc.unknown_tag", "error", "an <object> is inside another one", line_of(child), hint)
        else:
            tags.append(xml_of(child))
            if tag not in KNOWN_TAGS and tag not in ("polygon", "part", "attributes"):
                unknown.add(tag)
    rotation = (rare.attributes or {}).get("rotation", "").strip()
    if not rare.corners and NUMBER.fullmatch(rotation) and float(rotation) % 360:  # also leaves out an infinite one
        rare.angle = float(rotation)
    rare.polygons, rare.parts, rare.tags = tuple(polygons), tuple(parts), tuple(tags)
    return rare


def _polygon(element: etree._Element, note: Note) -> str | None:
    """x1,y1,x2,y2,... as JSON numbers, from Roboflow's <x1><y1>... or LabelMe's <pt><x><y>; None if it is invalid."""
    texts = [inner.text or "" for inner in element]
    if [inner.tag for inner in element] == point_tags(len(texts)) and _JSON_NUMBERS.fullmatch(text := ",".join(texts)):
        return text
    sides: dict[str, list[float]] = {"x": [], "y": []}
    for inner in element.iter():
        tag = tag_of(inner)
        if tag[0] in "xy" and (len(tag) == 1 or tag[1:].isdigit()):
            value = _number_in(inner, tag, note)
            if value is None:
                return None
            sides[tag[0]].append(value)
    if not (sides["x"] or sides["y"]):
        return None
    if len(sides["x"]) != len(sides["y"]):
        problem = f"a <polygon> has {len(sides['x'])} x and {len(sides['y'])} y: it is ignored"
        note("voc.polygon", "warning", problem, line_of(element), "redraw it, or delete it")
        return None
    return ",".join(number_text(value) for pair in zip(sides["x"], sides["y"], strict=True) for value in pair)


@cache
def point_tags(count: int) -> list[str]:
    """The first `count` of x1, y1, x2, y2, ..."""
    return [f"{'xy'[i % 2]}{i // 2 + 1}" for i in range(count)]


def _segmentation(element: etree._Element, note: Note) -> bytes:
    """The JSON in a <segmentation>; b"", with a finding, if it is invalid."""
    text = (element.text or "").strip().encode()
    try:
        masks.parse(text)
    except masks.MaskError as error:
        note("voc.segmentation", "warning", f"<segmentation> {error}: it is ignored", line_of(element), "delete it")
        return b""
    return text


def _part(element: etree._Element, note: Note) -> tuple[str, RawBox] | None:
    """Name and box of a <part>; None if it has anything else."""
    if [tag_of(child) for child in element] != ["name", "bndbox"] or element.attrib:
        return None
    box = read_box(element[1], note)
    return None if box is None or not _is_near(box, element[1], note) else (element[0].text or "", box)


def rotated_box(element: etree._Element, note: Note) -> tuple[tuple[float, ...], float] | None:
    """The corners and the angle of a <robndbox>: that of roLabelImg, with an angle in radians, or DIOR-R's corners."""
    values: dict[str, float] = {}
    for child in element:
        value = _number_in(child, tag_of(child), note)
        if value is None or abs(value) > masks.FURTHEST:
            return None
        values[tag_of(child)] = value
    if values.keys() >= {"cx", "cy", "w", "h", "angle"}:
        x, y, width, height, angle = (values[tag] for tag in ("cx", "cy", "w", "h", "angle"))
        degrees = round(math.degrees(angle) if abs(angle) <= math.tau else angle, 6)
        return tuple(turned((x - width / 2, y - height / 2, x + width / 2, y + height / 2), degrees)), degrees
    corners = [value for tag, value in values.items() if tag[:1] in ("x", "y")]
    if len(corners) != 8:
        return None
    return tuple(corners), angle_of(corners)


def _attributes(element: etree._Element) -> dict[str, str] | None:
    """CVAT's attributes; None if they are not pairs of unique names and values."""
    pairs: dict[str, str] = {}
    for child in element:
        if [tag_of(inner) for inner in child] != ["name", "value"] or not child[0].text or child[0].text in pairs:
            return None
        pairs[child[0].text] = child[1].text or ""
    return pairs or None


def polygon_xml(numbers: Sequence[str]) -> str:
    """Roboflow's XML of a polygon x1, y1, x2, y2, ..., given as texts."""
    return _polygon_template(len(numbers)) % tuple(numbers)


@cache
def _polygon_template(numbers: int) -> str:
    points = range(1, numbers // 2 + 1)
    return f"<polygon>{''.join(f'<x{i}>%s</x{i}><y{i}>%s</y{i}>' for i in points)}</polygon>"


def tag_of(element: etree._Element) -> str:
    """The name of an element."""
    return element.tag  # type: ignore[return-value] # comments, instructions and entities have other tags, and are removed


def line_of(element: etree._Element) -> int:
    """The line where it starts, from 1; 0: unknown."""
    return int(element.sourceline or 0)


def xml_of(element: etree._Element) -> str:
    """The XML of an element, without the text after it."""
    return etree.tostring(element, encoding="unicode", with_tail=False)


def json_object_in(element: etree._Element, note: Note) -> bytes:
    """The JSON object in a <coco>; b"", with a finding, if it is invalid."""
    text = (element.text or "").strip().encode()
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        note("voc.coco", "warning", f"<coco> is ignored: {json_reason(error)}", line_of(element), "delete it")
        return b""
    return text


def _number_in(element: etree._Element, name: str, note: Note) -> float | None:
    """The finite number in an element called `name`; None, with a finding, if there is none."""
    text = (element.text or "").strip()
    if len(element):
        note("voc.nested", "error", _holds(element), line_of(element), _REDRAW)
        return None
    if NUMBER.fullmatch(text) and math.isfinite(value := float(text)):
        return value
    if not text:
        note("voc.box.missing_coord", "error", f"<{name}> is empty", line_of(element), _REDRAW)
    elif NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text):
        note("voc.box.not_finite", "error", f"<{name}> is {text[:40]!r}, not finite", line_of(element), _REDRAW)
    else:
        hint = "write a decimal point, not a comma" if re.fullmatch(r"[\d ]+,\d+", text) else _REDRAW
        note("voc.box.bad_number", "error", f"<{name}> is {text[:40]!r}, not a number", line_of(element), hint)
    return None
