"""Parts of a dataset: rows of its image table by the names train, val, test and trainval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]  # (N,) rows of the image table
Parts = Mapping[str, Rows]

ORDER = ("train", "val", "test", "trainval")


def separate(parts: Parts) -> dict[str, Rows]:
    """The parts that do not hold one another: trainval only where it is not divided further."""
    divided = parts.keys() & {"train", "val"}
    return {name: parts[name] for name in ORDER if name in parts and not (name == "trainval" and divided)}


def disjoint(parts: Parts, images: int) -> list[Rows]:
    """Every one of so many images once, rising, in a group for each part and one of those in none.

    An image in several parts goes with the first of train, val, test and trainval that has it.
    """
    group = np.full(images, -1)
    names = [name for name in ORDER if name in parts]
    for i, name in enumerate(names):
        rows = parts[name]
        group[rows[group[rows] < 0]] = i
    return [rows for i in (*range(len(names)), -1) if len(rows := np.flatnonzero(group == i))]


def within(parts: Parts, rows: Rows, images: int) -> dict[str, Rows]:
    """The parts of a dataset of so many images as rows of its subset `rows`, in the order they had."""
    place = np.full(images, -1)
    place[rows] = np.arange(len(rows))
    return {name: moved[moved >= 0] for name, of in parts.items() for moved in (place[of],)}
