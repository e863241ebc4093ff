"""The entries of one COCO file, typed: in one pass where all is as it should be, with a closer look where it is not.

Three readings, each slower than the one before: into closed types, which are left at the first key or type that is not
expected; into open types, with unknown keys gathered apart; and one by one (`coco_odd`), where every entry that cannot
be used becomes a finding. Polygons and RLEs stay JSON.

Of a key that stands twice in an object JSON's readers keep the last in silence. Every key has one colon, so those that
were read must be as many as there are colons in the file but for those in texts.
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

from vocdet.errors import AnnotationError, Place
from vocdet.formats.coco.salvage import one_by_one
from vocdet.formats.coco.types import KEPT, LISTS, NONE, READ, Annotation, Category, Entries, Image, Kind
from vocdet.formats.extras import DATASET_EXTRAS, in_order
from vocdet.formats.scan import Notes
from vocdet.wording import reason

LARGEST_FILE = 4 * 2**30  # bytes; COCO's own largest has 0.45 GB
_CHUNK = 1 << 20  # bytes that are looked through together
_VALUES = 10_000  # values that are
_COLON = b"\\u003"  # in a text; with an a behind it, it is one, and makes up for one that is missing


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
    info: Raw = NONE
    licenses: Raw = NONE
    type: Raw = NONE
    voc: Raw = NONE


class _OpenWhole(msgspec.Struct):
    images: list[_OpenImage]
    annotations: list[_OpenAnnotation]
    categories: list[_OpenCategory]


class _Keys(msgspec.Struct):
    images: list[dict[str, Raw]]
    annotations: list[dict[str, Raw]]
    categories: list[dict[str, Raw]]


def read_entries(path: Path, notes: Notes) -> Entries:
    """The entries of a file; those that cannot be used are left out and noted. A file that is no COCO raises."""
    data = _content(path)
    entries = _closed(data) or _open(data) or one_by_one(path, data, notes)
    if entries.extra.get("info") == Raw(b"{}"):
        del entries.extra["info"]  # it says nothing: vocdet writes it where there is none
    return entries


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise AnnotationError(f"is larger than {LARGEST_FILE >> 30} GB", place=path, hint="is it a COCO file?")
        data = path.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise AnnotationError(problem, place=path, hint="see whether you may read it") from error
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
    """The line of the first bytes that are not UTF-8, which msgspec does not see in what it leaves raw; 0 for none."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for first in range(0, len(data), _CHUNK):
        try:
            decoder.decode(data[first : first + _CHUNK], final=first + _CHUNK >= len(data))
        except UnicodeDecodeError:
            return data.count(b"\n", 0, first) + 1
    return 0


def _closed(data: bytes) -> Entries | None:
    """The entries of a file in which all keys are known; None where one is not, or is there twice."""
    try:
        whole = msgspec.json.decode(data, type=_Whole)
    except (msgspec.DecodeError, RecursionError):
        return None
    entries = Entries(whole.images, whole.annotations, whole.categories)
    entries.extra = {name: raw for name in DATASET_EXTRAS if (raw := getattr(whole, name)) is not NONE}
    kept = [_kept(kind, getattr(entries, name)) for kind, name in zip(KEPT, LISTS, strict=True)]
    raws = list(chain(entries.extra.values(), *(extra.values() for extras in kept for extra in extras.values())))
    keys = len(LISTS) + len(entries.extra) + sum(len(extra) for extras in kept for extra in extras.values())
    keys += sum(len(entries.column(name)) - entries.column(name).count(_LACKS.get(name)) for name in READ[Annotation])
    keys += sum(len(column) - column.count(None) for column in _sides(whole.images)) + 2 * len(whole.images)
    keys += 2 * len(whole.categories)
    texts = [image.file_name for image in whole.images]
    texts += [category.name for category in whole.categories]
    texts += filter(None, entries.column("pose"))
    inside = entries.segmentations().count(b":")
    if _any_twice(data, keys + inside, texts, raws, entries.segmentations()):
        return None
    image_extras, annotation_extras, entries.category_extras = kept
    entries.image_extras = _as_json(image_extras)
    entries.annotation_extras = _as_json(annotation_extras)
    return entries


_LACKS = {"segmentation": NONE}  # what stands in a column where the key is not there; None in all others


def _sides(images: Sequence[Image]) -> list[list[int | None]]:
    return [list(map(attrgetter(side), images)) for side in ("width", "height")]


def _kept(kind: Kind, entries: Sequence[Any]) -> dict[int, dict[str, Raw]]:
    """By entry the keys that are only kept."""
    extras: dict[int, dict[str, Raw]] = {}
    for name in KEPT[kind]:
        column = list(map(attrgetter(name), entries))
        if column.count(NONE) < len(column):
            for i, raw in enumerate(column):
                if raw is not NONE:
                    extras.setdefault(i, {})[name] = raw
    return dict(sorted(extras.items()))


def _as_json(extras: dict[int, dict[str, Raw]]) -> dict[int, bytes]:
    encode = msgspec.json.Encoder().encode
    return {i: encode(extra) for i, extra in extras.items()}


def _open(data: bytes) -> Entries | None:
    """The entries of a file with keys that are not known; None where a known one is not as it should be, or twice."""
    try:
        whole = msgspec.json.decode(data, type=_OpenWhole)
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
    for kind, listed in zip(KEPT, (keys.images, keys.annotations, keys.categories), strict=True):
        extras: dict[int, dict[str, Raw]] = {}
        for i, one in enumerate(listed):
            texts.update(one)
            kept = {name: raw for name, raw in one.items() if name not in READ[kind]}
            if kept:
                extras[i] = in_order(kept, KEPT[kind])
                raws += kept.values()
            if kind is Annotation and "segmentation" in one:  # elsewhere it is one of the keys that are only kept
                segmentations.append(one["segmentation"])
        read = (raw for one in listed for name, raw in one.items() if name in READ[kind])
        colons += sum(map(len, listed)) + b"".join(read).count(b":")
        found.append(extras)
    if _any_twice(data, colons, texts, raws, b"".join(segmentations)):
        return None
    return Entries(list(whole.images), list(whole.annotations), list(whole.categories),
                   _as_json(found[0]), _as_json(found[1]), found[2], extra)  # fmt: skip


def _any_twice(data: bytes, colons: int, texts: Iterable[str], raws: Sequence[Raw], segmentations: bytes) -> bool:
    """Whether a key stands twice in an object of a file, or it looks like it.

    `colons` are those of the keys that were read and of values that are JSON; those of `texts`, which were read, and
    of `raws`, which are kept, come to them. `segmentations` stand one after the other.
    """
    in_texts = "".join(texts).count(":")
    if in_texts and _COLON in data:
        return True
    if data.count(b":") != colons + in_texts + b",".join(raws).count(b":"):
        return True
    return _twice_inside(raws) or _twice_inside(_objects_in(segmentations))


def _objects_in(text: bytes) -> Iterable[bytes]:
    """The objects in JSON values, RLEs mostly, as far as there are none in them."""
    first = text.find(b"{")
    while first >= 0:
        end = text.find(b"}", first) + 1 or len(text)
        yield text[first:end]
        first = text.find(b"{", end)


_HUGE = re.compile(rb"[eE]\+?\d{3}|\d{309}")  # numbers that may be larger than any


def _twice_inside(raws: Iterable[Raw | bytes]) -> bool:
    """Whether reading these values as JSON and writing them again loses a key, or cannot be done."""
    waiting = iter(raws)
    while chunk := list(islice(waiting, _VALUES)):
        text = b"[" + b",".join(chunk) + b"]"
        if b"{" in text or _HUGE.search(text):
            try:
                again = msgspec.json.encode(msgspec.json.decode(text))
            except (msgspec.MsgspecError, RecursionError, OverflowError):
                return True
            if again.count(b":") != text.count(b":") or _COLON in text:
                return True
    return False
