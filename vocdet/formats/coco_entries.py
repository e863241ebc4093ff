"""The entries of one COCO file, typed: in one pass where all is as it should be, with a closer look where it is not.

Three readings, each slower than the one before: into closed types, which are left at the first key or type that is not
expected; into open types, with unknown keys gathered apart; and one by one, where every entry that cannot be used
becomes a finding. Polygons and RLEs stay JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from vocdet.errors import AnnotationError, Place
from vocdet.formats.scan import Notes

LARGEST_FILE = 4 * 2**30  # bytes; COCO's own largest has 0.45 GB

_NONE = Raw(b"")
_HINT = "a COCO file is one JSON object with the lists images, annotations and categories"
_LISTS = ("images", "annotations", "categories")
_MOST = 1 << 53  # ids and sizes above are no whole numbers to other programs


class Image(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of `images`; the keys after the first four are only kept."""

    id: int
    file_name: str
    width: int | None = None
    height: int | None = None
    license: Raw = _NONE
    flickr_url: Raw = _NONE
    coco_url: Raw = _NONE
    date_captured: Raw = _NONE
    voc: Raw = _NONE


class Annotation(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of `annotations`; the keys after `pose` are only kept."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]  # x, y, width, height
    area: float | None = None
    iscrowd: int | None = None
    segmentation: Raw = _NONE
    difficult: int | None = None
    truncated: int | None = None
    occluded: int | None = None
    box: tuple[float, float, float, float] | None = None  # corners, where bbox cannot say them exactly
    pose: str | None = None
    attributes: Raw = _NONE
    parts: Raw = _NONE
    voc: Raw = _NONE
    keypoints: Raw = _NONE
    num_keypoints: Raw = _NONE
    score: Raw = _NONE


class Category(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of `categories`; the keys after `name` are only kept."""

    id: int
    name: str
    supercategory: Raw = _NONE
    keypoints: Raw = _NONE
    skeleton: Raw = _NONE


class _OpenImage(Image, forbid_unknown_fields=False):
    pass


class _OpenAnnotation(Annotation, forbid_unknown_fields=False):
    pass


class _OpenCategory(Category, forbid_unknown_fields=False):
    pass


class _Whole(msgspec.Struct, forbid_unknown_fields=True):
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]
    info: Raw = _NONE
    licenses: Raw = _NONE
    type: Raw = _NONE
    voc: Raw = _NONE


class _OpenWhole(msgspec.Struct):
    images: list[_OpenImage]
    annotations: list[_OpenAnnotation]
    categories: list[_OpenCategory]


class _Keys(msgspec.Struct):
    images: list[dict[str, Raw]]
    annotations: list[dict[str, Raw]]
    categories: list[dict[str, Raw]]


# What is kept of each kind of entry as it is, and what is read.
_READ = {
    Image: ("id", "file_name", "width", "height"),
    Annotation: ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "difficult", "truncated",
                 "occluded", "box", "pose"),
    Category: ("id", "name"),
}  # fmt: skip
_KEPT = {kind: tuple(name for name in kind.__struct_fields__ if name not in read) for kind, read in _READ.items()}


@dataclass(slots=True)
class Entries:
    """What a file lists. Extras are JSON objects of the keys that are only kept, by entry; entries without any lack."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]
    image_extras: dict[int, bytes] = field(default_factory=dict)
    annotation_extras: dict[int, bytes] = field(default_factory=dict)
    category_extras: dict[int, dict[str, Raw]] = field(default_factory=dict)
    extra: dict[str, Raw] = field(default_factory=dict)  # other keys of the whole
    places: dict[str, list[int]] = field(default_factory=dict)  # list -> index in the file, where some were left out
    _columns: dict[str, list[Any]] = field(default_factory=dict)
    _segmentations: bytes | None = None

    def column(self, name: str) -> list[Any]:
        """A field of all annotations."""
        if name not in self._columns:
            self._columns[name] = list(map(attrgetter(name), self.annotations))
        return self._columns[name]

    def segmentations(self) -> bytes:
        """The segmentations of all annotations, one after the other."""
        if self._segmentations is None:
            self._segmentations = b"".join(self.column("segmentation"))
        return self._segmentations


def read_entries(path: Path, notes: Notes) -> Entries:
    """The entries of a file; those that cannot be used are left out and noted. A file that is no COCO raises."""
    data = _content(path)
    try:
        whole = msgspec.json.decode(data, type=_Whole)
    except (msgspec.DecodeError, RecursionError):
        return _open(path, data, notes)
    entries = _kept(whole, data)
    return entries if entries is not None else _one_by_one(path, data, notes)


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise AnnotationError(f"is larger than {LARGEST_FILE >> 30} GB", place=path, hint="is it a COCO file?")
        data = path.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise AnnotationError(problem, place=path, hint="see whether you may read it") from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
        try:
            data = data.decode(json.detect_encoding(data)).encode()
        except UnicodeDecodeError as error:
            raise AnnotationError("is not UTF-8 text", place=path, hint="save it as UTF-8") from error
    return data


def _kept(whole: _Whole, data: bytes) -> Entries | None:
    """The entries with what is only kept set apart; None where a key seems to stand twice in an entry."""
    entries = Entries(whole.images, whole.annotations, whole.categories)
    entries.extra = {name: raw for name in ("info", "licenses", "type", "voc") if (raw := getattr(whole, name))}
    keys = 3 + len(entries.extra) + _tokens(entries.extra.values())
    _drop_empty(entries)
    image_extras, count = _extras({name: list(map(attrgetter(name), whole.images)) for name in _KEPT[Image]})
    keys += count + 2 * len(whole.images)
    keys += sum(
        len(column) - column.count(None) for side in _SIDES for column in [list(map(attrgetter(side), whole.images))]
    )
    annotation_extras, count = _extras({name: entries.column(name) for name in _KEPT[Annotation]})
    keys += count + 4 * len(whole.annotations)
    for name in _READ[Annotation][4:]:
        column = entries.column(name)
        keys += len(column) - column.count(_NONE if name == "segmentation" else None)
    keys += entries.segmentations().count(b'":')
    category_extras, count = _extras({name: list(map(attrgetter(name), whole.categories)) for name in _KEPT[Category]})
    keys += count + 2 * len(whole.categories)
    entries.image_extras = {i: msgspec.json.encode(extra) for i, extra in image_extras.items()}
    entries.annotation_extras = {i: msgspec.json.encode(extra) for i, extra in annotation_extras.items()}
    entries.category_extras = category_extras
    # Of a key that stands twice JSON's readers keep the last in silence: the keys that are there must be those read.
    return entries if data.count(b'":') == keys else None


def _drop_empty(entries: Entries) -> None:
    """An empty info says nothing; it is written where there is none."""
    if entries.extra.get("info") == Raw(b"{}"):
        del entries.extra["info"]


def _extras(columns: dict[str, list[Raw]]) -> tuple[dict[int, dict[str, Raw]], int]:
    """By entry the keys that are only kept; and how many keys these are, with those inside them."""
    extras: dict[int, dict[str, Raw]] = {}
    count = 0
    for name, column in columns.items():
        if column.count(_NONE) == len(column):
            continue
        kept = [(i, raw) for i, raw in enumerate(column) if raw is not _NONE]
        count += len(kept) + _tokens(raw for _, raw in kept)
        for i, raw in kept:
            extras.setdefault(i, {})[name] = raw
    return dict(sorted(extras.items())), count


def _tokens(raws: Iterable[Raw]) -> int:
    """How many keys there are inside these values."""
    return b"\n".join(raws).count(b'":')


def _open(path: Path, data: bytes, notes: Notes) -> Entries:
    """As `read_entries`, of a file with keys that are not known."""
    try:
        whole = msgspec.json.decode(data, type=_OpenWhole)
        keys = msgspec.json.decode(data, type=_Keys)
        top = msgspec.json.decode(data, type=dict[str, Raw])
    except (msgspec.DecodeError, RecursionError):
        return _one_by_one(path, data, notes)
    total = len(top) + _tokens(raw for name, raw in top.items() if name not in _LISTS)
    found: list[dict[int, Any]] = []
    for kind, listed in ((Image, keys.images), (Annotation, keys.annotations), (Category, keys.categories)):
        read = _READ[kind]
        extras = {
            i: extra for i, one in enumerate(listed) if (extra := {k: v for k, v in one.items() if k not in read})
        }
        total += sum(map(len, listed)) + _tokens(raw for one in listed for raw in one.values())
        found.append(extras if kind is Category else {i: msgspec.json.encode(extra) for i, extra in extras.items()})
    if data.count(b'":') != total:
        return _one_by_one(path, data, notes)
    extra = {name: raw for name, raw in top.items() if name not in _LISTS}
    return Entries(list(whole.images), list(whole.annotations), list(whole.categories),
                   found[0], found[1], found[2], extra)  # fmt: skip


def _one_by_one(path: Path, data: bytes, notes: Notes) -> Entries:
    """As `read_entries`, of a file in which something is wrong."""
    whole = _any_json(path, data, notes)
    if not isinstance(whole, dict):
        hint = (
            "a list is what results look like: give the file with the annotations" if isinstance(whole, list) else _HINT
        )
        raise AnnotationError("is not a COCO file: it holds no JSON object", place=path, hint=hint)
    if not any(name in whole for name in _LISTS):
        raise AnnotationError("is not a COCO file: it has no images and no annotations", place=path, hint=_HINT)
    lists: dict[str, list[object]] = {}
    for name in _LISTS:
        value = whole.get(name)
        if not isinstance(value, list):
            problem = f"is {_short(value)}, not a list" if name in whole else "is missing"
            notes.add("coco.type", "error", problem, path, _HINT, inside=name)
        lists[name] = value if isinstance(value, list) else []
    numbers: dict[object, int] = {}
    entries = Entries([], [], [])
    for name, read in (("images", _image), ("categories", _category), ("annotations", _annotation)):
        target, extras = getattr(entries, name), dict[int, dict[str, Raw]]()
        for i, value in enumerate(lists[name]):
            look = _Look(path, f"{name}[{i}]", notes, numbers)
            if not isinstance(value, dict):
                look.wrong("", f"is {_short(value)}, not an object")
                continue
            one = read(value, look)
            if one is None:
                continue
            kind = type(one)
            kept = {key: Raw(_encoded(item)) for key, item in value.items() if key not in _READ[kind]}
            if kept:
                extras[len(target)] = kept
            target.append(one)
            entries.places.setdefault(name, []).append(i)
        if name == "categories":
            entries.category_extras = extras
        else:
            setattr(entries, f"{name[:-1]}_extras", {i: msgspec.json.encode(kept) for i, kept in extras.items()})
    entries.extra = {key: Raw(_encoded(item)) for key, item in whole.items() if key not in _LISTS}
    return entries


def _any_json(path: Path, data: bytes, notes: Notes) -> object:
    """What a file says, with every key that stands twice in an object noted."""
    twice: dict[str, int] = {}

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            for key in made:
                if sum(key == other for other, _ in found) > 1:
                    twice[key] = twice.get(key, 0) + 1
        return made

    try:
        whole: object = json.loads(data, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.lower()}" if data.strip() else "is empty"
        raise AnnotationError(problem, place=Place(path, line=error.lineno), hint="export it again") from error
    except (ValueError, RecursionError) as error:  # not UTF-8; nested too deep; an int of too many digits
        raise AnnotationError(f"is not JSON: {error}", place=path, hint="export it again") from error
    for key, count in twice.items():
        problem = f"the key {key[:40]!r} stands twice in {'an object' if count == 1 else f'{count} objects'}"
        hint = "of two values only the last can be read: delete one of them"
        notes.add("json.duplicate_key", "error", problem, path, hint)
    return whole


@dataclass(slots=True)
class _Look:
    """A look at one entry: where it is, and what is noted of it."""

    path: Path
    inside: str
    notes: Notes
    numbers: dict[object, int]  # ids that are no small whole numbers -> what stands for them

    def wrong(self, name: str, problem: str, code: str = "coco.type") -> None:
        where = f"{self.inside}.{name}" if name else self.inside
        self.notes.add(code, "error", problem, self.path, "correct it, or delete the entry", inside=where)

    def odd(self, name: str, problem: str, code: str) -> None:
        self.notes.add(code, "warning", problem, self.path, "", inside=f"{self.inside}.{name}")

    def identity(self, entry: dict[str, Any], name: str, space: str) -> int | None:
        """An id; one that is a text, or a number nobody can count to, gets a number of its own."""
        value = entry.get(name)
        if isinstance(value, float) and value == value and abs(value) < _MOST and value == int(value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST:
            return value
        if not isinstance(value, str | int) or isinstance(value, bool):
            self.wrong(name, f"is {_short(value)}, not a whole number" if name in entry else "is missing", "coco.id")
            return None
        self.odd(name, f"is {_short(value)}, not a whole number: read as a name", "coco.id.type")
        return self.numbers.setdefault((space, value), _MOST + len(self.numbers))

    def number(self, entry: dict[str, Any], name: str, check: Callable[[float], bool]) -> float | None:
        value = entry.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not check(value):
            if value is not None:
                self.odd(name, f"is {_short(value)}: not used", f"coco.{name}")
            return None
        return value

    def flag(self, entry: dict[str, Any], name: str) -> int | None:
        value = entry.get(name)
        if value is None or (type(value) is int and value in (0, 1)):
            return value
        if value in (True, False, "0", "1", 0.0, 1.0):
            meant = int(value)
            self.odd(name, f"is {_short(value)}, not 0 or 1: taken as {meant}", f"coco.{name}.type")
            return meant
        self.wrong(name, f"is {_short(value)}, not 0 or 1: taken as 0", f"coco.{name}.type")
        return 0


def _image(entry: dict[str, Any], look: _Look) -> Image | None:
    name = entry.get("file_name")
    identity = look.identity(entry, "id", "image")
    if not isinstance(name, str) or not name.strip():
        look.wrong("file_name", f"is {_short(name)}, not a name", "coco.image.file_name")
        return None
    sizes = [look.number(entry, side, lambda value: 1 <= value < 2**31 and value == int(value)) for side in _SIDES]
    width, height = (None if size is None else int(size) for size in sizes)
    return None if identity is None else Image(identity, name, width, height)


_SIDES = ("width", "height")


def _category(entry: dict[str, Any], look: _Look) -> Category | None:
    name = entry.get("name")
    identity = look.identity(entry, "id", "category")
    if not isinstance(name, str) or not name.strip():
        problem = f"is {_short(name)}, not a name" if "name" in entry else "is missing"
        look.wrong("name", problem, "coco.category.name")
        return None
    return None if identity is None else Category(identity, name)


def _annotation(entry: dict[str, Any], look: _Look) -> Annotation | None:
    identity = look.identity(entry, "id", "annotation") if "id" in entry else -1
    image, category = look.identity(entry, "image_id", "image"), look.identity(entry, "category_id", "category")
    box = _four(entry.get("bbox"))
    if box is None:
        problem = f"is {_short(entry['bbox'])}, not four numbers" if "bbox" in entry else "is missing"
        look.wrong("bbox", problem, "coco.bbox.type")
        return None
    if identity is None or image is None or category is None:
        return None
    segmentation, pose = entry.get("segmentation"), entry.get("pose")
    return Annotation(
        identity, image, category, box,
        area=look.number(entry, "area", math.isfinite),
        iscrowd=look.flag(entry, "iscrowd"),
        segmentation=_NONE if segmentation is None else Raw(_encoded(segmentation)),
        difficult=look.flag(entry, "difficult"),
        truncated=look.flag(entry, "truncated"),
        occluded=look.flag(entry, "occluded"),
        box=_four(entry.get("box")),
        pose=pose if isinstance(pose, str) else None,
    )  # fmt: skip


def _four(value: object) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        return None
    first, second, third, fourth = map(float, value)
    return first, second, third, fourth


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _encoded(value: object) -> bytes:
    """JSON again; what is no number becomes null, and what cannot be said becomes its text."""
    try:
        return msgspec.json.encode(value)
    except (ValueError, OverflowError, RecursionError):
        return b"null"


def _short(value: object) -> str:
    """A value from a file, cut where it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
