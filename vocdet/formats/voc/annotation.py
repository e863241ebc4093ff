"""One VOC annotation file, as labelImg and other tools write it. Its content is untrusted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from lxml import etree

from vocdet.data.findings import Finding, Severity
from vocdet.errors import Place
from vocdet.files import FileTooLargeError, read_limited
from vocdet.formats.images.facts import MARKS
from vocdet.formats.shared.values import NUMBER
from vocdet.formats.shared.xml import Note, XmlError, drop_namespaces, parse_xml
from vocdet.formats.voc.objects import KNOWN_TAGS, RawObject, json_object_in, line_of, read_object, tag_of, xml_of
from vocdet.formats.voc.preserved import MOST_ATTRIBUTES, Header
from vocdet.formats.voc.usual import UsualFile, read_usual, usual_objects
from vocdet.wording import quoted, reason

LARGEST_FILE = 16 * 2**20  # bytes; labelImg writes about 300 an object

_USUAL_SIZE = 1 << 16  # bytes; smaller files are read at once


class Annotation(NamedTuple):
    """The content of one file, without the objects that have an error."""

    filename: str  # "" if it is missing
    size: tuple[int, int] | None  # width, height; None if missing or invalid
    database: str  # texts of <source>, which name the origin of the file
    coordinates: str  # text of vocdet's own <coordinates>: zero, one or ""
    header: Header
    objects: tuple[RawObject, ...]
    findings: tuple[Finding, ...] = ()
    unknown: frozenset[str] = frozenset()  # tags that are preserved without being known
    readable: bool = True  # False: the file is not an annotation
    exif: str = ""  # vocdet's own <exif>: `APPLIED`, `IGNORED` or ""


_UNREADABLE = Annotation("", None, "", "", Header(), (), readable=False)


def read_annotation(path: Path | str) -> Annotation:
    """Read one file. Its problems are in the findings; no content raises."""
    found = read_file(path)
    if not isinstance(found, UsualFile):
        return found
    objects = usual_objects([found])
    return (
        parse_annotation(path) if objects.unusual else without_objects(found)._replace(objects=objects.columns.rows())
    )


def read_file(path: Path | str) -> UsualFile | Annotation:
    """Read one file, without converting its objects if it has the usual form."""
    findings: list[Finding] = []
    data = _annotation_bytes(path, findings)
    usual = read_usual(data) if data is not None and len(data) < _USUAL_SIZE else None
    return usual or _parsed(path, data, findings)


def without_objects(file: UsualFile) -> Annotation:
    """A file of the usual form, without its objects."""
    return Annotation(file.filename, file.size, file.database, "", file.header, ())


def parse_annotation(path: Path | str) -> Annotation:
    """Read one file with an XML parser, whatever its form."""
    findings: list[Finding] = []
    return _parsed(path, _annotation_bytes(path, findings), findings)


def _parsed(path: Path | str, data: bytes | None, findings: list[Finding]) -> Annotation:
    note = _noting(path, findings)
    root = _parse(data, note) if data is not None else None
    if root is None:
        return _UNREADABLE._replace(findings=tuple(findings))
    filename = database = coordinates = exif = ""
    size: tuple[int, int] | None = None
    header = Header(folder=None, path=None, source=None, depth=None, segmented=None)
    objects: list[RawObject] = []
    unknown: set[str] = set()
    for child in root:
        tag: str = child.tag  # type: ignore[assignment] # as in tag_of, whose call would show here
        if tag == "object":
            item = read_object(child, note, unknown)
            if item is not None:
                objects.append(item)
        elif tag == "filename":
            filename = _filename(child, filename, note)
        elif tag == "folder":
            header.folder = child.text or ""
        elif tag == "path":
            header.path = child.text or ""
        elif tag == "segmented":
            header.segmented = child.text or ""
        elif tag == "size":
            other, depth = _size(child, note)
            if size is not None and other != size:
                problem = f"<size> is there twice, as {_size_text(size)} and as {_size_text(other)}: the first is used"
                note("voc.tag.repeated", "warning", problem, line_of(child), "delete the wrong one")
            else:
                size, header.depth = other, depth
        elif tag == "source" and header.source is None and (source := _flat(child)) is not None:
            header.source = source
            database = " ".join(source.values())
        elif tag == "coordinates":
            coordinates = (child.text or "").strip()
        elif tag == "exif" and (child.text or "").strip() in MARKS:
            exif = (child.text or "").strip()
        elif tag == "coco":
            header.coco = json_object_in(child, note)
        else:
            _note_uninterpreted(child, note, unknown)
            header.tags.append(xml_of(child))
    header.attributes = _root_attributes(root, note)
    return Annotation(filename, size, database, coordinates, header, tuple(objects), tuple(findings),
                      frozenset(unknown), exif=exif)  # fmt: skip


def _noting(path: Path | str, findings: list[Finding]) -> Note:
    def note(code: str, severity: Severity, problem: str, line: int, hint: str) -> None:
        findings.append(Finding(code, severity, problem, Place(Path(path), line), hint))

    return note


def _annotation_bytes(path: Path | str, findings: list[Finding]) -> bytes | None:
    """The bytes of a file; None, with a finding, if it cannot be read."""
    note = _noting(path, findings)
    try:
        return read_limited(path, LARGEST_FILE)
    except FileTooLargeError:
        limit = f"is larger than {LARGEST_FILE >> 20} MB"
        note("xml.too_big", "error", limit, 0, "an annotation has a few kB: check that this is one")
    except OSError as error:
        note("xml.unreadable", "error", f"cannot be read: {reason(error)}", 0, "check its permissions")
    return None


def _parse(data: bytes, note: Note) -> etree._Element | None:
    """The root element of a file; None, with a finding, if it is not an annotation."""
    try:
        root = parse_xml(data)
    except XmlError as error:
        note(error.code, "error", error.problem, error.line, error.hint)
        return None
    if (b"xmlns" in data or root.nsmap) and drop_namespaces(root):  # looking at all elements takes time
        problem = "its elements have a namespace: other tools do not find them"
        note("voc.namespace", "warning", problem, line_of(root), "delete xmlns and the prefixes of the names")
    if tag_of(root) != "annotation":
        problem = f"begins with <{tag_of(root)[:40]}>, not with <annotation>"
        note("xml.root", "error", problem, line_of(root), "check that it is a VOC annotation")
        return None
    return root


def _root_attributes(root: etree._Element, note: Note) -> dict[str, str]:
    """The attributes of <annotation>; none, with a finding, if there are implausibly many."""
    count = len(root.keys())
    if count > MOST_ATTRIBUTES:
        problem = f"<annotation> has {count} attributes: they are dropped"
        note("voc.attributes", "warning", problem, line_of(root), "delete them: other tools write at most one")
        return {}
    return {str(name): str(value) for name, value in root.attrib.items()} if count else {}


def _flat(element: etree._Element) -> dict[str, str] | None:
    """The texts of an element's children by their tags; None if it holds anything else."""
    texts: dict[str, str] = {}
    for child in element:
        tag = tag_of(child)
        if len(child) or tag in texts or child.keys():
            return None
        texts[tag] = child.text or ""
    return None if element.keys() else texts


def _note_uninterpreted(element: etree._Element, note: Note, unknown: set[str]) -> None:
    """Note a child of <annotation> that is preserved but not interpreted, if it is unknown or holds objects."""
    tag = tag_of(element)
    if any(tag_of(inner).lower() in ("bndbox", "object") for inner in element.iter()):
        hint = "write <object> with <name> and <bndbox> in lower case, directly in <annotation>"
        problem = f"<{tag[:40]}> is ignored, but holds objects"
        note("voc.unknown_tag", "error", problem, line_of(element), hint)
    elif tag not in KNOWN_TAGS and tag != "source":
        unknown.add(tag)


def _filename(element: etree._Element, first: str, note: Note) -> str:
    """The text of <filename>, or of the `first` one if there are several."""
    text = (element.text or "").strip()
    if len(element):
        problem = f"<filename> holds an element, <{tag_of(element[0])[:40]}>, in place of text alone"
        note("voc.nested", "warning", problem, line_of(element), "write only the name in it")
    if first and first != text:
        problem = f"<filename> is there twice, as {quoted(first)} and as {quoted(text)}: the first is used"
        note("voc.tag.repeated", "warning", problem, line_of(element), "delete the wrong one")
    return first or text


def _size_text(size: tuple[int, int] | None) -> str:
    return "×".join(map(str, size)) if size else "no size"


def _size(element: etree._Element, note: Note) -> tuple[tuple[int, int] | None, str | None]:
    """Width and height (None if invalid) and the text of <depth> (None if missing)."""
    texts: dict[str, str] = {}
    for child in element:
        tag, text = tag_of(child), "" if len(child) else child.text or ""
        if texts.setdefault(tag, text).strip() != text.strip():
            problem = f"<{tag[:40]}> is there twice, as {quoted(texts[tag])} and as {quoted(text)}: the first is used"
            note("voc.tag.repeated", "warning", problem, line_of(child), "delete the wrong one")
    depth = texts.get("depth")
    values = []
    for side in ("width", "height"):
        text = texts.get(side, "").strip()
        value = float(text) if NUMBER.fullmatch(text) else math.nan
        if not (1 <= value < 2**31 and value == int(value)):
            problem = f"<{side}> is {text[:40]!r}, not a size: the image's size is used"
            note("voc.size.bad_number", "warning", problem, line_of(element), "open and save it in labelImg")
            return None, depth
        values.append(int(value))
    return (values[0], values[1]), depth
