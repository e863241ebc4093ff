"""The usable entries of an invalid COCO file; every other entry becomes a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from vocdet.data.findings import Notes
from vocdet.errors import AnnotationError
from vocdet.formats.coco import segmentations
from vocdet.formats.coco.duplicates import parse_json
from vocdet.formats.coco.ids import Ids, as_id, exact
from vocdet.formats.coco.types import (
    ABSENT,
    HINT,
    LISTS,
    PRESERVED,
    USED,
    Annotation,
    Category,
    CocoEntries,
    Image,
)
from vocdet.formats.coco.values import (
    Four,
    as_json,
    four_in_texts,
    four_numbers,
    is_nothing,
    is_number,
    is_valid_text,
    representable,
    short,
    valid_text,
)
from vocdet.formats.shared.extras import in_order

_CORRECT = "correct it, or delete the entry"
_EXACT_NUMBERS = 'other readers need exact whole numbers: `vocdet.convert(source, target, to="coco")` writes them'
_BOXES = '`vocdet.convert(source, target, to="coco")` writes boxes'


def salvage(path: Path, data: bytes, notes: Notes) -> CocoEntries:
    """The usable entries of a file; the others are findings. Raises if it is not a COCO file."""
    whole = parse_json(path, data, notes)
    if not isinstance(whole, dict):
        results = "a list holds results: use the file with the annotations"
        problem = "is not a COCO file: it holds no JSON object"
        raise AnnotationError(problem, place=path, hint=results if isinstance(whole, list) else HINT)
    if not any(name in whole for name in LISTS):
        raise AnnotationError("is not a COCO file: it has no images and no annotations", place=path, hint=HINT)
    entries = CocoEntries([], [], [])
    ids = {name: Ids(entries.texts) for name in ("images", "categories")}
    extras: dict[str, dict[int, dict[str, Raw]]] = {}
    for name, read in _READERS.items():
        values = whole.get(name)
        if not isinstance(values, list):
            problem = f"is {short(values)}, not a list" if name in whole else "is missing"
            notes.add("coco.type", "error", problem, path, HINT, inside=name)
            continue
        extras[name] = {}
        for i, value in enumerate(values):
            reader = _EntryReader(path, f"{name}[{i}]", notes, ids)
            one: Any = read(value, reader) if isinstance(value, dict) else None
            if one is not None:
                kept = reader.raws(value, USED[type(one)])
                if kept:
                    extras[name][len(getattr(entries, name))] = in_order(kept, PRESERVED[type(one)])
                getattr(entries, name).append(one)
                entries.places.setdefault(name, []).append(i)
            elif not isinstance(value, dict):
                reader.error("", f"is {short(value)}, not an object")
    for name in ("images", "annotations"):
        encoded = {i: msgspec.json.encode(extra) for i, extra in extras.get(name, {}).items()}
        setattr(entries, f"{name[:-1]}_extras", encoded)
    entries.category_extras = extras.get("categories", {})
    entries.extra = _EntryReader(path, "", notes, ids).raws(whole, LISTS)
    return entries


@dataclass(slots=True)
class _EntryReader:
    """Checks the values of one entry; unusable ones are findings."""

    path: Path
    inside: str
    notes: Notes
    ids: Mapping[str, Ids]  # those that the lists images and categories define

    def _where(self, name: str) -> str:
        return ".".join(filter(None, (self.inside, name)))

    def error(self, name: str, problem: str, code: str = "coco.type") -> None:
        self.notes.add(code, "error", problem, self.path, _CORRECT, inside=self._where(name))

    def warning(self, name: str, problem: str, code: str, hint: str = "") -> None:
        self.notes.add(code, "warning", problem, self.path, hint, inside=self._where(name))

    def identity(self, entry: dict[str, Any], name: str) -> int | None:
        """The number of the id of an entry."""
        value = self._id_in(entry, "id")
        if value is None:
            return None
        if not exact(value):
            self._note_unusual("id", name, f"is {short(value)}, {_inexact(value)}")
        own_name = entry.get("name" if name == "categories" else "file_name")
        return self.ids[name].define(value, own_name if isinstance(own_name, str) else "")

    def reference(self, entry: dict[str, Any], key: str, name: str) -> int | None:
        """The number of the id in `key`, which refers to an entry of a list."""
        value = self._id_in(entry, key)
        if value is None:
            return None
        number, meaning = self.ids[name].find(value)
        if meaning or not exact(value):
            self._note_unusual(key, name, f"is {short(value)}, {meaning or _inexact(value)}")
        return number

    def _note_unusual(self, key: str, name: str, problem: str) -> None:
        """One finding for all unusual ids in a key, with the first of them."""
        findings, known = self.notes.findings, self.ids[name].findings
        if key in known:
            findings[known[key]] = replace(findings[known[key]], count=findings[known[key]].count + 1)
        else:
            known[key] = len(findings)
            self.warning(key, problem, "coco.id.type", _EXACT_NUMBERS)

    def _id_in(self, entry: dict[str, Any], key: str) -> int | str | None:
        value = as_id(entry.get(key))
        if value is None:
            problem = f"is {short(entry[key])}, not a whole number" if key in entry else "is missing"
            self.error(key, problem, "coco.id")
        return value

    def own_identity(self, entry: dict[str, Any]) -> int:
        """The id of an annotation, to which nothing refers; −1 if it is unusable."""
        value = entry.get("id", -1)
        if type(value) is int and exact(value):
            return value
        number = as_id(value)
        problem = f"is {short(value)}, {'not a whole number' if number is None else _inexact(number)}: ignored"
        self.warning("id", problem, "coco.id.type")
        return -1

    def bbox(self, entry: dict[str, Any], segmentation: Raw) -> Four | None:
        """x, y, width and height; where there is nothing in `bbox`, those of the box around the segmentation."""
        value = entry.get("bbox")
        box = four_numbers(value)
        if box is not None:
            return box
        if (box := four_in_texts(value)) is not None:
            self.warning("bbox", f"is {short(value)}, texts: read as numbers", "coco.bbox.text", "write numbers")
            return box
        said = f"is {short(value)}" if "bbox" in entry else "is missing"
        if is_nothing(value) and (box := segmentations.bounds(bytes(segmentation))):
            problem = f"{said}: the box around the segmentation is used"
            self.warning("bbox", problem, "coco.bbox.derived", _BOXES)
            return box
        self.error("bbox", f"{said}, not four numbers" if "bbox" in entry else said, "coco.bbox.type")
        return None

    def side(self, entry: dict[str, Any], name: str) -> int | None:
        """A width or height in pixels; None if it is invalid."""
        value: Any = entry.get(name)
        if is_number(value) and 1 <= value < 2**31 and value == int(value):
            return int(value)
        if value is not None:
            self.warning(name, f"is {short(value)}: ignored", f"coco.{name}")
        return None

    def area(self, entry: dict[str, Any]) -> float | None:
        value: Any = entry.get("area")
        if is_number(value):
            return float(value)
        if value is not None:
            self.warning("area", f"is {short(value)}: ignored", "coco.area")
        return None

    def flag(self, entry: dict[str, Any], name: str) -> int | None:
        value = entry.get(name)
        if value is None or (type(value) is int and value in (0, 1)):
            return value
        if value in (True, False, "0", "1", 0.0, 1.0):
            meant = int(value)
            self.warning(name, f"is {short(value)}, not 0 or 1: taken as {meant}", f"coco.{name}.type")
            return meant
        meant = int(is_number(value) and value != 0)
        self.error(name, f"is {short(value)}, not 0 or 1: taken as {meant}", f"coco.{name}.type")
        return meant

    def corners(self, entry: dict[str, Any]) -> tuple[float, float, float, float] | None:
        """The exact corners that vocdet writes beside a rounded bbox."""
        value = four_numbers(entry.get("box"))
        if value is None and entry.get("box") is not None:
            self.warning("box", f"is {short(entry['box'])}, not the corners of bbox: ignored", "coco.box")
        return value

    def pose(self, entry: dict[str, Any]) -> str | None:
        value = entry.get("pose")
        if value is None or (isinstance(value, str) and is_valid_text(value)):
            return value
        self.warning("pose", f"is {short(value)}, not a text: ignored", "coco.pose")
        return None

    def raws(self, entry: dict[str, Any], used: Sequence[str]) -> dict[str, Raw]:
        """The values of all keys but `used` as JSON."""
        return {valid_text(key): self.raw(key, value) for key, value in entry.items() if key not in used}

    def raw(self, name: str, value: object) -> Raw:
        """A value as JSON. Non-finite numbers become null, lone surrogates U+FFFD; both with a finding."""
        try:
            return Raw(as_json(value))
        except (ValueError, RecursionError):
            self.warning(valid_text(name), f"is {short(value)}, which JSON cannot represent", "coco.value")
        try:
            return Raw(as_json(representable(value)))
        except RecursionError:
            return Raw(b"null")


def _image_entry(entry: dict[str, Any], reader: _EntryReader) -> Image | None:
    name = entry.get("file_name")
    identity = reader.identity(entry, "images")
    if not isinstance(name, str) or not name.strip():
        problem = f"is {short(name)}, not a name" if "file_name" in entry else "is missing"
        reader.error("file_name", problem, "coco.image.file_name")
        return None
    width, height = reader.side(entry, "width"), reader.side(entry, "height")
    return None if identity is None else Image(identity, name, width, height)


def _category(entry: dict[str, Any], reader: _EntryReader) -> Category | None:
    name = entry.get("name")
    identity = reader.identity(entry, "categories")
    if not isinstance(name, str) or not name.strip() or not is_valid_text(name):
        problem = f"is {short(name)}, not a name" if "name" in entry else "is missing"
        reader.error("name", problem, "coco.category.name")
        return None
    return None if identity is None else Category(identity, name)


def _annotation(entry: dict[str, Any], reader: _EntryReader) -> Annotation | None:
    image = reader.reference(entry, "image_id", "images")
    category = reader.reference(entry, "category_id", "categories")
    value = entry.get("segmentation")
    segmentation = ABSENT if value is None else reader.raw("segmentation", value)
    box = reader.bbox(entry, segmentation)
    if box is None or image is None or category is None:
        return None
    return Annotation(
        reader.own_identity(entry), image, category, box,
        area=reader.area(entry),
        iscrowd=reader.flag(entry, "iscrowd"),
        segmentation=segmentation,
        difficult=reader.flag(entry, "difficult"),
        truncated=reader.flag(entry, "truncated"),
        occluded=reader.flag(entry, "occluded"),
        box=reader.corners(entry),
        pose=reader.pose(entry),
    )  # fmt: skip


def _inexact(value: int | str) -> str:
    return "a text" if isinstance(value, str) else "which readers of JSON round"


# Annotations last: they refer to the others.
_READERS = {"images": _image_entry, "categories": _category, "annotations": _annotation}
