"""One VOC annotation file: what labelImg and its like write, read with suspicion."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from lxml import etree

from vocdet import masks
from vocdet.data.checks import Finding, Severity, box_text
from vocdet.errors import Place
from vocdet.formats.coordinates import number_text
from vocdet.formats.labels import clean_label
from vocdet.formats.voc_extra import Header, RawBox, Rest

LARGEST_FILE = 16 * 2**20  # bytes; labelImg writes some 300 an object
DIFFICULT, TRUNCATED, OCCLUDED, CROWD = 1, 2, 4, 8  # bits of `RawObject.flags`
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() would take 5_0, ５０ and nan

_FLAGS = {"difficult": DIFFICULT, "truncated": TRUNCATED, "occluded": OCCLUDED, "crowd": CROWD}
_JSON_NUMBERS = re.compile(r"-?(0|[1-9]\d{0,8})(\.\d+)?(,-?(0|[1-9]\d{0,8})(\.\d+)?)*", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_SIDES = ("xmin", "ymin", "xmax", "ymax")
# What tools write that vocdet keeps without reading it; a tag that is not among these is kept as well, and said.
_KEPT = frozenset(("owner", "actions", "point", "viewpoint", "id", "deleted", "verified", "date", "type", "contour"))
_DOCTYPE = "has a DOCTYPE, and files with one are not read"
_NO_DOCTYPE = "delete the <!DOCTYPE ...> at its top: it can name other files, or grow without bound"
_REDRAW = "redraw the box in labelImg, or delete its <object>"
# Shared by all files: comments and processing instructions go, nothing is resolved, loaded or fetched.
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, collect_ids=False,
                          remove_comments=True, remove_pis=True, remove_blank_text=True)  # fmt: skip

Note = Callable[[str, Severity, str, int, str], None]  # code, severity, problem, line, hint


class RawObject(NamedTuple):
    """An object as its file has it: nothing shifted, nothing clipped."""

    label: str
    box: RawBox
    flags: int  # DIFFICULT | TRUNCATED | OCCLUDED | CROWD
    line: int
    pose: str  # "" where nothing is said
    rest: Rest | None  # None where there is nothing more, as in most files


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one file says of one image, with all that is odd about it; objects with an error are left out."""

    filename: str  # "" where it is missing
    size: tuple[int, int] | None  # width, height; None where missing or no size
    database: str  # texts of <source>, for what they tell of the file's origin
    coordinates: str  # what vocdet's own <coordinates> says: zero, one or ""
    header: Header
    objects: tuple[RawObject, ...]
    findings: tuple[Finding, ...]
    unknown: frozenset[str]  # tags that are kept without knowing what they mean
    readable: bool  # False: the file is no annotation at all


_UNREADABLE = Annotation("", None, "", "", Header(), (), (), frozenset(), readable=False)


def read_annotation(path: Path | str) -> Annotation:
    """Read one file. What is wrong with it is in the findings: nothing in a file makes this raise."""
    findings: list[Finding] = []

    def note(code: str, severity: Severity, problem: str, line: int, hint: str) -> None:
        findings.append(Finding(code, severity, problem, Place(Path(path), line), hint))

    root = _parse(path, note)
    if root is None:
        return replace(_UNREADABLE, findings=tuple(findings))
    filename = database = coordinates = ""
    size: tuple[int, int] | None = None
    header = Header(folder=None, path=None, source=None, depth=None, segmented=None)
    objects: list[RawObject] = []
    unknown: set[str] = set()
    for child in root:
        tag: str = child.tag  # type: ignore[assignment] # as in _tag, whose call would show here
        if tag == "object":
            found = _object(child, note, unknown)
            if found is not None:
                objects.append(found)
        elif tag == "filename":
            filename = (child.text or "").strip()
        elif tag == "folder":
            header.folder = child.text or ""
        elif tag == "path":
            header.path = child.text or ""
        elif tag == "segmented":
            header.segmented = child.text or ""
        elif tag == "size":
            size, header.depth = _size(child, note)
        elif tag == "source" and header.source is None and _is_flat(child):
            header.source = {_tag(inner): inner.text or "" for inner in child}
            database = " ".join(header.source.values())
        elif tag == "coordinates":
            coordinates = (child.text or "").strip()
        elif tag == "coco":
            header.coco = _json_object(child, note)
        else:
            _unread(child, note, unknown)
            header.tags.append(_xml(child))
    if root.attrib:
        header.attributes = {str(name): str(value) for name, value in root.attrib.items()}
    return Annotation(filename, size, database, coordinates, header, tuple(objects), tuple(findings),
                      frozenset(unknown), readable=True)  # fmt: skip


def _parse(path: Path | str, note: Note) -> etree._Element | None:
    try:
        data = _content(path)
    except OSError as error:
        problem = f"cannot be read: {(error.strerror or str(error)).lower()}"
        note("xml.unreadable", "error", problem, 0, "see whether you may read it")
        return None
    if data is None:
        limit = f"is larger than {LARGEST_FILE >> 20} MB"
        note("xml.too_big", "error", limit, 0, "an annotation takes a few kB: is this one?")
        return None
    if not data.strip(b"\0 \t\r\n"):
        note("xml.empty", "error", "is empty", 0, "save the image again in labelImg, or delete the file")
        return None
    try:
        root = etree.XML(data, _PARSER)
    except etree.XMLSyntaxError as error:
        if b"<!DOCTYPE" in data:
            note("xml.dtd", "error", _DOCTYPE, 0, _NO_DOCTYPE)
        else:
            _note_syntax(error, note)
        return None
    if root.getroottree().docinfo.doctype:
        note("xml.dtd", "error", _DOCTYPE, 0, _NO_DOCTYPE)
        return None
    if b"xmlns" in data:
        for element in root.iter():
            element.tag = _tag(element).rpartition("}")[2]
    if _tag(root) != "annotation":
        problem = f"begins with <{_tag(root)[:40]}>, not with <annotation>"
        note("xml.root", "error", problem, _line(root), "is it a VOC annotation?")
        return None
    return root


def _content(path: Path | str) -> bytes | None:
    """The bytes of a file; None where there are too many. Half the time of Path.read_bytes, thousands of times."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(file).st_size
        if size > LARGEST_FILE:
            return None
        data = os.read(file, size)
        while len(data) < size and (more := os.read(file, size - len(data))):
            data += more
        return data
    finally:
        os.close(file)


def _note_syntax(error: etree.XMLSyntaxError, note: Note) -> None:
    message = (error.msg or "").split(", line ")[0]
    line = error.lineno or 0
    if "ncoding" in message or "not proper UTF-8" in message:
        hint = "save it as UTF-8, or name its encoding in the first line"
        note("xml.encoding", "error", f"is not text of the encoding it claims: {message}", line, hint)
    else:
        hint = "it may be cut short: save the image again in labelImg, or delete the file"
        note("xml.syntax", "error", f"is not well-formed XML: {message}", line, hint)


def _tag(element: etree._Element) -> str:
    return element.tag  # type: ignore[return-value] # comments, instructions and entities, whose tags are none, are gone


def _line(element: etree._Element) -> int:
    return int(element.sourceline or 0)


def _xml(element: etree._Element) -> str:
    return etree.tostring(element, encoding="unicode", with_tail=False)


def _is_flat(element: etree._Element) -> bool:
    """Whether an element is no more than a dict of texts."""
    children = list(element)
    plain = not element.attrib and all(not len(child) and not child.attrib for child in children)
    return plain and len({_tag(child) for child in children}) == len(children)


def _unread(element: etree._Element, note: Note, unknown: set[str]) -> None:
    """What to say of a child of <annotation> that is kept and not read."""
    tag = _tag(element)
    if any(_tag(inner).lower() in ("bndbox", "object") for inner in element.iter()):
        hint = "a VOC file has <object> with <name> and <bndbox> in small letters, directly in <annotation>"
        problem = f"<{tag[:40]}> is not read, yet it holds objects"
        note("voc.unknown_tag", "error", problem, _line(element), hint)
    elif tag not in _KEPT and tag != "source":
        unknown.add(tag)


def _object(element: etree._Element, note: Note, unknown: set[str]) -> RawObject | None:
    name: str | None = None
    bounds: etree._Element | None = None
    others: list[etree._Element] | None = None
    flags, pose = 0, ""
    for child in element:
        tag: str = child.tag  # type: ignore[assignment] # as in _tag, whose call would show here
        if tag == "name":
            if name is None:
                name = child.text or ""
            else:
                note("voc.tag.repeated", "warning", "a second <name> is not read", _line(child), "delete one of them")
        elif tag == "bndbox":
            if bounds is None:
                bounds = child
            else:
                note("voc.tag.repeated", "warning", "a second <bndbox> is not read", _line(child), _REDRAW)
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
    rest = _rest(others, note, unknown) if others else None
    line = _line(element)
    label = _label(name, line, note)
    if bounds is not None:
        box = _box(bounds, note)
    elif rest is not None and rest.polygons:
        points = [float(value) for polygon in rest.polygons for value in polygon.split(",")]
        box = min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
        problem = "an <object> has a <polygon> and no <bndbox>: its box is the polygon's bounds"
        note("voc.box.from_polygon", "warning", problem, line, "")
    else:
        note("voc.box.missing", "error", "an <object> has no <bndbox>", line, _REDRAW)
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


def _box(bounds: etree._Element, note: Note) -> RawBox | None:
    texts: dict[str, str | None] = {side.tag: side.text for side in bounds}  # type: ignore[misc] # as in _tag
    try:
        xmin, ymin, xmax, ymax = texts["xmin"], texts["ymin"], texts["xmax"], texts["ymax"]
        digits = xmin + ymin + xmax + ymax  # type: ignore[operator] # of None, which is caught
        if digits.isdigit() and digits.isascii() and len(bounds) == 4:
            return float(xmin), float(ymin), float(xmax), float(ymax)  # type: ignore[arg-type] # as above
    except (KeyError, TypeError, ValueError):  # one is missing or empty
        pass
    values: dict[str, float] = {}
    bad = False
    for child in bounds:
        side = _tag(child)
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
    if NUMBER.fullmatch(text) and math.isfinite(value := float(text)):
        return value
    if not text:
        note("voc.box.missing_coord", "error", f"<{name}> is empty", _line(element), _REDRAW)
    elif NUMBER.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        note("voc.box.not_finite", "error", f"<{name}> is {text[:40]!r}, not finite", _line(element), _REDRAW)
    else:
        hint = "write a decimal point, not a comma" if re.fullmatch(r"[\d ]+,\d+", text) else _REDRAW
        note("voc.box.bad_number", "error", f"<{name}> is {text[:40]!r}, not a number", _line(element), hint)
    return None


def _plausible(box: RawBox, element: etree._Element, note: Note) -> bool:
    xmin, ymin, xmax, ymax = box
    if xmin > xmax or ymin > ymax:
        problem = f"the box {box_text(box)} ends before it begins (xmin ymin xmax ymax)"
        note("voc.box.inverted", "error", problem, _line(element), _REDRAW)
        return False
    if xmax <= 1 and ymax <= 1 and min(box) >= 0 and any(value % 1 for value in box):
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
    value = folded in ("true", "yes") or (bool(NUMBER.fullmatch(text)) and float(text) != 0)
    if folded not in ("unspecified", "false", "true"):
        problem = f"<{tag}> is {text[:40]!r}, not 0 or 1: taken as {int(value)}"
        note("voc.flag.bad_value", "warning", problem, _line(element), "write 0 or 1")
    return value


def _size(element: etree._Element, note: Note) -> tuple[tuple[int, int] | None, str | None]:
    """Width and height, None where they are none; and the text of <depth>, None where there is none."""
    texts = {_tag(child): child.text or "" for child in element}
    depth = texts.get("depth")
    values = []
    for side in ("width", "height"):
        text = texts.get(side, "").strip()
        value = float(text) if NUMBER.fullmatch(text) else math.nan
        if not (1 <= value < 2**31 and value == int(value)):
            problem = f"<{side}> is {text[:40]!r}, not a size: the image's own is used"
            note("voc.size.bad_number", "warning", problem, _line(element), "open and save it in labelImg")
            return None, depth
        values.append(int(value))
    return (values[0], values[1]), depth


def _rest(children: list[etree._Element], note: Note, unknown: set[str]) -> Rest:
    """What few objects have: polygons, parts, attributes, vocdet's own tags, and all that is kept as it is."""
    rest = Rest()
    tags: list[str] = []
    for child in children:
        tag = _tag(child)
        if tag == "polygon" and (polygon := _polygon(child, note)) is not None:
            rest.polygons += (polygon,)
        elif tag == "part" and (part := _part(child, note)) is not None:
            rest.parts += (part,)
        elif tag == "attributes" and rest.attributes is None and (found := _attributes(child)) is not None:
            rest.attributes = found
        elif tag == "area":
            rest.area = _number(child, "area", note) or math.nan
        elif tag == "segmentation":
            rest.segmentation = _segmentation(child, note)
        elif tag == "coco":
            rest.coco = _json_object(child, note)
        else:
            tags.append(_xml(child))
            if tag not in _KEPT and tag not in ("polygon", "part", "attributes"):
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
        tag = _tag(inner)
        if tag[0] in "xy" and (len(tag) == 1 or tag[1:].isdigit()):
            value = _number(inner, tag, note)
            if value is None:
                return None
            sides[tag[0]].append(value)
    if not (sides["x"] or sides["y"]):
        return None
    if len(sides["x"]) != len(sides["y"]):
        problem = f"a <polygon> has {len(sides['x'])} x and {len(sides['y'])} y: it is not read"
        note("voc.polygon", "warning", problem, _line(element), "draw it again, or delete it")
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
        note("voc.segmentation", "warning", f"<segmentation> {error}: it is not read", _line(element), "delete it")
        return b""
    return text


def _part(element: etree._Element, note: Note) -> tuple[str, RawBox] | None:
    """A <part> of a name and a box; None where there is more to it, or less."""
    if [_tag(child) for child in element] != ["name", "bndbox"] or element.attrib:
        return None
    box = _box(element[1], note)
    return None if box is None else (element[0].text or "", box)


def _attributes(element: etree._Element) -> dict[str, str] | None:
    """CVAT's attributes; None where they are not simply names and values."""
    found: dict[str, str] = {}
    for child in element:
        if [_tag(inner) for inner in child] != ["name", "value"] or not child[0].text or child[0].text in found:
            return None
        found[child[0].text] = child[1].text or ""
    return found or None


def _json_object(element: etree._Element, note: Note) -> bytes:
    """The JSON object in a <coco>; b"" where it is none."""
    text = (element.text or "").strip().encode()
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        note("voc.coco", "warning", f"<coco> is not read: {error}", _line(element), "delete it")
        return b""
    return text
