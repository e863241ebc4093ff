"""What a dataset says beyond images and objects, when labels change or datasets become one.

`Dataset.extra` has COCO's `info`, `licenses`, the keys nobody knows, and `categories`: what else was said of a label,
by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec

from vocdet.data.dataset import Dataset
from vocdet.data.texts import Texts
from vocdet.formats.source import Coordinates

_Extra = dict[str, msgspec.Raw]

_DECODE = msgspec.json.Decoder(_Extra).decode
_SAME_NUMBERS = "voc"  # what the numbers of VOC files were: nothing, unless it is so of all


def relabeled(extra: bytes, becomes: Mapping[str, str]) -> bytes:
    """The extra of a dataset whose labels are called what they become; "" was dropped, others stay.

    Of labels that become one, the first of which something is said keeps its say.
    """
    keys = _DECODE(extra) if extra else {}
    if "categories" not in keys:
        return extra
    said: _Extra = {}
    for label, raw in _DECODE(keys["categories"]).items():
        new = becomes.get(label, label)
        if new:
            said.setdefault(new, raw)
    return _encoded(keys | {"categories": msgspec.Raw(msgspec.json.encode(said))})


def merged(extras: Sequence[bytes], images: Sequence[Texts]) -> tuple[bytes, list[Texts], tuple[str, ...]]:
    """The extra of several datasets as one, the extras of their images, and the keys of which only the first is kept.

    Licences are numbered anew where two datasets gave different ones the same id, in the images too.
    """
    every = [_DECODE(extra) if extra else {} for extra in extras]
    whole: _Extra = {}
    differ: dict[str, None] = {}
    for keys in every:
        for name, raw in keys.items():
            if name == "categories" or (name == "licenses" and _listed(raw)):
                continue
            if name not in whole:
                whole[name] = raw
            elif bytes(whole[name]) != bytes(raw):
                differ[name] = None
    if any(keys.get(_SAME_NUMBERS) != whole.get(_SAME_NUMBERS) for keys in every):
        whole.pop(_SAME_NUMBERS, None)
        differ.pop(_SAME_NUMBERS, None)
    categories: _Extra = {}
    for keys in every:
        for label, raw in _DECODE(keys["categories"]).items() if "categories" in keys else ():
            if bytes(categories.setdefault(label, raw)) != bytes(raw):
                differ[f"category {label}"] = None
    if categories:
        whole["categories"] = msgspec.Raw(msgspec.json.encode(categories))
    licences, new_ids = _licences([_listed(keys.get("licenses", msgspec.Raw(b"[]"))) for keys in every])
    if licences and "licenses" not in whole:
        whole["licenses"] = msgspec.Raw(msgspec.json.encode(licences))
    moved = [_renumbered(texts, ids) for texts, ids in zip(images, new_ids, strict=True)]
    return _encoded(whole), moved, tuple(differ)


def _listed(raw: msgspec.Raw) -> list[object]:
    found = msgspec.json.decode(raw)
    return found if isinstance(found, list) else []


def _licences(lists: Sequence[Sequence[object]]) -> tuple[list[object], list[dict[int, int]]]:
    """All licences, each once, with ids of their own; and of every dataset the ids that have changed."""
    every: list[object] = []
    ids: dict[bytes, int] = {}  # what is said of a licence but for its id -> its id
    taken: set[int] = set()
    changed: list[dict[int, int]] = []
    for found in lists:
        new: dict[int, int] = {}
        for licence in found:
            old = licence.get("id") if isinstance(licence, dict) else None
            if not isinstance(licence, dict) or not isinstance(old, int):
                every += [licence] if licence not in every else []
                continue
            said = msgspec.json.encode({key: licence[key] for key in sorted(licence) if key != "id"})
            if said not in ids:
                ids[said] = old if old not in taken else max(taken) + 1
                taken.add(ids[said])
                every.append(licence | {"id": ids[said]})
            if ids[said] != old:
                new[old] = ids[said]
        changed.append(new)
    return every, changed


def _renumbered(texts: Texts, new_ids: Mapping[int, int]) -> Texts:
    if not new_ids:
        return texts
    found = {}
    for row, text in texts.items():
        keys = _DECODE(text)
        licence = msgspec.json.decode(keys["license"]) if "license" in keys else None
        if isinstance(licence, int) and licence in new_ids:
            text = _encoded(keys | {"license": msgspec.Raw(str(new_ids[licence]).encode())})
        found[row] = text
    return Texts.sparse(len(texts), found)


def _encoded(extra: _Extra) -> bytes:
    return msgspec.json.encode(extra) if extra else b""


# The keys of a COCO file that are preserved, in order: of its images, annotations, categories, and of the whole.
IMAGE_EXTRAS = ("license", "flickr_url", "coco_url", "date_captured", "voc")
OBJECT_EXTRAS = ("attributes", "parts", "voc", "keypoints", "num_keypoints", "score")
LABEL_EXTRAS = ("supercategory", "keypoints", "skeleton")
KEPT_OF_WHOLE = ("info", "licenses", "type", "voc")


def in_order(extra: dict[str, Any], first: tuple[str, ...]) -> dict[str, Any]:
    """The keys of an extra, those of `first` before the others: files that say the same are written the same."""
    if len(extra) < 2:
        return extra
    return {name: extra[name] for name in first if name in extra} | extra


Extra = dict[str, msgspec.Raw]  # a JSON object whose values nobody has looked at


_EXTRA = msgspec.json.Decoder(Extra)


def extra_of(text: bytes) -> Extra:
    """The keys of an extra; none where it is empty."""
    return _EXTRA.decode(text) if text else {}


def label_extras(extra: Extra) -> dict[str, Extra]:
    """What the extra of a dataset says of its labels, by their names; nothing where that is not said in this way."""
    with suppress(msgspec.DecodeError, RecursionError):
        found = msgspec.json.decode(extra.get("categories", b"{}"), type=dict[str, Extra])
        own = ((label, {key: raw for key, raw in said.items() if key not in ("id", "name")})
               for label, said in found.items())  # fmt: skip
        return {label: in_order(said, LABEL_EXTRAS) for label, said in own if said}
    return {}


class _Whole(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What vocdet writes of VOC files as a whole into the COCO file it makes of them, as the key voc."""

    coordinates: Literal["zero", "one"] = "zero"
    trainval: bool = False


def whole_json(coordinates: Coordinates, *, trainval: bool = False) -> msgspec.Raw:
    """What a COCO file says of the VOC files it was made of: their numbers, and whether there was a trainval."""
    return msgspec.Raw(msgspec.json.encode(_Whole(coordinates, trainval)))


def pop_trainval(extra: Extra) -> bool:
    """Whether `whole_json` has said that there was a trainval; what it said of that is taken out of an extra."""
    said = _whole_of(extra)
    if said is not None and "voc" in extra:
        del extra["voc"]
        if said.coordinates == "one":
            extra["voc"] = whole_json("one")
    return said is not None and said.trainval


def coordinates_of(dataset: Dataset) -> Coordinates:
    """What the numbers of the VOC files were that a dataset came from, also by way of COCO."""
    said = _whole_of(extra_of(dataset.extra))
    return said.coordinates if said is not None else "zero"


def _whole_of(extra: Extra) -> _Whole | None:
    """What `whole_json` has said; None where somebody else has said something."""
    try:
        return msgspec.json.decode(extra.get("voc", b"{}"), type=_Whole)
    except (msgspec.DecodeError, RecursionError):
        return None
