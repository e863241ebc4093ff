"""A fast path for VOC files of the usual form, with regular expressions.

labelImg, the VOC devkit and Roboflow write the elements in a fixed order, without attributes, comments, entities or
CDATA. A file is read here only if all of it has that form and no value needs a finding. All other files go to the XML
parser, which gives the same result for files of the usual form (`parse_annotation`). Values are converted and checked
as the columns of many files at once, which takes half the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat
from operator import add
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vocdet.formats.shared.builder import DIFFICULT, OCCLUDED, TRUNCATED
from vocdet.formats.shared.values import clean_label
from vocdet.formats.voc.objects import ObjectColumns, RareFields, point_tags
from vocdet.formats.voc.preserved import Header

_S = "[ \t\n]*"
_TEXT = "[^<>&\0-\x1f]*"  # XML 1.0 also allows line ends, among others
_LABEL = "[^<>&\0-\x1f]+"
_SIDE = r"\d{1,9}(?:\.\d{1,15})?"
_POINT = r"(?:0|[1-9]\d{0,8})(?:\.\d{1,15})?"  # valid in JSON, too


def _element(name: str, inner: str) -> str:
    return f"<{name}>{inner}</{name}>{_S}"


def _optional(name: str, inner: str) -> str:
    return f"(?:{_element(name, inner)})?"


def _sides_pattern(names: tuple[str, ...], side: str) -> str:
    return _S + "".join(_element(name, side) for name in names)


def _part_pattern(text: str, side: str) -> str:
    box = _element("bndbox", _sides_pattern(_CORNERS, side))
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
    + _optional("segmented", f"({_TEXT})"),
    re.ASCII,
)
_OBJECT = re.compile(
    f"(<object>{_S}"
    + _element("name", f"({_LABEL})")
    + _optional("pose", f"({_TEXT})")
    + _optional("truncated", "([01])")
    + _optional("difficult", "([01])")
    + _optional("occluded", "([01])")
    + _element("bndbox", f"(?:({_sides_pattern(_CORNERS, _SIDE)})|({_sides_pattern(_AXES, _SIDE)}))")
    + _optional("difficult", "([01])")
    + _optional("polygon", rf"{_S}((?:<x\d+>{_POINT}</x\d+>{_S}<y\d+>{_POINT}</y\d+>{_S})+)")
    + f"((?:{_part_pattern(_TEXT, _SIDE)})*)</object>{_S})",
    re.ASCII,
)
_PART = re.compile(_part_pattern(f"({_TEXT})", f"({_SIDE})"))
_SOURCE_ELEMENT = re.compile(rf"<([a-z]+)>({_TEXT})<")
_END = re.compile(rf"</annotation>{_S}")
_SPACED = bytes.maketrans(b">", b" ")  # with the tags deleted, numbers between spaces remain
_NOT_NUMBERS = b"</aimnxy \t\n"


class UsualFile(NamedTuple):
    """The content of a file of the usual form, its objects unconverted."""

    filename: str
    size: tuple[int, int]  # width, height
    database: str  # texts of <source>
    header: Header
    objects: list[tuple[str, ...]]  # the groups of `_OBJECT`
    line: int  # of the first object


def read_usual(data: bytes) -> UsualFile | None:
    """The content of a file; None if it does not have the usual form, or one outside its objects needs a finding."""
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
    begin = end = top.end()
    objects = _OBJECT.findall(text, begin)
    for one in objects:
        end += len(one[0])
    if not _END.fullmatch(text, end):  # something else is between the objects, or after them
        return None
    header = Header(folder, path, source, depth, segmented)
    return UsualFile(filename.strip(), (int(width), int(height)), database, header, objects,
                     1 + text.count("\n", 0, begin))  # fmt: skip


@lru_cache(256)  # most files of a dataset share a few
def _source(text: str) -> tuple[dict[str, str] | None, str]:
    """The texts in <source> by the names of their elements (None if one is repeated), and all of them in one."""
    pairs = _SOURCE_ELEMENT.findall(text)
    source = dict(pairs)
    return source if len(source) == len(pairs) else None, " ".join(source.values())


@dataclass(frozen=True, slots=True)
class UsualObjects:
    """The objects of several files, in their order."""

    first: Sequence[int]  # row of every file, and at last the number of objects
    columns: ObjectColumns
    outlined: frozenset[int] = frozenset()  # files with polygons
    unusual: frozenset[int] = frozenset()  # files with a value that needs a finding

    def count(self, file: int) -> int:
        """The number of objects of a file; 0 for -1."""
        return self.first[file + 1] - self.first[file] if file >= 0 else 0

    def of_files(self, files: Sequence[int]) -> ObjectColumns:
        """The objects of some of the files."""
        rows = [row for file in files for row in range(self.first[file], self.first[file + 1])]
        every = self.columns
        if len(rows) == len(every.labels):
            return every
        rare = {i: every.rare[row] for i, row in enumerate(rows) if row in every.rare}
        return ObjectColumns(
            [every.labels[row] for row in rows], every.boxes[rows], [every.flags[row] for row in rows],
            [every.lines[row] for row in rows], [every.poses[row] for row in rows], rare,
        )  # fmt: skip


def usual_objects(files: Sequence[UsualFile]) -> UsualObjects:
    """The objects of several files, converted and checked."""
    first = [0]
    for file in files:
        first.append(first[-1] + len(file.objects))
    if not first[-1]:
        return UsualObjects(first, ObjectColumns())
    (wholes, labels, poses, truncated, difficult, occluded, corners, axes, difficult_2, points, parts) = zip(
        *chain.from_iterable(file.objects for file in files), strict=True
    )
    text = "".join(map(add, corners, axes)).encode()
    boxes = np.fromstring(text.translate(_SPACED, _NOT_NUMBERS), sep=" ").reshape(-1, 4)
    by_axis = _are(axes, bool)
    boxes[by_axis] = boxes[by_axis][:, [0, 2, 1, 3]]
    bad = (boxes[:, :2] > boxes[:, 2:]).any(axis=1) | (boxes[:, 2:] <= 1).all(axis=1)
    bad |= _are(difficult, bool) & _are(difficult_2, bool)
    unclean = {label for label in {*labels} if clean_label(label) != label}
    if unclean:
        bad |= _are(labels, unclean.__contains__)
    flags = (_are(difficult, "1".__eq__) | _are(difficult_2, "1".__eq__)) * np.uint8(DIFFICULT)
    flags |= _are(truncated, "1".__eq__) * np.uint8(TRUNCATED) | _are(occluded, "1".__eq__) * np.uint8(OCCLUDED)
    rare: dict[int, RareFields] = {}
    for row in np.flatnonzero(_are(points, bool) | _are(parts, bool)).tolist():
        rare[row], usual = _rare_fields(points[row], parts[row])
        bad[row] |= not usual
    starts = np.array(first[:-1])
    ends = np.cumsum(np.fromiter(map(str.count, wholes, repeat("\n")), np.int64, len(wholes)))
    before = np.concatenate([[0], ends])  # line ends before every object, in all files
    counts = np.diff(first)
    lines = before[:-1] + np.repeat(np.array([file.line for file in files]) - before[starts], counts)
    file_of = np.repeat(np.arange(len(files)), counts)
    outlined = [row for row, fields in rare.items() if fields.polygons]
    names = {pose: _pose(pose) for pose in {*poses}}
    columns = ObjectColumns(labels, boxes, flags.tolist(), lines.tolist(), [names[pose] for pose in poses], rare)
    return UsualObjects(first, columns, frozenset(file_of[outlined].tolist()), frozenset(file_of[bad].tolist()))


def _are(texts: Sequence[str], test: Callable[[str], bool]) -> NDArray[np.bool_]:
    return np.fromiter(map(test, texts), np.bool_, len(texts))


def _rare_fields(points: str, parts: str) -> tuple[RareFields, bool]:
    """The polygon and the parts of an object, and whether the points of the polygon have the usual names."""
    tokens = points.replace("<", ">").split(">")  # space, x1, its number, /x1, space, y1, ...
    numbers = tokens[2::4]
    usual = (tokens[1::4], tokens[3::4]) == _point_tags(len(numbers))
    boxes = ((name, (float(x), float(y), float(x_2), float(y_2))) for name, x, y, x_2, y_2 in _PART.findall(parts))
    return RareFields(polygons=(",".join(numbers),) if numbers else (), parts=tuple(boxes)), usual


@lru_cache(256)  # most polygons of a dataset have a similar number of points
def _point_tags(numbers: int) -> tuple[list[str], list[str]]:
    """The names of the elements of a polygon, and how they end."""
    names = point_tags(numbers)
    return names, [f"/{name}" for name in names]


def _pose(text: str) -> str:
    pose = text.strip()
    return "" if pose == "Unspecified" else pose
