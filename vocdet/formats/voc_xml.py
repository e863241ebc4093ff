"""One VOC annotation file: what labelImg and its like write, read with suspicion, written exactly."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from lxml import etree

from vocdet.data.checks import Finding, Severity, box_text
from vocdet.errors import Place
from vocdet.formats.coordinates import Coordinates, minimum_text, number_text
from vocdet.formats.labels import clean_label

LARGEST_FILE = 16 * 2**20  # bytes; labelImg writes some 300 an object

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() would take 5_0, ５０ and nan
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_WITHOUT_OBJECTS = frozenset(("folder", "path", "segmented", "owner"))
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_DOCTYPE = "has a DOCTYPE, and files with one are not read"
_NO_DOCTYPE = "delete the <!DOCTYPE ...> at its top: it can name other files, or grow without bound"
_REDRAW = "redraw the box in labelImg, or delete its <object>"

Note = Callable[[str, Severity, str, int, str], None]  # code, severity, problem, line, hint


class RawObject(NamedTuple):
    """An object as its file has it: nothing shifted, nothing clipped."""

    label: str
    box: tuple[float, float, float, float]  # xmin, ymin, xmax, ymax as written
    difficult: bool
    truncated: bool
    occluded: bool
    line: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one file says of one image, with all that is odd about it; objects with an error are left out."""

    filename: str  # "" where it is missing
    size: tuple[int, int] | None  # width, height; None where missing or no size
    database: str  # texts of <source>, for what they tell of the file's origin
    objects: tuple[RawObject, ...]
    findings: tuple[Finding, ...]
    readable: bool  # False: the file is no annotation at all


def read_annotation(path: Path) -> Annotation:
    """Read one file. What is wrong with it is in the findings: nothing in a file makes this raise."""
    findings: list[Finding] = []

    def note(code: str, severity: Severity, problem: str, line: int, hint: str) -> None:
        findings.append(Finding(code, severity, problem, Place(path, line), hint))

    root = _parse(path, note)
    if root is None:
        return Annotation("", None, "", (), tuple(findings), readable=False)
    filename, database, size, objects = "", "", None, []
    for child in root:
        tag = _name(child)
        if tag == "object":
            found = _object(child, note)
            if found is not None:
                objects.append(found)
        elif tag == "filename":
            filename = (child.text or "").strip()
        elif tag == "size":
            size = _size(child, note)
        elif tag == "source":
            database = " ".join(text.strip() for text in child.itertext() if text.strip())
        elif tag not in _WITHOUT_OBJECTS and any(
            _name(inner).lower() in ("bndbox", "object") for inner in child.iter()
        ):
            hint = "a VOC file has <object> with <name> and <bndbox> in small letters, directly in <annotation>"
            note("voc.unknown_tag", "error", f"<{tag[:40]}> is not read, yet it holds objects", _line(child), hint)
    return Annotation(filename, size, database, tuple(objects), tuple(findings), readable=True)


def _parse(path: Path, note: Note) -> etree._Element | None:
    try:
        too_big = path.stat().st_size > LARGEST_FILE
        data = b"" if too_big else path.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {(error.strerror or str(error)).lower()}"
        note("xml.unreadable", "error", problem, 0, "see whether you may read it")
        return None
    if too_big:
        limit = f"is larger than {LARGEST_FILE >> 20} MB"
        note("xml.too_big", "error", limit, 0, "an annotation takes a few kB: is this one?")
        return None
    if not data.strip(b"\0 \t\r\n"):
        note("xml.empty", "error", "is empty", 0, "save the image again in labelImg, or delete the file")
        return None
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
                             remove_comments=True, remove_pis=True)  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        if b"<!DOCTYPE" in data:
            note("xml.dtd", "error", _DOCTYPE, 0, _NO_DOCTYPE)
        else:
            _note_syntax(error, note)
        return None
    if root.getroottree().docinfo.doctype:
        note("xml.dtd", "error", _DOCTYPE, 0, _NO_DOCTYPE)
        return None
    if _name(root) != "annotation":
        problem = f"begins with <{_name(root)[:40]}>, not with <annotation>"
        note("xml.root", "error", problem, _line(root), "is it a VOC annotation?")
        return None
    return root


def _note_syntax(error: etree.XMLSyntaxError, note: Note) -> None:
    message = (error.msg or "").split(", line ")[0]
    line = error.lineno or 0
    if "ncoding" in message or "not proper UTF-8" in message:
        hint = "save it as UTF-8, or name its encoding in the first line"
        note("xml.encoding", "error", f"is not text of the encoding it claims: {message}", line, hint)
    else:
        hint = "it may be cut short: save the image again in labelImg, or delete the file"
        note("xml.syntax", "error", f"is not well-formed XML: {message}", line, hint)


def _name(element: etree._Element) -> str:
    tag = element.tag
    if not isinstance(tag, str):  # an entity that is not resolved
        return ""
    return tag.rpartition("}")[2] if tag[0] == "{" else tag


def _line(element: etree._Element) -> int:
    return int(element.sourceline or 0)


def _object(element: etree._Element, note: Note) -> RawObject | None:
    name: str | None = None
    box: tuple[float, float, float, float] | None = None
    bounds = polygon = None
    flags = {"difficult": False, "truncated": False, "occluded": False}
    for child in element:
        tag = _name(child)
        if tag in flags:
            flags[tag] = _flag(child, tag, note)
        elif tag == "name":
            name = child.text or "" if name is None else name
        elif tag == "bndbox":
            if bounds is not None:
                note("voc.tag.repeated", "warning", "a second <bndbox> is not read", _line(child), _REDRAW)
            else:
                bounds = child
        elif tag == "polygon":
            polygon = child
    line = _line(element)
    label = _label(name, line, note)
    if bounds is not None:
        box = _box(bounds, note)
    elif polygon is not None:
        box = _box_of_polygon(polygon, note)
    else:
        note("voc.box.missing", "error", "an <object> has no <bndbox>", line, _REDRAW)
    if label is None or box is None or not _plausible(box, bounds if bounds is not None else element, note):
        return None
    return RawObject(label, box, flags["difficult"], flags["truncated"], flags["occluded"], line)


def _label(text: str | None, line: int, note: Note) -> str | None:
    label = clean_label(text or "")
    if not label:
        note("label.empty", "error", "an <object> has no <name>", line, "give it a label, or delete the <object>")
        return None
    if label != text:
        hint = "read without it; write the label without"
        note("label.whitespace", "warning", f"the label {text!r} has space around or inside it", line, hint)
    return label


def _box(bounds: etree._Element, note: Note) -> tuple[float, float, float, float] | None:
    values: dict[str, float] = {}
    bad = False
    for child in bounds:
        side = _name(child)
        if side in _SIDES and side not in values:
            value = _number(child, side, note)
            if value is None:
                bad = True
            else:
                values[side] = value
    if bad:
        return None
    missing = [side for side in _SIDES if side not in values]
    if missing:
        problem = f"<bndbox> has no {', '.join(f'<{side}>' for side in missing)}"
        note("voc.box.missing_coord", "error", problem, _line(bounds), _REDRAW)
        return None
    return values["xmin"], values["ymin"], values["xmax"], values["ymax"]


def _number(element: etree._Element, name: str, note: Note) -> float | None:
    text = (element.text or "").strip()
    if _NUMBER.fullmatch(text) and math.isfinite(value := float(text)):
        return value
    if not text:
        note("voc.box.missing_coord", "error", f"<{name}> is empty", _line(element), _REDRAW)
    elif _NUMBER.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        note("voc.box.not_finite", "error", f"<{name}> is {text[:40]!r}, not finite", _line(element), _REDRAW)
    else:
        hint = "write a decimal point, not a comma" if re.fullmatch(r"[\d ]+,\d+", text) else _REDRAW
        note("voc.box.bad_number", "error", f"<{name}> is {text[:40]!r}, not a number", _line(element), hint)
    return None


def _box_of_polygon(polygon: etree._Element, note: Note) -> tuple[float, float, float, float] | None:
    sides: dict[str, list[float]] = {"x": [], "y": []}
    for element in polygon.iter():
        match = re.fullmatch(r"([xy])\d*", _name(element))
        if match:
            value = _number(element, _name(element), note)
            if value is None:
                return None
            sides[match[1]].append(value)
    if not sides["x"] or not sides["y"]:
        note("voc.box.missing", "error", "an <object> has a <polygon> without points", _line(polygon), _REDRAW)
        return None
    problem = "an <object> has a <polygon> and no <bndbox>: its box is the polygon's bounds"
    note("voc.box.from_polygon", "warning", problem, _line(polygon), "")
    return min(sides["x"]), min(sides["y"]), max(sides["x"]), max(sides["y"])


def _plausible(box: tuple[float, float, float, float], element: etree._Element, note: Note) -> bool:
    xmin, ymin, xmax, ymax = box
    if xmin > xmax or ymin > ymax:
        problem = f"the box {box_text(box)} ends before it begins (xmin ymin xmax ymax)"
        note("voc.box.inverted", "error", problem, _line(element), _REDRAW)
        return False
    if min(box) >= 0 and max(box) <= 1 and any(value % 1 for value in box):
        hint = "VOC wants pixels: multiply by the width and the height of the image"
        note("voc.box.looks_normalised", "error", f"the box {box_text(box)} looks like shares of the image, "
             "not like pixels", _line(element), hint)  # fmt: skip
        return False
    return True


def _flag(element: etree._Element, tag: str, note: Note) -> bool:
    text = (element.text or "").strip()
    if text in ("", "0", "1"):
        return text == "1"
    folded = text.lower()
    value = folded in ("true", "yes") or (bool(_NUMBER.fullmatch(text)) and float(text) != 0)
    if folded not in ("unspecified", "false", "true"):
        problem = f"<{tag}> is {text[:40]!r}, not 0 or 1: taken as {int(value)}"
        note("voc.flag.bad_value", "warning", problem, _line(element), "write 0 or 1")
    return value


def _size(element: etree._Element, note: Note) -> tuple[int, int] | None:
    texts = {_name(child): (child.text or "").strip() for child in element}
    values = []
    for side in ("width", "height"):
        text = texts.get(side, "")
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not (1 <= value < 2**31 and value == int(value)):
            problem = f"<{side}> is {text[:40]!r}, not a size: the image's own is used"
            note("voc.size.bad_number", "warning", problem, _line(element), "open and save it in labelImg")
            return None
        values.append(int(value))
    return values[0], values[1]


def annotation_text(
    filename: str,
    size: tuple[int, int],
    objects: Iterable[tuple[str, Sequence[float], bool, bool]],
    *,
    depth: int = 3,
    folder: str = "",
    path: str = "",
    coordinates: Coordinates = "zero",
    segmented: bool = False,
) -> str:
    """An annotation as labelImg writes it, for objects of label, box, difficult, truncated.

    Boxes are a `Dataset`'s (0-based, half-open) and are written in the convention asked for: the inverse of
    reading. `size` is width, height. `folder` and `path` are what labelImg notes of where the image is.
    """
    lines = [
        "<annotation>",
        f"\t<folder>{escape(folder)}</folder>",
        f"\t<filename>{escape(filename)}</filename>",
        f"\t<path>{escape(path or filename)}</path>",
        "\t<source>",
        "\t\t<database>Unknown</database>",
        "\t</source>",
        "\t<size>",
        f"\t\t<width>{size[0]}</width>",
        f"\t\t<height>{size[1]}</height>",
        f"\t\t<depth>{depth}</depth>",
        "\t</size>",
        f"\t<segmented>{int(segmented)}</segmented>",
    ]
    for label, box, difficult, truncated in objects:
        xmin, ymin, xmax, ymax = (float(value) for value in box)
        lines += [
            "\t<object>",
            f"\t\t<name>{escape(label)}</name>",
            "\t\t<pose>Unspecified</pose>",
            f"\t\t<truncated>{int(truncated)}</truncated>",
            f"\t\t<difficult>{int(difficult)}</difficult>",
            "\t\t<bndbox>",
            f"\t\t\t<xmin>{minimum_text(xmin, coordinates)}</xmin>",
            f"\t\t\t<ymin>{minimum_text(ymin, coordinates)}</ymin>",
            f"\t\t\t<xmax>{number_text(xmax)}</xmax>",
            f"\t\t\t<ymax>{number_text(ymax)}</ymax>",
            "\t\t</bndbox>",
            "\t</object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])
