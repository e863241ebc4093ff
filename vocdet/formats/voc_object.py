"""An <object> of a VOC file."""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree

from vocdet.data.checks import box_text
from vocdet.formats.labels import clean_label
from vocdet.formats.numbers import NUMBER
from vocdet.formats.voc_elements import REDRAW, Note, line_of
from vocdet.formats.voc_extra import RawBox, Rest
from vocdet.formats.voc_inner import is_near, read_box, read_rest

DIFFICULT, TRUNCATED, OCCLUDED, CROWD = 1, 2, 4, 8  # bits of `RawObject.flags`

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
        note("voc.box.looks_normalised", "error", f"the box {box_text(box)} looks like shares of the image, "
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
