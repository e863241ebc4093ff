"""The entries of a COCO file in which something is wrong, one by one: what cannot be used becomes a finding."""

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
from vocdet.formats.coco.types import HINT, KEPT, LISTS, MOST, NONE, READ, Annotation, Category, Entries, Image
from vocdet.formats.extras import in_order
from vocdet.formats.scan import Notes
from vocdet.wording import counted

_MOST_NUMBER = 1e300  # of either sign; sums and products of a few still are numbers


def one_by_one(path: Path, data: bytes, notes: Notes) -> Entries:
    """The entries of a file that can be used; all others are noted. A file that is no COCO raises."""
    whole = _any_json(path, data, notes)
    if not isinstance(whole, dict):
        results = "a list is what results look like: give the file with the annotations"
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
            look = _Look(path, f"{name}[{i}]", notes, numbers)
            one: Any = read(value, look) if isinstance(value, dict) else None
            if one is not None:
                kept = look.raws(value, READ[type(one)])
                if kept:
                    extras[name][len(getattr(entries, name))] = in_order(kept, KEPT[type(one)])
                getattr(entries, name).append(one)
                entries.places.setdefault(name, []).append(i)
            elif not isinstance(value, dict):
                look.wrong("", f"is {short(value)}, not an object")
    for name in ("images", "annotations"):
        as_json = {i: msgspec.json.encode(extra) for i, extra in extras.get(name, {}).items()}
        setattr(entries, f"{name[:-1]}_extras", as_json)
    entries.category_extras = extras.get("categories", {})
    entries.extra = _Look(path, "", notes, numbers).raws(whole, LISTS)
    return entries


def _any_json(path: Path, data: bytes, notes: Notes) -> object:
    """What a file says, with every key that stands twice in an object noted."""
    twice: dict[str, list[dict[str, Any]]] = {}

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            for key, count in Counter(key for key, _ in found).items():
                if count > 1:
                    twice.setdefault(key, []).append(made)
        return made

    try:
        whole: object = json.loads(data, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.lower()}, at character {error.colno} of the line"
        problem = problem if data.strip() else "is empty"
        raise AnnotationError(problem, place=Place(path, line=error.lineno), hint="export it again") from error
    except RecursionError as error:
        raise AnnotationError("is not JSON: it is nested too deep", place=path, hint="export it again") from error
    except ValueError as error:  # an int of too many digits
        raise AnnotationError(f"is not JSON: {error}", place=path, hint="export it again") from error
    for key, objects in twice.items():
        problem = f"the key {key[:40]!r} stands twice"
        if len(objects) > 1:
            problem += f", and in {counted(len(objects) - 1, 'more object')}"
        hint = "of two values only the last can be read: delete one of them"
        notes.add("json.duplicate_key", "error", problem, path, hint, inside=_place_of(objects[0], whole))
    return whole


def _place_of(wanted: dict[str, Any], whole: object) -> str:
    """Where in a file an object stands, as in annotations[3]; "" at its top."""
    waiting: list[tuple[str, object]] = [("", whole)]
    while waiting:
        place, value = waiting.pop()
        if value is wanted:
            return place
        waiting += _inner(place, value)
    return ""


def _inner(place: str, value: object) -> Iterator[tuple[str, object]]:
    """The lists and objects in a value, with where they stand."""
    if isinstance(value, dict):
        keys = ((_whole_text(key[:40]), item) for key, item in value.items())
        named = ((f"{place}.{key}" if place else key, item) for key, item in keys)
    else:
        named = ((f"{place}[{i}]", item) for i, item in enumerate(value if isinstance(value, list) else ()))
    return ((inside, item) for inside, item in named if isinstance(item, dict | list))


@dataclass(slots=True)
class _Look:
    """A look at one entry: where it is, and what is noted of it."""

    path: Path
    inside: str
    notes: Notes
    numbers: dict[object, int]  # ids that are no small whole numbers -> what stands for them

    def _where(self, name: str) -> str:
        return ".".join(filter(None, (self.inside, name)))

    def wrong(self, name: str, problem: str, code: str = "coco.type") -> None:
        self.notes.add(code, "error", problem, self.path, "correct it, or delete the entry", inside=self._where(name))

    def odd(self, name: str, problem: str, code: str) -> None:
        self.notes.add(code, "warning", problem, self.path, "", inside=self._where(name))

    def identity(self, entry: dict[str, Any], name: str, space: str) -> int | None:
        """An id; one that is a text, or a number nobody can count to, gets a number of its own."""
        value = entry.get(name)
        if isinstance(value, float) and abs(value) < MOST and value == int(value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST:
            return value
        if not isinstance(value, str | int) or isinstance(value, bool):
            self.wrong(name, f"is {short(value)}, not a whole number" if name in entry else "is missing", "coco.id")
            return None
        self.odd(name, f"is {short(value)}, not a whole number: read as a name", "coco.id.type")
        return self.numbers.setdefault((space, value), MOST + len(self.numbers))

    def own_identity(self, entry: dict[str, Any]) -> int:
        """The id of an annotation, which nothing else needs; −1 where it has none."""
        value = entry.get("id", -1)
        if type(value) is int and abs(value) < MOST:
            return value
        self.odd("id", f"is {short(value)}, not a whole number: not used", "coco.id.type")
        return -1

    def side(self, entry: dict[str, Any], name: str) -> int | None:
        """A width or height in pixels; None where it is none."""
        value: Any = entry.get(name)
        if _is_number(value) and 1 <= value < 2**31 and value == int(value):
            return int(value)
        if value is not None:
            self.odd(name, f"is {short(value)}: not used", f"coco.{name}")
        return None

    def area(self, entry: dict[str, Any]) -> float | None:
        value: Any = entry.get("area")
        if _is_number(value):
            return float(value)
        if value is not None:
            self.odd("area", f"is {short(value)}: not used", "coco.area")
        return None

    def flag(self, entry: dict[str, Any], name: str) -> int | None:
        value = entry.get(name)
        if value is None or (type(value) is int and value in (0, 1)):
            return value
        if value in (True, False, "0", "1", 0.0, 1.0):
            meant = int(value)
            self.odd(name, f"is {short(value)}, not 0 or 1: taken as {meant}", f"coco.{name}.type")
            return meant
        meant = int(_is_number(value) and value != 0)
        self.wrong(name, f"is {short(value)}, not 0 or 1: taken as {meant}", f"coco.{name}.type")
        return meant

    def corners(self, entry: dict[str, Any]) -> tuple[float, float, float, float] | None:
        """The box that vocdet writes beside one that is not exact."""
        value = _four(entry.get("box"))
        if value is None and entry.get("box") is not None:
            self.odd("box", f"is {short(entry['box'])}, not the corners of bbox: not used", "coco.box")
        return value

    def pose(self, entry: dict[str, Any]) -> str | None:
        value = entry.get("pose")
        if value is None or (isinstance(value, str) and _is_text(value)):
            return value
        self.odd("pose", f"is {short(value)}, not a text: not used", "coco.pose")
        return None

    def raws(self, entry: dict[str, Any], but: Sequence[str]) -> dict[str, Raw]:
        """The values of all keys but these, as JSON again."""
        return {_whole_text(key): self.raw(key, value) for key, value in entry.items() if key not in but}

    def raw(self, name: str, value: object) -> Raw:
        """A value as JSON again. A number that is not finite becomes null, half a character U+FFFD; both are noted."""
        try:
            return Raw(_json(value))
        except (ValueError, RecursionError):
            self.odd(_whole_text(name), f"is {short(value)}, with something in it that JSON cannot say", "coco.value")
        try:
            return Raw(_json(_mended(value)))
        except RecursionError:
            return Raw(b"null")


def _image(entry: dict[str, Any], look: _Look) -> Image | None:
    name = entry.get("file_name")
    identity = look.identity(entry, "id", "image")
    if not isinstance(name, str) or not name.strip():
        problem = f"is {short(name)}, not a name" if "file_name" in entry else "is missing"
        look.wrong("file_name", problem, "coco.image.file_name")
        return None
    width, height = look.side(entry, "width"), look.side(entry, "height")
    return None if identity is None else Image(identity, name, width, height)


def _category(entry: dict[str, Any], look: _Look) -> Category | None:
    name = entry.get("name")
    identity = look.identity(entry, "id", "category")
    if not isinstance(name, str) or not name.strip() or not _is_text(name):
        problem = f"is {short(name)}, not a name" if "name" in entry else "is missing"
        look.wrong("name", problem, "coco.category.name")
        return None
    return None if identity is None else Category(identity, name)


def _annotation(entry: dict[str, Any], look: _Look) -> Annotation | None:
    image, category = look.identity(entry, "image_id", "image"), look.identity(entry, "category_id", "category")
    box = _four(entry.get("bbox"))
    if box is None:
        problem = f"is {short(entry['bbox'])}, not four numbers" if "bbox" in entry else "is missing"
        look.wrong("bbox", problem, "coco.bbox.type")
    if box is None or image is None or category is None:
        return None
    segmentation = entry.get("segmentation")
    return Annotation(
        look.own_identity(entry), image, category, box,
        area=look.area(entry),
        iscrowd=look.flag(entry, "iscrowd"),
        segmentation=NONE if segmentation is None else look.raw("segmentation", segmentation),
        difficult=look.flag(entry, "difficult"),
        truncated=look.flag(entry, "truncated"),
        occluded=look.flag(entry, "occluded"),
        box=look.corners(entry),
        pose=look.pose(entry),
    )  # fmt: skip


_READERS = {"images": _image, "annotations": _annotation, "categories": _category}


def _four(value: object) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        return None
    first, second, third, fourth = map(float, value)
    return first, second, third, fourth


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST_NUMBER


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _mended(value: object) -> object:
    if isinstance(value, dict):
        return {_whole_text(key): _mended(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _whole_text(value) if isinstance(value, str) else value


_HALF = re.compile("[\ud800-\udfff]")  # what the escape \\ud800 makes where no other half follows


def _whole_text(value: str) -> str:
    return value if value.isascii() else _HALF.sub("\ufffd", value)


def _is_text(value: str) -> bool:
    return not _HALF.search(value)


def short(value: object) -> str:
    """A value from a file, cut where it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, list) and len(value) <= 6 and not any(isinstance(item, dict | list) for item in value):
        text = f"[{', '.join(map(repr, value))}]"
    elif isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    else:
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
