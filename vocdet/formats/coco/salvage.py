"""The usable entries of an invalid COCO file; every other entry becomes a finding."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from vocdet.errors import AnnotationError, Place
from vocdet.formats.coco.types import (
    ABSENT,
    HINT,
    LARGEST_ID,
    LISTS,
    PRESERVED,
    USED,
    Annotation,
    Category,
    Entries,
    Image,
)
from vocdet.formats.extras import in_order
from vocdet.formats.scan import Notes
from vocdet.wording import counted

_LARGEST = 1e300  # of a number; sums and products of a few stay finite


def salvage(path: Path, data: bytes, notes: Notes) -> Entries:
    """The usable entries of a file; the others are findings. Raises if it is not a COCO file."""
    whole = _parse(path, data, notes)
    if not isinstance(whole, dict):
        results = "a list holds results: use the file with the annotations"
        problem = "is not a COCO file: it holds no JSON object"
        raise AnnotationError(problem, place=path, hint=results if isinstance(whole, list) else HINT)
    if not any(name in whole for name in LISTS):
        raise AnnotationError("is not a COCO file: it has no images and no annotations", place=path, hint=HINT)
    entries = Entries([], [], [])
    numbers: dict[object, int] = {}
    extras: dict[str, dict[int, dict[str, Raw]]] = {}
    for name, read in _READERS.items():
        values = whole.get(name)
        if not isinstance(values, list):
            problem = f"is {short(values)}, not a list" if name in whole else "is missing"
            notes.add("coco.type", "error", problem, path, HINT, inside=name)
            continue
        extras[name] = {}
        for i, value in enumerate(values):
            reader = _EntryReader(path, f"{name}[{i}]", notes, numbers)
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
        as_json = {i: msgspec.json.encode(extra) for i, extra in extras.get(name, {}).items()}
        setattr(entries, f"{name[:-1]}_extras", as_json)
    entries.category_extras = extras.get("categories", {})
    entries.extra = _EntryReader(path, "", notes, numbers).raws(whole, LISTS)
    return entries


def _parse(path: Path, data: bytes, notes: Notes) -> object:
    """The JSON value of a file; duplicate keys in an object are findings."""
    duplicates: dict[str, list[dict[str, Any]]] = {}

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(found)
        if len(result) < len(found):
            for key, count in Counter(key for key, _ in found).items():
                if count > 1:
                    duplicates.setdefault(key, []).append(result)
        return result

    try:
        whole: object = json.loads(data, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.lower()}, at character {error.colno} of the line"
        problem = problem if data.strip() else "is empty"
        raise AnnotationError(problem, place=Place(path, line=error.lineno), hint="export it again") from error
    except RecursionError as error:
        raise AnnotationError("is not JSON: it is nested too deeply", place=path, hint="export it again") from error
    except ValueError as error:  # an int of too many digits
        raise AnnotationError(f"is not JSON: {error}", place=path, hint="export it again") from error
    for key, objects in duplicates.items():
        problem = f"the key {key[:40]!r} is duplicate"
        if len(objects) > 1:
            problem += f", and in {counted(len(objects) - 1, 'more object')}"
        hint = "only the last value is read: delete the others"
        notes.add("json.duplicate_key", "error", problem, path, hint, inside=_place_of(objects[0], whole))
    return whole


def _place_of(wanted: dict[str, Any], whole: object) -> str:
    """The place of an object in a file, as in annotations[3]; "" for the whole."""
    waiting: list[tuple[str, object]] = [("", whole)]
    while waiting:
        place, value = waiting.pop()
        if value is wanted:
            return place
        waiting += _inner(place, value)
    return ""


def _inner(place: str, value: object) -> Iterator[tuple[str, object]]:
    """The lists and objects in a value, with their places."""
    if isinstance(value, dict):
        keys = ((_valid_text(key[:40]), item) for key, item in value.items())
        named = ((f"{place}.{key}" if place else key, item) for key, item in keys)
    else:
        named = ((f"{place}[{i}]", item) for i, item in enumerate(value if isinstance(value, list) else ()))
    return ((inside, item) for inside, item in named if isinstance(item, dict | list))


@dataclass(slots=True)
class _EntryReader:
    """Checks the values of one entry; unusable ones are findings."""

    path: Path
    inside: str
    notes: Notes
    numbers: dict[object, int]  # unusual ids -> the numbers that replace them

    def _where(self, name: str) -> str:
        return ".".join(filter(None, (self.inside, name)))

    def error(self, name: str, problem: str, code: str = "coco.type") -> None:
        self.notes.add(code, "error", problem, self.path, "correct it, or delete the entry", inside=self._where(name))

    def warning(self, name: str, problem: str, code: str) -> None:
        self.notes.add(code, "warning", problem, self.path, "", inside=self._where(name))

    def identity(self, entry: dict[str, Any], name: str, space: str) -> int | None:
        """An id; a text or a very large number is replaced by a new number."""
        value = entry.get(name)
        if isinstance(value, float) and abs(value) < LARGEST_ID and value == int(value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_ID:
            return value
        if not isinstance(value, str | int) or isinstance(value, bool):
            self.error(name, f"is {short(value)}, not a whole number" if name in entry else "is missing", "coco.id")
            return None
        self.warning(name, f"is {short(value)}, not a whole number: another number replaces it", "coco.id.type")
        return self.numbers.setdefault((space, value), LARGEST_ID + len(self.numbers))

    def own_identity(self, entry: dict[str, Any]) -> int:
        """The id of an annotation, to which nothing refers; −1 if it is unusable."""
        value = entry.get("id", -1)
        if type(value) is int and abs(value) < LARGEST_ID:
            return value
        self.warning("id", f"is {short(value)}, not a whole number: ignored", "coco.id.type")
        return -1

    def side(self, entry: dict[str, Any], name: str) -> int | None:
        """A width or height in pixels; None if it is invalid."""
        value: Any = entry.get(name)
        if _is_number(value) and 1 <= value < 2**31 and value == int(value):
            return int(value)
        if value is not None:
            self.warning(name, f"is {short(value)}: ignored", f"coco.{name}")
        return None

    def area(self, entry: dict[str, Any]) -> float | None:
        value: Any = entry.get("area")
        if _is_number(value):
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
        meant = int(_is_number(value) and value != 0)
        self.error(name, f"is {short(value)}, not 0 or 1: taken as {meant}", f"coco.{name}.type")
        return meant

    def corners(self, entry: dict[str, Any]) -> tuple[float, float, float, float] | None:
        """The exact corners that vocdet writes beside a rounded bbox."""
        value = _four(entry.get("box"))
        if value is None and entry.get("box") is not None:
            self.warning("box", f"is {short(entry['box'])}, not the corners of bbox: ignored", "coco.box")
        return value

    def pose(self, entry: dict[str, Any]) -> str | None:
        value = entry.get("pose")
        if value is None or (isinstance(value, str) and _is_valid_text(value)):
            return value
        self.warning("pose", f"is {short(value)}, not a text: ignored", "coco.pose")
        return None

    def raws(self, entry: dict[str, Any], used: Sequence[str]) -> dict[str, Raw]:
        """The values of all keys but `used` as JSON."""
        return {_valid_text(key): self.raw(key, value) for key, value in entry.items() if key not in used}

    def raw(self, name: str, value: object) -> Raw:
        """A value as JSON. Non-finite numbers become null, lone surrogates U+FFFD; both with a finding."""
        try:
            return Raw(_json(value))
        except (ValueError, RecursionError):
            self.warning(_valid_text(name), f"is {short(value)}, which JSON cannot represent", "coco.value")
        try:
            return Raw(_json(_representable(value)))
        except RecursionError:
            return Raw(b"null")


def _image(entry: dict[str, Any], reader: _EntryReader) -> Image | None:
    name = entry.get("file_name")
    identity = reader.identity(entry, "id", "image")
    if not isinstance(name, str) or not name.strip():
        problem = f"is {short(name)}, not a name" if "file_name" in entry else "is missing"
        reader.error("file_name", problem, "coco.image.file_name")
        return None
    width, height = reader.side(entry, "width"), reader.side(entry, "height")
    return None if identity is None else Image(identity, name, width, height)


def _category(entry: dict[str, Any], reader: _EntryReader) -> Category | None:
    name = entry.get("name")
    identity = reader.identity(entry, "id", "category")
    if not isinstance(name, str) or not name.strip() or not _is_valid_text(name):
        problem = f"is {short(name)}, not a name" if "name" in entry else "is missing"
        reader.error("name", problem, "coco.category.name")
        return None
    return None if identity is None else Category(identity, name)


def _annotation(entry: dict[str, Any], reader: _EntryReader) -> Annotation | None:
    image, category = reader.identity(entry, "image_id", "image"), reader.identity(entry, "category_id", "category")
    box = _four(entry.get("bbox"))
    if box is None:
        problem = f"is {short(entry['bbox'])}, not four numbers" if "bbox" in entry else "is missing"
        reader.error("bbox", problem, "coco.bbox.type")
    if box is None or image is None or category is None:
        return None
    segmentation = entry.get("segmentation")
    return Annotation(
        reader.own_identity(entry), image, category, box,
        area=reader.area(entry),
        iscrowd=reader.flag(entry, "iscrowd"),
        segmentation=ABSENT if segmentation is None else reader.raw("segmentation", segmentation),
        difficult=reader.flag(entry, "difficult"),
        truncated=reader.flag(entry, "truncated"),
        occluded=reader.flag(entry, "occluded"),
        box=reader.corners(entry),
        pose=reader.pose(entry),
    )  # fmt: skip


_READERS = {"images": _image, "annotations": _annotation, "categories": _category}


def _four(value: object) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        return None
    first, second, third, fourth = map(float, value)
    return first, second, third, fourth


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _representable(value: object) -> object:
    if isinstance(value, dict):
        return {_valid_text(key): _representable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_representable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _valid_text(value) if isinstance(value, str) else value


_SURROGATE = re.compile("[\ud800-\udfff]")  # lone surrogates, as from the escape \\ud800


def _valid_text(value: str) -> str:
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def _is_valid_text(value: str) -> bool:
    return not _SURROGATE.search(value)


def short(value: object) -> str:
    """A value from a file, shortened."""
    if value is None:
        return "null"
    if isinstance(value, list) and len(value) <= 6 and not any(isinstance(item, dict | list) for item in value):
        text = f"[{', '.join(map(repr, value))}]"
    elif isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    else:
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
