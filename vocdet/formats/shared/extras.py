"""The extras of a dataset: JSON objects of the fields that the columns of a `Dataset` do not hold.

`Dataset.extra` has COCO's `info`, `licenses`, unknown keys, and `categories`: further fields of the labels, by label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec

from vocdet.data.dataset import Dataset
from vocdet.data.texts import Texts
from vocdet.formats.scan import Coordinates

Extra = dict[str, msgspec.Raw]  # a JSON object with undecoded values

# The preserved keys of COCO files in their order: of images, annotations, categories, and at the top level.
IMAGE_EXTRAS = ("license", "flickr_url", "coco_url", "date_captured", "exif", "voc")
OBJECT_EXTRAS = ("attributes", "parts", "voc", "keypoints", "num_keypoints", "score")
LABEL_EXTRAS = ("supercategory", "keypoints", "skeleton")
DATASET_EXTRAS = ("info", "licenses", "type", "voc")

_DECODE = msgspec.json.Decoder(Extra).decode


def extra_of(text: bytes) -> Extra:
    """The keys of an extra; none if it is empty."""
    return _DECODE(text) if text else {}


def in_order(extra: dict[str, Any], first: tuple[str, ...]) -> dict[str, Any]:
    """The keys of an extra, those of `first` first, so that equal content is written equally."""
    if len(extra) < 2:
        return extra
    return {name: extra[name] for name in first if name in extra} | extra


def object_keys(dataset: Dataset) -> Counter[str]:
    """How many objects have each key of the extras."""
    counts: Counter[str] = Counter()
    for text in dict(dataset.objects.extra.items()).values():
        try:
            counts.update(_DECODE(text).keys())
        except msgspec.DecodeError:  # not valid JSON
            counts["extras"] += 1
    return counts


def label_extras(extra: Extra) -> dict[str, Extra]:
    """The extras of the labels in the extra of a dataset, by label; none if they are invalid."""
    with suppress(msgspec.DecodeError, RecursionError):
        categories = msgspec.json.decode(extra.get("categories", b"{}"), type=dict[str, Extra])
        fields = ((label, {key: raw for key, raw in category.items() if key not in ("id", "name")})
                  for label, category in categories.items())  # fmt: skip
        return {label: in_order(category, LABEL_EXTRAS) for label, category in fields if category}
    return {}


def relabeled(extra: bytes, becomes: Mapping[str, str]) -> bytes:
    """The extra of a dataset after its labels change to those in `becomes`; "" drops a label.

    Where labels merge, the first one with an extra keeps it.
    """
    keys = extra_of(extra)
    if "categories" not in keys:
        return extra
    categories: Extra = {}
    for label, raw in _DECODE(keys["categories"]).items():
        new = becomes.get(label, label)
        if new:
            categories.setdefault(new, raw)
    return _encoded(keys | {"categories": msgspec.Raw(msgspec.json.encode(categories))})


def merged(extras: Sequence[bytes], images: Sequence[Texts]) -> tuple[bytes, list[Texts], tuple[str, ...]]:
    """The extra of merged datasets, the extras of their images, and the keys in conflict, of which the first wins.

    Licenses get new ids where different ones share an id; the images refer to the new ids.
    """
    every = [extra_of(extra) for extra in extras]
    result: Extra = {}
    conflicts: dict[str, None] = {}
    for keys in every:
        for name, raw in keys.items():
            if name == "categories" or (name == "licenses" and _list_in(raw)):
                continue
            if name not in result:
                result[name] = raw
            elif bytes(result[name]) != bytes(raw):
                conflicts[name] = None
    if any(keys.get("voc") != result.get("voc") for keys in every):  # coordinates that not all of them have
        result.pop("voc", None)
        conflicts.pop("voc", None)
    categories: Extra = {}
    for keys in every:
        for label, raw in _DECODE(keys["categories"]).items() if "categories" in keys else ():
            if bytes(categories.setdefault(label, raw)) != bytes(raw):
                conflicts[f"category {label}"] = None
    if categories:
        result["categories"] = msgspec.Raw(msgspec.json.encode(categories))
    licenses, new_ids = _merged_licenses([_list_in(keys.get("licenses", msgspec.Raw(b"[]"))) for keys in every])
    if licenses and "licenses" not in result:
        result["licenses"] = msgspec.Raw(msgspec.json.encode(licenses))
    renumbered = [_renumbered(texts, ids) for texts, ids in zip(images, new_ids, strict=True)]
    return _encoded(result), renumbered, tuple(conflicts)


def _list_in(raw: msgspec.Raw) -> list[object]:
    value = msgspec.json.decode(raw)
    return value if isinstance(value, list) else []


def _merged_licenses(lists: Sequence[Sequence[object]]) -> tuple[list[object], list[dict[int, int]]]:
    """The distinct licenses with unique ids, and the new ids of those that changed, for every dataset."""
    licenses: list[object] = []
    ids: dict[bytes, int] = {}  # JSON of a license without its id -> its id
    taken: set[int] = set()
    seen: set[str] = set()  # of those without an id
    highest = 0  # of those taken
    changed: list[dict[int, int]] = []
    for entries in lists:
        new: dict[int, int] = {}
        for entry in entries:
            old = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(entry, dict) or not isinstance(old, int):
                licenses += [entry] if (text := repr(entry)) not in seen else []
                seen.add(text)
                continue
            content = msgspec.json.encode({key: entry[key] for key in sorted(entry) if key != "id"})
            if content not in ids:
                ids[content] = old if old not in taken else highest + 1
                taken.add(ids[content])
                highest = max(highest, ids[content])
                licenses.append(entry | {"id": ids[content]})
            if ids[content] != old:
                new[old] = ids[content]
        changed.append(new)
    return licenses, changed


def _renumbered(texts: Texts, new_ids: Mapping[int, int]) -> Texts:
    if not new_ids:
        return texts
    renumbered = {}
    for row, text in texts.items():
        keys = _DECODE(text)
        license_id = msgspec.json.decode(keys["license"]) if "license" in keys else None
        if isinstance(license_id, int) and license_id in new_ids:
            text = _encoded(keys | {"license": msgspec.Raw(str(new_ids[license_id]).encode())})
        renumbered[row] = text
    return Texts.sparse(len(texts), renumbered)


def _encoded(extra: Extra) -> bytes:
    return msgspec.json.encode(extra) if extra else b""


class _VocFacts(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What a COCO file says of the VOC files it was converted from, under the key `voc`."""

    coordinates: Literal["zero", "one"] = "zero"
    trainval: bool = False


def voc_facts(coordinates: Coordinates, *, trainval: bool = False) -> msgspec.Raw:
    """The value of `voc`: the coordinates of the VOC files, and whether they had a split trainval."""
    return msgspec.Raw(msgspec.json.encode(_VocFacts(coordinates, trainval)))


def pop_trainval(extra: Extra) -> bool:
    """Remove from `voc` that there was a split trainval; return whether it said so."""
    facts = _voc_facts_of(extra)
    if facts is not None and "voc" in extra:
        del extra["voc"]
        if facts.coordinates == "one":
            extra["voc"] = voc_facts("one")
    return facts is not None and facts.trainval


def coordinates_of(dataset: Dataset) -> Coordinates:
    """The coordinates of the VOC files that a dataset comes from, directly or through COCO."""
    facts = _voc_facts_of(extra_of(dataset.extra))
    return facts.coordinates if facts is not None else "zero"


def _voc_facts_of(extra: Extra) -> _VocFacts | None:
    """The value of `voc`; None if it is not vocdet's."""
    try:
        return msgspec.json.decode(extra.get("voc", b"{}"), type=_VocFacts)
    except (msgspec.DecodeError, RecursionError):
        return None
