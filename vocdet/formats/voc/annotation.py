"""One VOC annotation file: what labelImg and its like write, read with suspicion."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

from lxml import etree

from vocdet.data.findings import Finding, Severity
from vocdet.errors import Place
from vocdet.formats.values import NUMBER
from vocdet.formats.voc.elements import KEPT, Note, json_object_in, line_of, tag_of, xml_of
from vocdet.formats.voc.objects import RawObject, read_object
from vocdet.formats.voc.preserved import MOST_ATTRIBUTES, Header
from vocdet.formats.voc.usual import read_usual
from vocdet.wording import reason

LARGEST_FILE = 16 * 2**20  # bytes; labelImg writes some 300 an object

_USUAL_SIZE = 1 << 16  # bytes; smaller files are read in one go
_DOCTYPE = "has a DOCTYPE, and files with one are not read"
_NO_DOCTYPE = "delete the <!DOCTYPE ...> at its top: it can name other files, or grow without bound"
# Shared by all files: comments and processing instructions go, nothing is resolved, loaded or fetched.
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, collect_ids=False,
                          remove_comments=True, remove_pis=True, remove_blank_text=True)  # fmt: skip


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

    data = _data(path, note)
    if data is not None and len(data) < _USUAL_SIZE and (usual := read_usual(data)) is not None:
        return Annotation(*usual[:3], "", *usual[3:], (), frozenset(), readable=True)
    root = _parse(data, note) if data is not None else None
    if root is None:
        return replace(_UNREADABLE, findings=tuple(findings))
    filename = database = coordinates = ""
    size: tuple[int, int] | None = None
    header = Header(folder=None, path=None, source=None, depth=None, segmented=None)
    objects: list[RawObject] = []
    unknown: set[str] = set()
    for child in root:
        tag: str = child.tag  # type: ignore[assignment] # as in tag_of, whose call would show here
        if tag == "object":
            found = read_object(child, note, unknown)
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
        elif tag == "source" and header.source is None and (source := _flat(child)) is not None:
            header.source = source
            database = " ".join(source.values())
        elif tag == "coordinates":
            coordinates = (child.text or "").strip()
        elif tag == "coco":
            header.coco = json_object_in(child, note)
        else:
            _unread(child, note, unknown)
            header.tags.append(xml_of(child))
    header.attributes = _attributes(root, note)
    return Annotation(filename, size, database, coordinates, header, tuple(objects), tuple(findings),
                      frozenset(unknown), readable=True)  # fmt: skip


def _data(path: Path | str, note: Note) -> bytes | None:
    """The bytes of a file; None, and a finding, where it cannot be read."""
    try:
        data = _content(path)
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        note("xml.unreadable", "error", problem, 0, "see whether you may read it")
        return None
    if data is None:
        limit = f"is larger than {LARGEST_FILE >> 20} MB"
        note("xml.too_big", "error", limit, 0, "an annotation takes a few kB: is this one?")
    return data


def _parse(data: bytes, note: Note) -> etree._Element | None:
    """The root element of a file; None, and a finding, where it is no annotation."""
    try:
        root = etree.XML(data, _PARSER)
    except etree.XMLSyntaxError as error:
        if not data.strip(b"\0 \t\r\n"):
            note("xml.empty", "error", "is empty", 0, "save the image again in labelImg, or delete the file")
        elif b"<!DOCTYPE" in data:
            note("xml.dtd", "error", _DOCTYPE, 0, _NO_DOCTYPE)
        else:
            _note_syntax(error, note)
        return None
    plain = data[:1] == b"<" and b"<!" not in data and b"\0" not in data[:4]  # then there is none: asking takes long
    if not plain and root.getroottree().docinfo.doctype:
        note("xml.dtd", "error", _DOCTYPE, 0, _NO_DOCTYPE)
        return None
    if b"xmlns" in data:
        for element in root.iter():
            element.tag = tag_of(element).rpartition("}")[2]
    if tag_of(root) != "annotation":
        problem = f"begins with <{tag_of(root)[:40]}>, not with <annotation>"
        note("xml.root", "error", problem, line_of(root), "is it a VOC annotation?")
        return None
    return root


def _content(path: Path | str) -> bytes | None:
    """The bytes of a file; None where there are too many. Half the time of Path.read_bytes, thousands of times."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        data = os.read(file, _USUAL_SIZE)
        if len(data) == _USUAL_SIZE:
            if os.fstat(file).st_size > LARGEST_FILE:
                return None
            while more := os.read(file, 1 << 20):
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


def _attributes(root: etree._Element, note: Note) -> dict[str, str]:
    """The attributes of <annotation>; none, and a finding, where there are too many to be meant."""
    count = len(root.keys())
    if count > MOST_ATTRIBUTES:
        problem = f"<annotation> has {count} attributes: they are not kept"
        note("voc.attributes", "warning", problem, line_of(root), "delete them: other tools write one at most")
        return {}
    return {str(name): str(value) for name, value in root.attrib.items()} if count else {}


def _flat(element: etree._Element) -> dict[str, str] | None:
    """The texts of an element's children by their tags; None where there is more to it than that."""
    texts: dict[str, str] = {}
    for child in element:
        tag = tag_of(child)
        if len(child) or tag in texts or child.keys():
            return None
        texts[tag] = child.text or ""
    return None if element.keys() else texts


def _unread(element: etree._Element, note: Note, unknown: set[str]) -> None:
    """What to say of a child of <annotation> that is kept and not read."""
    tag = tag_of(element)
    if any(tag_of(inner).lower() in ("bndbox", "object") for inner in element.iter()):
        hint = "a VOC file has <object> with <name> and <bndbox> in small letters, directly in <annotation>"
        problem = f"<{tag[:40]}> is not read, yet it holds objects"
        note("voc.unknown_tag", "error", problem, line_of(element), hint)
    elif tag not in KEPT and tag != "source":
        unknown.add(tag)


def _size(element: etree._Element, note: Note) -> tuple[tuple[int, int] | None, str | None]:
    """Width and height, None where they are none; and the text of <depth>, None where there is none."""
    texts = {tag_of(child): child.text or "" for child in element}
    depth = texts.get("depth")
    values = []
    for side in ("width", "height"):
        text = texts.get(side, "").strip()
        value = float(text) if NUMBER.fullmatch(text) else math.nan
        if not (1 <= value < 2**31 and value == int(value)):
            problem = f"<{side}> is {text[:40]!r}, not a size: the image's own is used"
            note("voc.size.bad_number", "warning", problem, line_of(element), "open and save it in labelImg")
            return None, depth
        values.append(int(value))
    return (values[0], values[1]), depth
