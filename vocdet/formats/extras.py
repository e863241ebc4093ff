"""What a dataset says beyond images and objects, when labels change or datasets become one.

`Dataset.extra` has COCO's `info`, `licenses`, the keys nobody knows, and `categories`: what else was said of a label,
by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from vocdet.data.texts import Texts

_Extra = dict[str, msgspec.Raw]

_DECODE = msgspec.json.Decoder(_Extra).decode
_SAME_NUMBERS = "voc"  # what the numbers of VOC files were: nothing, unless it is so of all


def relabelled(extra: bytes, becomes: Mapping[str, str]) -> bytes:
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
