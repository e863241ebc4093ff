"""The entries of one COCO file, typed.

Three parsers, each slower than the one before: into closed types, which fail at the first unexpected key or type; into
open types, which collect unknown keys; and entry by entry (`salvage`), where every unusable entry becomes a finding.
Polygons and RLEs stay JSON.

JSON parsers silently keep the last of duplicate keys. Every key has one colon, so a file without duplicates has as many
colons, outside its strings, as keys were read.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from vocdet.data.findings import Notes
from vocdet.errors import AnnotationError, Place
from vocdet.formats.coco.salvage import salvage
from vocdet.formats.coco.types import (
    ABSENT,
    LISTS,
    PRESERVED,
    USED,
    Annotation,
    Category,
    CocoEntries,
    EntryKind,
    Image,
)
from vocdet.formats.shared.extras import DATASET_EXTRAS, in_order
from vocdet.wording import reason

LARGEST_FILE = 4 * 2**30  # bytes; COCO's own largest has 0.45 GB
_CHUNK = 1 << 20  # bytes that are decoded at a time
_VALUES = 10_000  # that are decoded at a time
_ESCAPED_COLON = b"\\u003"  # the beginning of \\u003a, a colon that the count of b":" misses


class _OpenImage(Image, forbid_unknown_fields=False):
    pass


class _OpenAnnotation(Annotation, forbid_unknown_fields=False):
    pass


class _OpenCategory(Category, forbid_unknown_fields=False):
    pass


class _ClosedFile(msgspec.Struct, forbid_unknown_fields=True):
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]
    info: Raw = ABSENT
    licenses: Raw = ABSENT
    type: Raw = ABSENT
    voc: Raw = ABSENT


class _OpenFile(msgspec.Struct):
    images: list[_OpenImage]
    annotations: list[_OpenAnnotation]
    categories: list[_OpenCategory]


class _Keys(msgspec.Struct):
    images: list[dict[str, Raw]]
    annotations: list[dict[str, Raw]]
    categories: list[dict[str, Raw]]


def read_entries(path: Path, notes: Notes) -> CocoEntries:
    """The entries of a file; unusable ones become findings. Raises if it is not a COCO file."""
    data = _content(path)
    entries = _parse_closed(data) or _parse_open(data) or salvage(path, data, notes)
    if entries.extra.get("info") == Raw(b"{}"):
        del entries.extra["info"]  # vocdet writes an empty info where there is none
    return entries


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise AnnotationError(
                f"is larger than {LARGEST_FILE >> 30} GB", place=path, hint="COCO files are smaller: use another file"
            )
        data = path.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise AnnotationError(problem, place=path, hint="check its permissions") from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
            data = data.decode(json.detect_encoding(data)).encode()
    except UnicodeDecodeError as error:
        raise AnnotationError("is not UTF-8 text", place=path, hint="save it as UTF-8") from error
    line = 0 if data.isascii() else _broken_line(data)
    if line:
        raise AnnotationError("is not UTF-8 text", place=Place(path, line), hint="save it as UTF-8")
    return data


def _broken_line(data: bytes) -> int:
    """The line of the first bytes that are not UTF-8, or 0; msgspec does not check the values that it leaves raw."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for first in range(0, len(data), _CHUNK):
        try:
            decoder.decode(data[first : first + _CHUNK], final=first + _CHUNK >= len(data))
        except UnicodeDecodeError:
            return data.count(b"\n", 0, first) + 1
    return 0


def _parse_closed(data: bytes) -> CocoEntries | None:
    """The entries of a file whose keys are all known; None if one is not, or is duplicate."""
    try:
        whole = msgspec.json.decode(data, type=_ClosedFile)
    except (msgspec.DecodeError, RecursionError):
        return None
    entries = CocoEntries(whole.images, whole.annotations, whole.categories)
    entries.extra = {name: raw for name in DATASET_EXTRAS if (raw := getattr(whole, name)) is not ABSENT}
    preserved = [_preserved(kind, getattr(entries, name)) for kind, name in zip(PRESERVED, LISTS, strict=True)]
    raws = list(chain(entries.extra.values(), *(extra.values() for extras in preserved for extra in extras.values())))
    keys = len(LISTS) + len(entries.extra) + sum(len(extra) for extras in preserved for extra in extras.values())
    keys += sum(
        len(entries.column(name)) - entries.column(name).count(_ABSENT_VALUES.get(name)) for name in USED[Annotation]
    )
    keys += sum(len(column) - column.count(None) for column in _image_sides(whole.images)) + 2 * len(whole.images)
    keys += 2 * len(whole.categories)
    texts = [image.file_name for image in whole.images]
    texts += [category.name for category in whole.categories]
    texts += filter(None, entries.column("pose"))
    inside = entries.segmentations().count(b":")
    if _any_duplicate(data, keys + inside, texts, raws, entries.segmentations()):
        return None
    image_extras, annotation_extras, entries.category_extras = preserved
    entries.image_extras = _as_json(image_extras)
    entries.annotation_extras = _as_json(annotation_extras)
    return entries


_ABSENT_VALUES = {"segmentation": ABSENT}  # of a key in a column; None for all other keys


def _image_sides(images: Sequence[Image]) -> list[list[int | None]]:
    return [list(map(attrgetter(side), images)) for side in ("width", "height")]


def _preserved(kind: EntryKind, entries: Sequence[Any]) -> dict[int, dict[str, Raw]]:
    """The preserved keys of every entry that has any."""
    extras: dict[int, dict[str, Raw]] = {}
    for name in PRESERVED[kind]:
        column = list(map(attrgetter(name), entries))
        if column.count(ABSENT) < len(column):
            for i, raw in enumerate(column):
                if raw is not ABSENT:
                    extras.setdefault(i, {})[name] = raw
    return dict(sorted(extras.items()))


def _as_json(extras: dict[int, dict[str, Raw]]) -> dict[int, bytes]:
    encode = msgspec.json.Encoder().encode
    return {i: encode(extra) for i, extra in extras.items()}


def _parse_open(data: bytes) -> CocoEntries | None:
    """The entries of a file with unknown keys; None if a known key has an unexpected type, or a key is duplicate."""
    try:
        whole = msgspec.json.decode(data, type=_OpenFile)
        keys = msgspec.json.decode(data, type=_Keys)
        top = msgspec.json.decode(data, type=dict[str, Raw])
    except (msgspec.DecodeError, RecursionError):
        return None
    extra = {name: raw for name, raw in top.items() if name not in LISTS}
    raws = list(extra.values())
    colons = len(top)
    texts = set(top)
    segmentations: list[Raw] = []
    found: list[dict[int, dict[str, Raw]]] = []
    for kind, listed in zip(PRESERVED, (keys.images, keys.annotations, keys.categories), strict=True):
        extras: dict[int, dict[str, Raw]] = {}
        for i, one in enumerate(listed):
            texts.update(one)
            kept = {name: raw for name, raw in one.items() if name not in USED[kind]}
            if kept:
                extras[i] = in_order(kept, PRESERVED[kind])
                raws += kept.values()
            if kind is Annotation and "segmentation" in one:  # in other entries it is a preserved key
                segmentations.append(one["segmentation"])
        read = (raw for one in listed for name, raw in one.items() if name in USED[kind])
        colons += sum(map(len, listed)) + b"".join(read).count(b":")
        found.append(extras)
    if _any_duplicate(data, colons, texts, raws, b"".join(segmentations)):
        return None
    return CocoEntries(list(whole.images), list(whole.annotations), list(whole.categories),
                   _as_json(found[0]), _as_json(found[1]), found[2], extra)  # fmt: skip


def _any_duplicate(data: bytes, colons: int, texts: Iterable[str], raws: Sequence[Raw], segmentations: bytes) -> bool:
    """Whether an object in a file has, or may have, a duplicate key.

    `colons` counts those of the keys that were read and of JSON values; those in `texts`, which were read, and in
    `raws`, which are preserved, are added. `segmentations` are concatenated.
    """
    in_texts = "".join(texts).count(":")
    if in_texts and _ESCAPED_COLON in data:
        return True
    if data.count(b":") != colons + in_texts + b",".join(raws).count(b":"):
        return True
    return _duplicate_inside(raws) or _duplicate_inside(_objects_in(segmentations))


def _objects_in(text: bytes) -> Iterable[bytes]:
    """The innermost objects in JSON values, mostly RLEs."""
    first = text.find(b"{")
    while first >= 0:
        end = text.find(b"}", first) + 1 or len(text)
        yield text[first:end]
        first = text.find(b"{", end)


_HUGE = re.compile(rb"[eE]\+?\d{3}|(?<!\d)\d{309}")  # numbers that may be too large for a float


def _duplicate_inside(raws: Iterable[Raw | bytes]) -> bool:
    """Whether decoding and encoding these values loses a key, or fails."""
    waiting = iter(raws)
    while chunk := list(islice(waiting, _VALUES)):
        text = b"[" + b",".join(chunk) + b"]"
        if b"{" in text or _HUGE.search(text):
            try:
                again = msgspec.json.encode(msgspec.json.decode(text))
            except (msgspec.MsgspecError, RecursionError, OverflowError):
                return True
            if again.count(b":") != text.count(b":") or _ESCAPED_COLON in text:
                return True
    return False
