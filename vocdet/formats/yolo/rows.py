"""The rows of a YOLO label file: a class, and fractions of the width and height of its image.

A box is `class cx cy w h`, a polygon `class x1 y1 x2 y2 x3 y3 ...`, a pose a box followed by its keypoints. An extra
column is a score, which tools add to their predictions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vocdet.data.findings import Notes
from vocdet.formats.shared.limited import noted_bytes
from vocdet.formats.shared.values import NOT_FINITE, NUMBER
from vocdet.formats.yolo.rotated_rows import may_be_rotated
from vocdet.wording import counted

LARGEST_FILE = 16 * 2**20  # bytes; a box takes 40
OUTSIDE_TOLERANCE = 0.01  # fractions may be outside 0 to 1 by this much, as in other tools

# A file that has only boxes in their usual form, as most files do: it is parsed in one step.
_PLAIN = re.compile(rb"(?:\d{1,9}(?: \d(?:\.\d{1,25})?){4} ?\r?\n)*(?:\d{1,9}(?: \d(?:\.\d{1,25})?){4})?")
_INDEX = re.compile(r"\d{1,9}", re.ASCII)
_LINE_END = re.compile(r"\r\n|\r|\n")
_UNUSABLE = ("yolo.text.unreadable", "yolo.text.too_big")
_REDRAW = "draw the object again, or delete the line"


class Row(NamedTuple):
    """An object with a polygon or keypoints, or of a file with other lines between its objects."""

    line: int
    label: int  # as written
    box: tuple[float, float, float, float]  # cx, cy, w, h: fractions of the image
    polygon: Sequence[float] = ()  # x1, y1, x2, y2, ...: fractions; empty for a box
    keypoints: Sequence[float] = ()  # as written: x, y or x, y, v of each


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a label file: the numbers of plain boxes, five for each line; or else rows."""

    numbers: list[float]
    rows: list[Row]


def read_rows(path: str, notes: Notes, keypoints: tuple[int, int] | None = None) -> Content | None:
    """Read one file; problems go to `notes`. None if it is not text.

    `keypoints` is how many a pose has, and how many values each has.
    """
    data = noted_bytes(path, notes, LARGEST_FILE, _UNUSABLE, "label files have a few kB: delete it if it is not one")
    if data is None:
        return None
    if _PLAIN.fullmatch(data):
        return Content(list(map(float, data.split())), [])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        hint = "save it as UTF-8, or delete it if it is not a label file"
        notes.add("yolo.text.encoding", "error", "is not UTF-8 text", Path(path), hint)
        return None
    if data.startswith(b"\xef\xbb\xbf"):
        hint = "save it as UTF-8 without a byte-order mark"
        problem = "begins with a byte-order mark: other tools cannot read its first line"
        notes.add("yolo.text.bom", "warning", problem, Path(path), hint, line=1)
    findings = _RowFindings(Path(path), notes)
    lines = [(number, line.split()) for number, line in enumerate(_LINE_END.split(text), 1)]
    rows = [_object_row(columns, number, keypoints, findings) for number, columns in lines if columns]
    findings.conclude()
    return Content([], [row for row in rows if row is not None])


def looks_like_rows(begin: bytes) -> bool:
    """Whether a file that begins with these bytes is a label file: its first line has five numbers or more."""
    line = begin.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n")[0].split()
    return len(line) >= 5 and all(NUMBER.fullmatch(word.decode("latin-1")) for word in line[:5])


@dataclass(slots=True)
class _RowFindings:
    """The findings of a file that is read line by line."""

    path: Path
    notes: Notes
    scored: list[int] = field(default_factory=list)  # lines with an extra column
    decimal: list[int] = field(default_factory=list)  # lines whose class has a decimal point

    def error(self, code: str, problem: str, line: int, hint: str = _REDRAW) -> None:
        self.notes.add(code, "error", problem, self.path, hint, line=line)

    def conclude(self) -> None:
        """Add the findings that stand for all rows of the file."""
        if self.scored:
            problem = f"{counted(len(self.scored), 'row')} with an extra column, a score: it is ignored"
            hint = "these look like predictions of a model, not annotations"
            self.notes.add("yolo.row.score", "warning", problem, self.path, hint, line=self.scored[0])
        if self.decimal:
            problem = f"{counted(len(self.decimal), 'row')} with a class that has a decimal point"
            hint = "write 0, not 0.0: other tools need a whole number"
            self.notes.add("yolo.class.decimal", "warning", problem, self.path, hint, line=self.decimal[0])


def _object_row(columns: list[str], line: int, keypoints: tuple[int, int] | None, findings: _RowFindings) -> Row | None:
    count = len(columns) - 1
    if count < 4:
        hint = "write: class, center x, center y, width, height, with spaces between them"
        hint += ", and no commas" if "," in "".join(columns) else ""
        findings.error("yolo.row.columns", f"has {counted(count + 1, 'column')}, not 5", line, hint)
        return None
    label, values = _label_number(columns[0], line, findings), _numbers(columns[1:], line, findings)
    if values is None or label is None:
        return None
    pose = 4 + keypoints[0] * keypoints[1] if keypoints else 0
    if count in (5, pose + 1) or (count > 5 and count % 2 and count != pose):
        findings.scored.append(line)
        values.pop()
    if len(values) in (4, pose):
        return Row(line, label, _four(values), keypoints=values[4:])
    return _polygon_row(label, values, line, findings)


def _label_number(text: str, line: int, findings: _RowFindings) -> int | None:
    if _INDEX.fullmatch(text):
        return int(text)
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    if 0 <= value < 1e9 and value == int(value):
        findings.decimal.append(line)
        return int(value)
    hint = "write the number of its label, counted from 0"
    findings.error("yolo.class.bad_number", f"the class is {text[:40]!r}, not a whole number from 0", line, hint)
    return None


def _numbers(columns: list[str], line: int, findings: _RowFindings) -> list[float] | None:
    for text in columns:
        if NUMBER.fullmatch(text) and math.isfinite(float(text)):
            continue
        if NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text):
            findings.error("yolo.row.not_finite", f"{text[:40]!r} is not finite", line)
        else:
            hint = "write a decimal point, and spaces between the numbers" if "," in text else _REDRAW
            findings.error("yolo.row.bad_number", f"{text[:40]!r} is not a number", line, hint)
        return None
    return list(map(float, columns))


def farthest(polygon: Sequence[float]) -> float:
    """The coordinate of a polygon that is farthest from the center of the image."""
    return max(polygon, key=lambda value: abs(value - 0.5))


def is_outside(value: float) -> bool:
    """Whether a fraction is outside the image by more than is tolerated."""
    return not -OUTSIDE_TOLERANCE <= value <= 1 + OUTSIDE_TOLERANCE


def outside_problem(far: float) -> tuple[str, str, str]:
    """The code, problem and hint of a polygon with a coordinate outside the image."""
    problem = f"a polygon has a point at {far:.6g}, but points are fractions of the image, from 0 to 1"
    if far > 2:
        return "yolo.row.pixels", problem, "divide x by the width and y by the height of the image"
    return "yolo.row.out_of_range", problem, _REDRAW


def _polygon_row(label: int, values: list[float], line: int, findings: _RowFindings) -> Row | None:
    far = farthest(values)
    if is_outside(far) and not may_be_rotated(values):
        code, problem, hint = outside_problem(far)
        findings.error(code, problem, line, hint)
        return None
    xs, ys = values[::2], values[1::2]
    box = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)
    return Row(line, label, box, polygon=values)


def _four(values: list[float]) -> tuple[float, float, float, float]:
    return values[0], values[1], values[2], values[3]
