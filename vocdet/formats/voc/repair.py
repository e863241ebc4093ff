"""Repair what is unambiguous in a VOC file; the rest of the file stays unchanged, byte for byte."""

from __future__ import annotations

import math
import re
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vocdet import boxes
from vocdet.data.checks.boxes import SMALLEST_SIDE
from vocdet.data.findings import Finding
from vocdet.errors import Place
from vocdet.files import read_limited
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.builder import FLAGS
from vocdet.formats.shared.values import NUMBER, clean_label, number_text
from vocdet.formats.voc.annotation import LARGEST_FILE, read_annotation
from vocdet.formats.voc.coordinates import minimum_text, to_pixels
from vocdet.formats.voc.objects import SIDES, RawObject
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
from vocdet.wording import counted, listed

MOST_BEYOND = 1.0  # pixels outside its image up to which a box is clipped

_YES, _NO = ("true", "yes"), ("false", "no")
_FLAG_IN_WORDS = re.compile(rb"<(difficult|truncated|occluded|crowd)\s*>\s*(true|false|yes|no)\s*<", re.IGNORECASE)
_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a file from its image and its dataset."""

    size: tuple[int, int] | None = None  # width and height that its boxes refer to; None: unknown
    depth: int = 3  # channels
    sure: bool = False  # whether `size` is certain enough to be written
    coordinates: Coordinates = "zero"
    renamed: tuple[str, str] | None = None  # old and new name of the image
    numbered: bool = False  # whether masks refer to its objects by number, so that none may be removed


@dataclass(slots=True)
class Repair:
    """A repaired file, the changes, and what needs a person."""

    data: bytes
    counts: Counter[str] = field(default_factory=Counter)  # changes, by the code of the finding
    left: list[tuple[int, str]] = field(default_factory=list)  # lines (0: the whole file) and the reasons


def may_need_repair(data: bytes) -> bool:
    """Whether a file has a flag in words, which vocdet reads and other tools do not, or is UTF-16."""
    return _FLAG_IN_WORDS.search(data) is not None or b"\0" in data[:4]


def without_size(root: Path, sources: Sequence[str]) -> list[str]:
    """The files that have no <size>."""
    found = []
    for source in sources:
        try:
            data = read_limited(root / source, LARGEST_FILE)
        except OSError:  # reading it reports that
            continue
        if b"<size" not in data and "<size".encode("utf-16-le") not in data:
            annotation = read_annotation(root / source)
            if annotation.readable and annotation.size is None:
                found.append(source)
    return found


def size_findings(root: Path, sources: Sequence[str]) -> list[Finding]:
    """One finding for all files without a <size>."""
    found = without_size(root, sources)
    if not found:
        return []
    some = listed(found, most=_MOST_NAMES)
    problem = f"{counted(len(found), 'file')} have no <size>: {some}" if len(found) > 1 else "has no <size>"
    hint = "vocdet uses the image's size, but other tools need it: `vocdet.repair(dataset)` writes it"
    place = Place(root / found[0] if len(found) == 1 else root)
    return [Finding("voc.size.missing", "warning", problem, place, hint, len(found))]


def repair(data: bytes, facts: Facts) -> Repair:
    """Repair a VOC file: space in labels, flags other than 0 and 1, <size>, duplicate objects, boxes a pixel too large.

    What is ambiguous stays unchanged and is in `left`; so does the whole file if its meaning would change.
    """
    repaired = Repair(data)
    try:
        source = read_source(data)
        root, editor = parse(source.text), _Editor(source.text, repaired)
        _repair_objects(root, facts, editor)
        _repair_size(root, facts, editor)
        if facts.renamed is not None:
            _rename_image(root, *facts.renamed, editor)
        if editor.edits:
            result = source.encoded(edited(source.text, editor.edits))
            _verify(data, result, facts)
            repaired.data = result
    except CannotEdit as error:
        repaired.counts.clear()
        repaired.left = [(0, str(error))]
    return repaired


@dataclass
class _Editor:
    """Collects the edits of a text, and what cannot be edited."""

    text: str
    repaired: Repair
    edits: list[Edit] = field(default_factory=list)

    @cached_property
    def line_ends(self) -> list[int]:
        """The places of all line ends."""
        return [match.start() for match in re.finditer("\n", self.text)]

    def make(self, code: str, *edits: Edit) -> None:
        self.repaired.counts[code] += 1
        self.edits += edits

    def write(self, code: str, element: Element, value: str) -> None:
        """Replace the text of an element."""
        try:
            self.make(code, new_text(self.text, element, value))
        except CannotEdit as error:
            self.leave(element, str(error))

    def leave(self, element: Element, why: str) -> None:
        self.repaired.left.append((bisect_left(self.line_ends, element.start) + 1, why))


def _repair_objects(root: Element, facts: Facts, editor: _Editor) -> None:
    objects = root.all("object")
    duplicates = _repeated_objects(objects)
    for element in objects:
        if id(element) in duplicates:
            if not facts.numbered and not re.search(r"<(!--|\?)", editor.text[element.start : element.end]):
                editor.make("box.duplicate", removal(editor.text, element))
                continue
            why = "masks in SegmentationObject number the objects" if facts.numbered else "it holds a comment"
            editor.leave(element, f"it is a duplicate, but {why}")
        _repair_object(element, facts, editor)


def _repair_object(element: Element, facts: Facts, editor: _Editor) -> None:
    name = element.first("name")
    if name is not None and (label := clean_label(name.text)) and label != name.text:
        editor.write("label.whitespace", name, label)
    for child in element.children:
        if child.tag in FLAGS and (value := _repaired_flag(child.text)) is not None:
            editor.write("voc.flag.bad_value", child, value)
    bounds = element.first("bndbox")
    if bounds is not None and facts.size is not None:
        for side, number in _clipped(bounds, facts.size, facts.coordinates):
            editor.write("box.out_of_image", side, number)


def _repaired_flag(text: str) -> str | None:
    """The 0 or 1 that a flag in words stands for; None if it is one already, or ambiguous."""
    word = text.strip().lower()
    if word in ("0", "1"):
        return None
    if word in _YES + _NO:
        return "1" if word in _YES else "0"
    return f"{float(word):.0f}" if NUMBER.fullmatch(word) and float(word) in (0, 1) else None


def _clipped(bounds: Element, size: tuple[int, int], coordinates: Coordinates) -> list[tuple[Element, str]]:
    """The sides of a box that are slightly outside the image, with the clipped values."""
    numbers = _bounds_of(bounds)
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
        side = bounds.first(SIDES[i])
        if side is not None:
            found.append((side, minimum_text(value, coordinates) if i < 2 else number_text(value)))
    return found


def _bounds_of(bounds: Element) -> tuple[float, ...] | None:
    """The four numbers of a <bndbox>; None if it holds anything else."""
    if sorted(child.tag for child in bounds.children) != sorted(SIDES):
        return None
    texts = [child.text.strip() for side in SIDES for child in bounds.all(side)]
    if not all(map(NUMBER.fullmatch, texts)):
        return None
    numbers = tuple(map(float, texts))
    return numbers if all(map(math.isfinite, numbers)) else None


def _repeated_objects(objects: Sequence[Element]) -> set[int]:
    """The ids of the elements with the same content as an earlier one."""
    seen, found = set[Any](), set[int]()
    for element in objects:
        name, bounds = element.first("name"), element.first("bndbox")
        if name is None or bounds is None or not clean_label(name.text) or _bounds_of(bounds) is None:
            continue
        content = _meaning(element)
        if content in seen:
            found.add(id(element))
        seen.add(content)
    return found


def _meaning(element: Element) -> tuple[Any, ...]:
    """The meaning of an element, independent of its notation."""
    text: object = element.text.strip()
    if element.tag == "name":
        text = clean_label(element.text)
    elif element.tag in FLAGS:
        text = _repaired_flag(element.text) or text
    elif element.tag in SIDES and NUMBER.fullmatch(element.text.strip()):
        text = float(element.text)
    children = sorted(map(_meaning, element.children), key=repr)
    return element.tag, tuple(sorted(element.attributes.items())), text, tuple(children)


def _repair_size(root: Element, facts: Facts, editor: _Editor) -> None:
    sizes = root.all("size")
    sides = [[child.text.strip() for child in size.children if child.tag in ("width", "height")] for size in sizes]
    if facts.size is None or (len(sizes) == 1 and len(sides[0]) == 2 and all(map(_is_size, sides[0]))):
        return
    if not facts.sure:
        editor.leave(root, "its size is missing or invalid, and EXIF rotates the image: check its boxes")
    elif len(sizes) > 1 or (sizes and len(sides[0]) > 2):
        editor.leave(sizes[0], "it has several sizes")
    elif not root.children:
        editor.leave(root, "it is empty, so there is no place for <size>")
    else:
        _write_size(root, sizes[0] if sizes else None, facts, editor)


def _is_size(text: str) -> bool:
    return bool(NUMBER.fullmatch(text)) and 1 <= float(text) < 2**31 and float(text).is_integer()


def _write_size(root: Element, size: Element | None, facts: Facts, editor: _Editor) -> None:
    values = dict(zip(("width", "height"), facts.size or (), strict=False))
    if size is not None and {child.tag for child in size.children} >= values.keys():
        for child in size.children:
            if child.tag in values and not _is_size(child.text.strip()):
                editor.write("voc.size.missing", child, str(values[child.tag]))
    elif size is not None:
        editor.make("voc.size.missing", Edit(size.start, size.end, _size_block(line_before(editor.text, size), facts)))
    else:
        after = next((child for child in root.children if child.tag in ("segmented", "object")), None)
        line = line_before(editor.text, after or root.children[-1])
        block = _size_block(line, facts)
        at = after.start if after else root.children[-1].end
        editor.make("voc.size.missing", Edit(at, at, block + line if after else line + block))


def _size_block(line: str, facts: Facts) -> str:
    """A <size> element, indented like `line`."""
    deeper = line + line.lstrip("\r\n")
    width, height = facts.size or (0, 0)
    sides = (("width", width), ("height", height), ("depth", facts.depth))
    return f"<size>{''.join(f'{deeper}<{tag}>{value}</{tag}>' for tag, value in sides)}{line}</size>"


def _rename_image(root: Element, old: str, new: str, editor: _Editor) -> None:
    for element in root.children:
        text = element.text.strip()
        if element.tag in ("filename", "path") and re.split(r"[/\\]", text)[-1] == old:
            editor.write("image.suffix", element, text.removesuffix(old) + new)


def _verify(before: bytes, after: bytes, facts: Facts) -> None:
    """CannotEdit if vocdet reads the two files differently, apart from the repairs."""
    with tempfile.TemporaryDirectory(prefix="vocdet-") as folder:
        path = Path(folder, "a.xml")
        path.write_bytes(before)
        old = read_annotation(path)
        path.write_bytes(after)
        new = read_annotation(path)
    expected, actual = ([_clipped_fields(item, facts) for item in annotation.objects] for annotation in (old, new))
    if not facts.numbered:
        expected, actual = _unequal(expected), _unequal(actual)
    same_header = old.header.source == new.header.source and old.header.tags == new.header.tags
    errors = [[finding.code for finding in each.findings if finding.severity == "error"] for each in (old, new)]
    if not new.readable or actual != expected or not same_header or errors[0] != errors[1]:
        raise CannotEdit("its meaning would change")


def _unequal(items: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list({repr(item): item for item in items}.values())


def _clipped_fields(item: RawObject, facts: Facts) -> tuple[Any, ...]:
    """The fields of an object, with its box clipped."""
    box = np.array([item.box])
    if facts.size is not None:
        pixels = to_pixels(box, facts.coordinates)
        inside = boxes.clip(pixels, *facts.size)
        if np.abs(inside - pixels).max() <= MOST_BEYOND and (inside[0, 2:] - inside[0, :2]).min() >= SMALLEST_SIDE:
            box = inside + (box - pixels)
    return item.label, tuple(box[0].tolist()), item.flags, item.pose, item.rare
