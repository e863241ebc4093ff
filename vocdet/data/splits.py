"""Splits of a dataset: rows of its image table, named train, val, trainval, test, fold1_train, fold1_val, …"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.int64]  # (N,) rows of the image table
Splits = Mapping[str, Rows]

SPLIT_ORDER = ("train", "val", "test", "trainval")
SPLIT_AGAIN = "`vocdet.write_splits(vocdet.split(dataset), force=True)`"  # in hints
FOLD = re.compile(r"(fold\d+)_(?:train|val)")


class FrozenSplits(Mapping[str, Rows]):
    """Immutable splits: the rows of each are unique and read-only, in the given order."""

    __slots__ = ("_rows",)

    def __init__(self, splits: Mapping[str, ArrayLike] = MappingProxyType({})) -> None:
        self._rows = {name: _frozen_rows(rows) for name, rows in splits.items()}

    def __getitem__(self, name: str) -> Rows:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name}: {len(rows)} images' for name, rows in self.items())}}}"


def _frozen_rows(rows: ArrayLike) -> Rows:
    values = np.asarray(rows, np.int64).reshape(-1)
    _, first = np.unique(values, return_index=True)
    unique = values[np.sort(first)] if len(first) < len(values) else values.copy()
    unique.setflags(write=False)
    return unique


def validation_split(name: str) -> str:
    """The split to validate on when training on `name`: the same fold's, or val."""
    fold = FOLD.fullmatch(name)
    return f"{fold[1]}_val" if fold else "val"


def separate(splits: Splits) -> dict[str, Rows]:
    """The splits without their unions: trainval only if it is not divided further."""
    divided = splits.keys() & {"train", "val"}
    return {name: splits[name] for name in SPLIT_ORDER if name in splits and not (name == "trainval" and divided)}


def disjoint(splits: Splits, images: int) -> list[Rows]:
    """Each of `images` rows once, in ascending order, grouped by split; images in no split are the last group.

    An image in several splits belongs to the first of train, val, test and trainval that has it.
    """
    group = np.full(images, -1)
    names = [name for name in SPLIT_ORDER if name in splits]
    for i, name in enumerate(names):
        rows = splits[name]
        group[rows[group[rows] < 0]] = i
    return [rows for i in (*range(len(names)), -1) if len(rows := np.flatnonzero(group == i))]


def within(splits: Splits, rows: Rows, images: int) -> dict[str, Rows]:
    """The splits of a dataset of `images` images as rows of its subset `rows`, in their original order."""
    place = np.full(images, -1)
    place[rows] = np.arange(len(rows))
    return {name: moved[moved >= 0] for name, of in splits.items() for moved in (place[of],)}


def apart(splits: Mapping[str, Rows], count: int) -> tuple[dict[str, Rows], int]:
    """Disjoint splits, for formats that allow one split per image, and how many images were in several.

    An image goes to the first of train, val and test (trainval without train and val) that has it; the other images
    of `count` are the split `rest`.
    """
    names = ["train", "val", "test"] if {"train", "val"} & splits.keys() else ["trainval", "test"]
    free = np.ones(count, np.bool_)
    divided: dict[str, Rows] = {}
    for name in names:
        if name in splits:
            rows = np.sort(splits[name])
            divided[name] = rows[free[rows]]
            free[rows] = False
    twice = sum(len(splits[name]) for name in divided) - sum(map(len, divided.values()))
    rest = np.flatnonzero(free)
    if len(rest):
        divided["rest"] = rest
    return divided, twice
