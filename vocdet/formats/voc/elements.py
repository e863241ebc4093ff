"""The elements of a VOC file: their names, lines and numbers, looked at with suspicion."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import msgspec
from lxml import etree

from vocdet.data.findings import Severity
from vocdet.formats.values import NUMBER

Note = Callable[[str, Severity, str, int, str], None]  # code, severity, problem, line, hint

# What tools write that vocdet keeps without reading it; a tag that is not among these is kept as well, and said.
KEPT = frozenset(("owner", "actions", "point", "viewpoint", "id", "deleted", "verified", "date", "type", "contour"))
REDRAW = "redraw the box in labelImg, or delete its <object>"

_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


def tag_of(element: etree._Element) -> str:
    """The name of an element."""
    return element.tag  # type: ignore[return-value] # comments, instructions and entities, whose tags are none, are gone


def line_of(element: etree._Element) -> int:
    """The line it begins on, from 1; 0: not known."""
    return int(element.sourceline or 0)


def xml_of(element: etree._Element) -> str:
    """An element as text, without what follows it."""
    return etree.tostring(element, encoding="unicode", with_tail=False)


def number_in(element: etree._Element, name: str, note: Note) -> float | None:
    """The finite number in an element called `name`; None, and a finding, where there is none."""
    text = (element.text or "").strip()
    if NUMBER.fullmatch(text) and math.isfinite(value := float(text)):
        return value
    if not text:
        note("voc.box.missing_coord", "error", f"<{name}> is empty", line_of(element), REDRAW)
    elif NUMBER.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        note("voc.box.not_finite", "error", f"<{name}> is {text[:40]!r}, not finite", line_of(element), REDRAW)
    else:
        hint = "write a decimal point, not a comma" if re.fullmatch(r"[\d ]+,\d+", text) else REDRAW
        note("voc.box.bad_number", "error", f"<{name}> is {text[:40]!r}, not a number", line_of(element), hint)
    return None


def json_object_in(element: etree._Element, note: Note) -> bytes:
    """The JSON object in a <coco>; b"" where it is none."""
    text = (element.text or "").strip().encode()
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        note("voc.coco", "warning", f"<coco> is not read: {error}", line_of(element), "delete it")
        return b""
    return text
