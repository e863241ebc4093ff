"""A fast path for VOC files of the usual form, with regular expressions.

labelImg, the VOC devkit and Roboflow write the elements in a fixed order, without attributes, comments, entities or
CDATA. A file is read here only if all of it has that form and no value needs a finding. All other files go to the XML
parser, which gives the same result for files of the usual form (`read_annotation`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from vocdet.formats.shared.builder import DIFFICULT, OCCLUDED, TRUNCATED
from vocdet.formats.shared.values import clean_label
from vocdet.formats.voc.objects import RareFields, RawObject, polygon_xml
from vocdet.formats.voc.preserved import Header

_S = "[ \t\n]*"
_TEXT = "[^<>&\0-\x1f]*"  # XML 1.0 also allows line ends, among others
_SIDE = r"\d{1,9}(?:\.\d{1,15})?"
_POINT = r"(?:0|[1-9]\d{0,8})(?:\.\d{1,15})?"  # valid in JSON, too


def _element(name: str, inner: str) -> str:
    return f"<{name}>{inner}</{name}>{_S}"


def _optional(name: str, inner: str) -> str:
    return f"(?:{_element(name, inner)})?"


def _sides(names: tuple[str, ...], side: str) -> str:
    return _S + "".join(_element(name, side) for name in names)


def _part(text: str, side: str) -> str:
    box = _element("bndbox", _sides(_CORNERS, side))
    return _element("part", _S + _element("name", text) + box)


_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_AXES = ("xmin", "xmax", "ymin", "ymax")  # as Roboflow orders them
_HEADER = re.compile(
    rf"(?:<\?xml version=\"1\.0\"(?: encoding=\"(?:utf|UTF)-8\")?\?>{_S})?<annotation>{_S}"
    + _optional("folder", f"({_TEXT})")
    + _element("filename", f"({_TEXT})")
    + _optional("path", f"({_TEXT})")
    + _element("source", rf"{_S}((?:<([a-z]+)>{_TEXT}</\5>{_S})*)")
    + f"<size>{_S}"
    + _element("width", r"([1-9]\d{0,8})")
    + _element("height", r"([1-9]\d{0,8})")
    + _element("depth", r"(\d*)")
    + f"</size>{_S}"
    + _optional("segmented", f"({_TEXT})")
)
_OBJECT = re.compile(
    f"<object>{_S}"
    + _element("name", f"({_TEXT})")
    + _optional("pose", f"({_TEXT})")
    + _optional("truncated", "([01])")
    + _optional("difficult", "([01])")
    + _optional("occluded", "([01])")
    + _element("bndbox", f"(?:{_sides(_CORNERS, f'({_SIDE})')}|{_sides(_AXES, f'({_SIDE})')})")
    + _optional("difficult", "([01])")
    + _optional("polygon", rf"{_S}((?:<x\d+>{_POINT}</x\d+>{_S}<y\d+>{_POINT}</y\d+>{_S})+)")
    + f"((?:{_part(_TEXT, _SIDE)})*)</object>{_S}"
)
_PART = re.compile(_part(f"({_TEXT})", f"({_SIDE})"))
_SOURCE_ELEMENT = re.compile(rf"<([a-z]+)>({_TEXT})<")
_NUMBER = re.compile(r">([\d.]+)<")
_END = re.compile(rf"</annotation>{_S}")


class UsualAnnotation(NamedTuple):
    """The content of a file of the usual form."""

    filename: str
    size: tuple[int, int]  # width, height
    database: str  # texts of <source>
    header: Header
    objects: tuple[RawObject, ...]


def read_usual(data: bytes) -> UsualAnnotation | None:
    """The content of a file; None if it does not have the usual form, or a value needs a finding."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if not text.isascii() and ("\ufffe" in text or "\uffff" in text):  # not XML characters
        return None
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    top = _HEADER.match(text)
    if top is None:
        return None
    folder, filename, path, sources, _, width, height, depth, segmented = top.groups()
    source, database = _source(sources)
    if source is None:
        return None
    objects: list[RawObject] = []
    line, counted_to, end = 1, 0, top.end()
    while match := _OBJECT.match(text, end):
        line += text.count("\n", counted_to, end)
        counted_to, end = end, match.end()
        item = _object(match, line)
        if item is None:
            return None
        objects.append(item)
    if not _END.fullmatch(text, end):
        return None
    header = Header(folder=folder, path=path, source=source, depth=depth, segmented=segmented)
    return UsualAnnotation(filename.strip(), (int(width), int(height)), database, header, tuple(objects))


@lru_cache(256)  # most files of a dataset share a few
def _source(text: str) -> tuple[dict[str, str] | None, str]:
    """The texts in <source> by the names of their elements (None if one is repeated), and all of them in one."""
    pairs = _SOURCE_ELEMENT.findall(text)
    source = dict(pairs)
    return source if len(source) == len(pairs) else None, " ".join(source.values())


def _object(match: re.Match[str], line: int) -> RawObject | None:
    """An object; None if a value needs a finding."""
    (label, pose, truncated, difficult, occluded, left, top, right, bottom, left_2, right_2, top_2, bottom_2,
     difficult_2, points, parts) = match.groups()  # fmt: skip
    if left is None:
        left, top, right, bottom = left_2, top_2, right_2, bottom_2
    box = xmin, ymin, xmax, ymax = float(left), float(top), float(right), float(bottom)
    if not label or clean_label(label) != label or xmin > xmax or ymin > ymax or (xmax <= 1 and ymax <= 1):
        return None
    if difficult_2 is not None:
        if difficult is not None:
            return None
        difficult = difficult_2
    flags = (difficult == "1") * DIFFICULT | (truncated == "1") * TRUNCATED | (occluded == "1") * OCCLUDED
    rare = None
    if parts:
        items = _PART.findall(parts)
        boxes = ((float(x), float(y), float(x_2), float(y_2)) for _, x, y, x_2, y_2 in items)
        rare = RareFields(parts=tuple(zip((name for name, *_ in items), boxes, strict=True)))
    if points is not None:
        numbers = _NUMBER.findall(points)
        if polygon_xml(numbers) != f"<polygon>{''.join(points.split())}</polygon>":
            return None
        rare = rare or RareFields()
        rare.polygons = (",".join(numbers),)
    pose = "" if pose is None or pose == "Unspecified" else pose.strip()
    return RawObject(label, box, flags, line, "" if pose == "Unspecified" else pose, rare)
