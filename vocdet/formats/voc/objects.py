"""An <object> of a VOC file."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import NamedTuple

from lxml import etree

from vocdet import masks
from vocdet.formats.builder import CROWD, DIFFICULT, OCCLUDED, TRUNCATED
from vocdet.formats.values import NUMBER, clean_label, number_text
from vocdet.formats.voc.elements import KEPT, REDRAW, Note, json_object_in, line_of, number_in, tag_of, xml_of
from vocdet.formats.voc.preserved import RawBox, Rest
from vocdet.wording import box_text

_FLAGS = {"difficult": DIFFICULT, "truncated": TRUNCATED, "occluded": OCCLUDED, "crowd": CROWD}


class RawObject(NamedTuple):
    """An object as its file has it: nothing shifted, nothing clipped."""

    label: str
    box: RawBox
    flags: int  # DIFFICULT | TRUNCATED | OCCLUDED | CROWD
    line: int
    pose: str  # "" where nothing is said
    rest: Rest | None  # None where there is nothing more, as in most files


def read_object(element: etree._Element, note: Note, unknown: set[str]) -> RawObject | None:
    """What an <object> says; None, and a finding, where it cannot be used. Tags nobody knows go to `unknown`."""
    name: str | None = None
    bounds: etree._Element | None = None
    others: list[etree._Element] | None = None
    flags, pose = 0, ""
    for child in element:
        tag: str = child.tag  # type: ignore[assignment] # as in tag_of, whose call would show here
        if tag == "name":
            if name is None:
                name = child.text or ""
            else:
                note("voc.tag.repeated", "warning", "a second <name> is not read", line_of(child), "delete one of them")
        elif tag == "bndbox":
            if bounds is None:
                bounds = child
            else:
                note("voc.tag.repeated", "warning", "a second <bndbox> is not read", line_of(child), REDRAW)
        elif tag == "pose":
            pose = (child.text or "").strip()
        elif tag in _FLAGS:
            text = child.text
            if text == "1" or (text != "0" and _flag(child, tag, note)):
                flags |= _FLAGS[tag]
        elif others is None:
            others = [child]
        else:
            others.append(child)
    rest = read_rest(others, note, unknown) if others else None
    line = line_of(element)
    label = _label(name, line, note)
    if bounds is not None:
        box = read_box(bounds, note)
    elif rest is not None and rest.polygons:
        points = [float(value) for polygon in rest.polygons for value in polygon.split(",")]
        box = min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
        problem = "an <object> has a <polygon> and no <bndbox>: its box is the polygon's bounds"
        note("voc.box.from_polygon", "warning", problem, line, "")
    else:
        note("voc.box.missing", "error", "an <object> has no <bndbox>", line, REDRAW)
        return None
    if label is None or box is None or not _plausible(box, bounds if bounds is not None else element, note):
        return None
    return RawObject(label, box, flags, line, "" if pose == "Unspecified" else pose, rest)


def _label(text: str | None, line: int, note: Note) -> str | None:
    label = clean_label(text or "")
    if not label:
        note("label.empty", "error", "an <object> has no <name>", line, "give it a label, or delete the <object>")
        return None
    if label != text:
        hint = "read without it; write the label without"
        note("label.whitespace", "warning", f"the label {text!r} has space around or inside it", line, hint)
    return label


def _plausible(box: RawBox, element: etree._Element, note: Note) -> bool:
    if not is_near(box, element, note):
        return False
    xmin, ymin, xmax, ymax = box
    if xmin > xmax or ymin > ymax:
        problem = f"the box {box_text(box)} ends before it begins (xmin ymin xmax ymax)"
        note("voc.box.inverted", "error", problem, line_of(element), REDRAW)
        return False
    if xmax <= 1 and ymax <= 1 and min(box) >= 0 and any(value % 1 for value in box):
        hint = "VOC wants pixels: multiply by the width and the height of the image"
        note("voc.box.looks_normalized", "error", f"the box {box_text(box)} looks like shares of the image, "
             "not like pixels", line_of(element), hint)  # fmt: skip
        return False
    return True


def _flag(element: etree._Element, tag: str, note: Note) -> bool:
    text = (element.text or "").strip()
    if text in ("", "0", "1"):
        return text == "1"
    folded = text.lower()
    value = folded in ("true", "yes") or (bool(NUMBER.fullmatch(text)) and float(text) != 0)
    if folded not in ("unspecified", "false", "true"):
        problem = f"<{tag}> is {text[:40]!r}, not 0 or 1: taken as {int(value)}"
        note("voc.flag.bad_value", "warning", problem, line_of(element), "write 0 or 1")
    return value


_SIDES = ("xmin", "ymin", "xmax", "ymax")


_FEW_DIGITS = 100  # of four numbers together: none of so few is infinite


_JSON_NUMBERS = re.compile(r"-?(0|[1-9]\d{0,8})(\.\d+)?(,-?(0|[1-9]\d{0,8})(\.\d+)?)*", re.ASCII)


def read_box(bounds: etree._Element, note: Note) -> RawBox | None:
    """The four numbers of a <bndbox>; None, and a finding, where one is missing or none."""
    texts: dict[str, str | None] = {side.tag: side.text for side in bounds}  # type: ignore[misc] # as in tag_of
    try:
        xmin, ymin, xmax, ymax = texts["xmin"], texts["ymin"], texts["xmax"], texts["ymax"]
        digits = xmin + ymin + xmax + ymax  # type: ignore[operator] # of None, which is caught
        if digits.isdigit() and digits.isascii() and len(digits) <= _FEW_DIGITS and len(bounds) == 4:
            return float(xmin), float(ymin), float(xmax), float(ymax)  # type: ignore[arg-type] # as above
    except (KeyError, TypeError, ValueError):  # one is missing or empty
        pass
    values: dict[str, float] = {}
    bad = False
    for child in bounds:
        side = tag_of(child)
        if side in _SIDES and side not in values:
            value = number_in(child, side, note)
            if value is None:
                bad = True
            else:
                values[side] = value
    if bad:
        return None
    missing = [side for side in _SIDES if side not in values]
    if missing:
        problem = f"<bndbox> has no {', '.join(f'<{side}>' for side in missing)}"
        note("voc.box.missing_coord", "error", problem, line_of(bounds), REDRAW)
        return None
    return values["xmin"], values["ymin"], values["xmax"], values["ymax"]


def is_near(box: RawBox, element: etree._Element, note: Note) -> bool:
    """Whether a box could be one of an image; a finding where it is further out than any image reaches."""
    if max(box) <= masks.FURTHEST and min(box) >= -masks.FURTHEST:
        return True
    problem = f"the box {box_text(box)} reaches further than {masks.FURTHEST:.0g} pixels out"
    note("voc.box.far", "error", problem, line_of(element), REDRAW)
    return False


def read_rest(children: list[etree._Element], note: Note, unknown: set[str]) -> Rest:
    """What few objects have: polygons, parts, attributes, vocdet's own tags, and all that is kept as it is."""
    rest = Rest()
    tags: list[str] = []
    for child in children:
        tag = tag_of(child)
        if tag == "polygon" and (polygon := _polygon(child, note)) is not None:
            rest.polygons += (polygon,)
        elif tag == "part" and (part := _part(child, note)) is not None:
            rest.parts += (part,)
        elif tag == "attributes" and rest.attributes is None and (found := _attributes(child)) is not None:
            rest.attributes = found
        elif tag == "area":
            area = number_in(child, "area", note)
            rest.area = math.nan if area is None else area
        elif tag == "segmentation":
            rest.segmentation = _segmentation(child, note)
        elif tag == "coco":
            rest.coco = json_object_in(child, note)
        else:
            tags.append(xml_of(child))
            if tag not in KEPT and tag not in ("polygon", "part", "attributes"):
                unknown.add(tag)
    rest.tags = tuple(tags)
    return rest


def _polygon(element: etree._Element, note: Note) -> str | None:
    """x1,y1,x2,y2,... of <x1><y1>... as Roboflow writes them, or of <pt><x><y> as LabelMe did, as JSON numbers."""
    texts = [inner.text or "" for inner in element]
    if [inner.tag for inner in element] == _point_tags(len(texts)) and _JSON_NUMBERS.fullmatch(text := ",".join(texts)):
        return text
    sides: dict[str, list[float]] = {"x": [], "y": []}
    for inner in element.iter():
        tag = tag_of(inner)
        if tag[0] in "xy" and (len(tag) == 1 or tag[1:].isdigit()):
            value = number_in(inner, tag, note)
            if value is None:
                return None
            sides[tag[0]].append(value)
    if not (sides["x"] or sides["y"]):
        return None
    if len(sides["x"]) != len(sides["y"]):
        problem = f"a <polygon> has {len(sides['x'])} x and {len(sides['y'])} y: it is not read"
        note("voc.polygon", "warning", problem, line_of(element), "draw it again, or delete it")
        return None
    return ",".join(number_text(value) for pair in zip(sides["x"], sides["y"], strict=True) for value in pair)


@cache
def _point_tags(count: int) -> list[str]:
    """x1, y1, x2, y2, ..., so many."""
    return [f"{'xy'[i % 2]}{i // 2 + 1}" for i in range(count)]


def _segmentation(element: etree._Element, note: Note) -> bytes:
    """The JSON in a <segmentation>; b"" where it is none."""
    text = (element.text or "").strip().encode()
    try:
        masks.parse(text)
    except masks.MaskError as error:
        note("voc.segmentation", "warning", f"<segmentation> {error}: it is not read", line_of(element), "delete it")
        return b""
    return text


def _part(element: etree._Element, note: Note) -> tuple[str, RawBox] | None:
    """A <part> of a name and a box; None where there is more to it, or less."""
    if [tag_of(child) for child in element] != ["name", "bndbox"] or element.attrib:
        return None
    box = read_box(element[1], note)
    return None if box is None or not is_near(box, element[1], note) else (element[0].text or "", box)


def _attributes(element: etree._Element) -> dict[str, str] | None:
    """CVAT's attributes; None where they are not simply names and values."""
    found: dict[str, str] = {}
    for child in element:
        if [tag_of(inner) for inner in child] != ["name", "value"] or not child[0].text or child[0].text in found:
            return None
        found[child[0].text] = child[1].text or ""
    return found or None
