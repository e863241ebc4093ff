"""What can be mended in a VOC file without a guess; all else in the file stays as it is, byte for byte."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vocdet import boxes
from vocdet.data.findings import Finding
from vocdet.data.usable import SMALLEST_SIDE
from vocdet.errors import Place
from vocdet.formats.source import Coordinates
from vocdet.formats.values import NUMBER, clean_label, number_text
from vocdet.formats.voc.annotation import read_annotation
from vocdet.formats.voc.coordinates import minimum_text, to_pixels
from vocdet.formats.voc.objects import RawObject
from vocdet.formats.voc.xml_edit import (
    CannotEdit,
    Edit,
    Element,
    edited,
    line_before,
    new_text,
    parse,
    read_source,
    removal,
)
from vocdet.wording import counted

MOST_BEYOND = 1.0  # pixels that a box may reach beyond its image and still be clipped rather than looked at

_FLAGS = ("difficult", "truncated", "occluded", "crowd")
_YES, _NO = ("true", "yes"), ("false", "no")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FLAG_IN_WORDS = re.compile(rb"<(difficult|truncated|occluded|crowd)\s*>\s*(true|false|yes|no)\s*<", re.IGNORECASE)
_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the image of a file, and how the file is to be read."""

    size: tuple[int, int] | None = None  # width and height as its boxes mean them; None: not known
    depth: int = 3  # channels
    sure: bool = False  # whether `size` may be written into the file
    coordinates: Coordinates = "zero"
    renamed: tuple[str, str] | None = None  # the old and the new name of the image
    numbered: bool = False  # whether masks elsewhere count its objects, so that none may go


@dataclass(slots=True)
class Repaired:
    """A file as it should be, what was changed, and what a person must look at."""

    data: bytes
    counts: Counter[str] = field(default_factory=Counter)  # changes, by the code of the finding
    left: list[tuple[int, str]] = field(default_factory=list)  # lines (0: the whole file), and why they were let be


def worth_a_look(data: bytes) -> bool:
    """Whether a file has a flag in words, which vocdet reads and others do not."""
    return _FLAG_IN_WORDS.search(data) is not None or b"\0" in data[:4]


def sizeless(root: Path, sources: Sequence[str]) -> list[str]:
    """Those of these files that have no <size>."""
    found = []
    for source in sources:
        data = (root / source).read_bytes()
        if b"<size" not in data and "<size".encode("utf-16-le") not in data:
            annotation = read_annotation(root / source)
            if annotation.readable and annotation.size is None:
                found.append(source)
    return found


def size_findings(root: Path, sources: Sequence[str]) -> list[Finding]:
    """One finding for all files without <size>."""
    found = sizeless(root, sources)
    if not found:
        return []
    some = ", ".join(found[:_MOST_NAMES]) + (", ..." if len(found) > _MOST_NAMES else "")
    problem = f"{counted(len(found), 'file')} have no <size>: {some}" if len(found) > 1 else "has no <size>"
    hint = "vocdet uses the image's own; other tools need it: vocdet check --fix writes it"
    place = Place(root / found[0] if len(found) == 1 else root)
    return [Finding("voc.size.missing", "warning", problem, place, hint, len(found))]


def repair(data: bytes, facts: Facts) -> Repaired:
    """Mend a VOC file: space in labels, flags that are no 0 or 1, <size>, objects there twice, boxes a pixel too large.

    What is not sure stays as it is and is in `left`; all of the file, where it would not say the same otherwise.
    """
    repaired = Repaired(data)
    try:
        source = read_source(data)
        root, pen = parse(source.text), _Pen(source.text, repaired)
        _mend_objects(root, facts, pen)
        _mend_size(root, facts, pen)
        if facts.renamed is not None:
            _mend_names(root, *facts.renamed, pen)
        if pen.edits:
            result = source.encoded(edited(source.text, pen.edits))
            _prove(data, result, facts)
            repaired.data = result
    except CannotEdit as error:
        repaired.counts.clear()
        repaired.left = [(0, str(error))]
    return repaired


@dataclass(slots=True)
class _Pen:
    """Notes the edits of a text, and what could not be edited."""

    text: str
    repaired: Repaired
    edits: list[Edit] = field(default_factory=list)

    def make(self, code: str, *edits: Edit) -> None:
        self.repaired.counts[code] += 1
        self.edits += edits

    def write(self, code: str, element: Element, value: str) -> None:
        """Give an element another text."""
        try:
            self.make(code, new_text(self.text, element, value))
        except CannotEdit as error:
            self.leave(element, str(error))

    def leave(self, element: Element, why: str) -> None:
        self.repaired.left.append((self.text.count("\n", 0, element.start) + 1, why))


def _mend_objects(root: Element, facts: Facts, pen: _Pen) -> None:
    objects = root.all("object")
    twice = _twice(objects)
    for element in objects:
        if id(element) in twice:
            if not facts.numbered and not re.search(r"<(!--|\?)", pen.text[element.start : element.end]):
                pen.make("box.duplicate", removal(pen.text, element))
                continue
            why = "masks in SegmentationObject count the objects" if facts.numbered else "it holds a comment"
            pen.leave(element, f"it is there twice, yet {why}")
        _mend_object(element, facts, pen)


def _mend_object(element: Element, facts: Facts, pen: _Pen) -> None:
    name = element.first("name")
    if name is not None and (label := clean_label(name.text)) and label != name.text:
        pen.write("label.whitespace", name, label)
    for child in element.children:
        if child.tag in _FLAGS and (value := _flag(child.text)) is not None:
            pen.write("voc.flag.bad_value", child, value)
    bounds = element.first("bndbox")
    if bounds is not None and facts.size is not None:
        for side, number in _clipped(bounds, facts.size, facts.coordinates):
            pen.write("box.out_of_image", side, number)


def _flag(text: str) -> str | None:
    """What a flag in other words means; None where it is a flag already, or where that would be a guess."""
    word = text.strip().lower()
    if word in ("0", "1"):
        return None
    if word in _YES + _NO:
        return "1" if word in _YES else "0"
    return f"{float(word):.0f}" if NUMBER.fullmatch(word) and float(word) in (0, 1) else None


def _clipped(bounds: Element, size: tuple[int, int], coordinates: Coordinates) -> list[tuple[Element, str]]:
    """The sides of a box that lie a little beyond the image, with what they should be."""
    numbers = _numbers(bounds)
    if numbers is None:
        return []
    written = np.array([numbers])
    box = to_pixels(written, coordinates)
    inside = boxes.clip(box, *size)
    beyond = np.abs(inside - box)[0]
    if not (0 < beyond.max() <= MOST_BEYOND) or (inside[0, 2:] - inside[0, :2]).min() < SMALLEST_SIDE:
        return []
    found = []
    for i in np.flatnonzero(beyond).tolist():
        value = float(inside[0, i])
        side = bounds.first(_SIDES[i])
        if side is not None:
            found.append((side, minimum_text(value, coordinates) if i < 2 else number_text(value)))
    return found


def _numbers(bounds: Element) -> tuple[float, ...] | None:
    """The four numbers of a <bndbox>; None where they are not just these."""
    if sorted(child.tag for child in bounds.children) != sorted(_SIDES):
        return None
    texts = [child.text.strip() for side in _SIDES for child in bounds.all(side)]
    if not all(map(NUMBER.fullmatch, texts)):
        return None
    numbers = tuple(map(float, texts))
    return numbers if all(map(math.isfinite, numbers)) else None


def _twice(objects: Sequence[Element]) -> set[int]:
    """The ids of the elements that say just what an earlier one says."""
    seen, found = set[Any](), set[int]()
    for element in objects:
        name, bounds = element.first("name"), element.first("bndbox")
        if name is None or bounds is None or not clean_label(name.text) or _numbers(bounds) is None:
            continue
        said = _said(element)
        if said in seen:
            found.add(id(element))
        seen.add(said)
    return found


def _said(element: Element) -> tuple[Any, ...]:
    """What an element says, whatever way it is written."""
    text: object = element.text.strip()
    if element.tag == "name":
        text = clean_label(element.text)
    elif element.tag in _FLAGS:
        text = _flag(element.text) or text
    elif element.tag in _SIDES and NUMBER.fullmatch(element.text.strip()):
        text = float(element.text)
    children = sorted(map(_said, element.children), key=repr)
    return element.tag, tuple(sorted(element.attributes.items())), text, tuple(children)


def _mend_size(root: Element, facts: Facts, pen: _Pen) -> None:
    sizes = root.all("size")
    sides = [[child.text.strip() for child in size.children if child.tag in ("width", "height")] for size in sizes]
    if facts.size is None or (len(sizes) == 1 and len(sides[0]) == 2 and all(map(_is_size, sides[0]))):
        return
    if not facts.sure:
        pen.leave(root, "its size is missing or none, and EXIF turns the image: see which way its boxes fit")
    elif len(sizes) > 1 or (sizes and len(sides[0]) > 2):
        pen.leave(sizes[0], "its size is said more than once")
    elif not root.children:
        pen.leave(root, "there is nothing in it that <size> could stand beside")
    else:
        _write_size(root, sizes[0] if sizes else None, facts, pen)


def _is_size(text: str) -> bool:
    return bool(NUMBER.fullmatch(text)) and 1 <= float(text) < 2**31 and float(text).is_integer()


def _write_size(root: Element, size: Element | None, facts: Facts, pen: _Pen) -> None:
    values = dict(zip(("width", "height"), facts.size or (), strict=False))
    if size is not None and {child.tag for child in size.children} >= values.keys():
        for child in size.children:
            if child.tag in values and not _is_size(child.text.strip()):
                pen.write("voc.size.missing", child, str(values[child.tag]))
    elif size is not None:
        pen.make("voc.size.missing", Edit(size.start, size.end, _size_block(line_before(pen.text, size), facts)))
    else:
        after = next((child for child in root.children if child.tag in ("segmented", "object")), None)
        line = line_before(pen.text, after or root.children[-1])
        block = _size_block(line, facts)
        at = after.start if after else root.children[-1].end
        pen.make("voc.size.missing", Edit(at, at, block + line if after else line + block))


def _size_block(line: str, facts: Facts) -> str:
    """A <size> whose lines begin as `line` does."""
    deeper = line + line.lstrip("\r\n")
    width, height = facts.size or (0, 0)
    sides = (("width", width), ("height", height), ("depth", facts.depth))
    return f"<size>{''.join(f'{deeper}<{tag}>{value}</{tag}>' for tag, value in sides)}{line}</size>"


def _mend_names(root: Element, old: str, new: str, pen: _Pen) -> None:
    for element in root.children:
        text = element.text.strip()
        if element.tag in ("filename", "path") and re.split(r"[/\\]", text)[-1] == old:
            pen.write("image.suffix", element, text.removesuffix(old) + new)


def _prove(before: bytes, after: bytes, facts: Facts) -> None:
    """`CannotEdit` unless vocdet reads both the same, but for what was to be mended."""
    with tempfile.TemporaryDirectory(prefix="vocdet-") as folder:
        path = Path(folder, "a.xml")
        path.write_bytes(before)
        old = read_annotation(path)
        path.write_bytes(after)
        new = read_annotation(path)
    expected: list[tuple[Any, ...]] = []
    for one in old.objects:
        said = _sides_apart(one, facts)
        if facts.numbered or said not in expected:
            expected.append(said)
    found = [_sides_apart(one, facts) for one in new.objects]
    if not facts.numbered:
        found = [said for i, said in enumerate(found) if said not in found[:i]]
    same_header = old.header.source == new.header.source and old.header.tags == new.header.tags
    errors = [[finding.code for finding in each.findings if finding.severity == "error"] for each in (old, new)]
    if not new.readable or found != expected or not same_header or errors[0] != errors[1]:
        raise CannotEdit("it would not say the same afterwards")


def _sides_apart(one: RawObject, facts: Facts) -> tuple[Any, ...]:
    """All that an object says, its box as it is when clipped."""
    box = np.array([one.box])
    if facts.size is not None:
        pixels = to_pixels(box, facts.coordinates)
        inside = boxes.clip(pixels, *facts.size)
        if np.abs(inside - pixels).max() <= MOST_BEYOND and (inside[0, 2:] - inside[0, :2]).min() >= SMALLEST_SIDE:
            box = inside + (box - pixels)
    return one.label, tuple(box[0].tolist()), one.flags, one.pose, one.rare
