"""Dividing a dataset into train, val and test with every label in its share.

The start is iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data,
ECML 2011, algorithm 1), here by the objects of an image and not only by its labels; then pairs of images change
places for as long as that brings the parts closer to their shares. Parts have exactly the sizes asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.errors import SplitError

Rows = NDArray[np.int64]  # (N,) rows of the image table
Counts = NDArray[np.float64]  # (N, C) whole numbers

NAMES = ("train", "val", "test")  # in this order wherever parts are numbered

_SWEEPS = 20
_POOL = 2000  # units of a part that are tried for a swap in one sweep: bounds the time of large sets
_GAIN = 0.01  # sweeps end when one brings less than this share of what is left


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The images of each part, rising; every image is in one of train, val and test."""

    train: Rows
    val: Rows
    test: Rows
    moved: int  # images by which groups that stay together have changed the sizes asked for

    @property
    def parts(self) -> dict[str, Rows]:
        """VOC's four parts: trainval is train and val together."""
        trainval = np.sort(np.concatenate([self.train, self.val]))
        return {"trainval": trainval, "train": self.train, "val": self.val, "test": self.test}


def part_sizes(count: int, trainval: float, train: float) -> tuple[int, int, int]:
    """How many of `count` images go to train, val and test.

    trainval has count × `trainval` and train has trainval × `train`, each rounded half up; but a part that is
    asked for (val by `train` < 1, test by `trainval` < 1) has one image at least.
    """
    if not (0 < trainval <= 1 and 0 < train <= 1):
        problem = f"shares of {trainval:g} for trainval and {train:g} for train leave nothing to train on"
        raise SplitError(problem, hint="give shares above 0 and up to 1")
    least_val, least_test = int(train < 1), int(trainval < 1)
    if count < 1 + least_val + least_test:
        names = " and ".join(["train", *["val"] * least_val, *["test"] * least_test])
        images = "1 image" if count == 1 else f"{count} images"
        hint = "annotate more images, or ask for fewer parts with --trainval 1 or --train 1"
        raise SplitError(f"{images} cannot be divided into {names}", hint=hint)
    both = min(max(math.floor(count * trainval + 0.5), 1 + least_val), count - least_test)
    first = min(max(math.floor(both * train + 0.5), 1), both - least_val)
    return first, both - first, count - both


def split(
    dataset: Dataset,
    *,
    trainval: float = 0.9,
    train: float = 0.9,
    seed: int = 0,
    together: Sequence[Sequence[int]] = (),
) -> Split:
    """Divide the images so that each part has its share of every label's objects and images.

    The images of each group in `together` go to the same part. The same dataset, shares and seed give the same split.
    """
    sizes = np.array(part_sizes(len(dataset), trainval, train))
    groups = [np.array(group, np.int64) for group in together if len(group) > 1]
    alone = np.setdiff1d(np.arange(len(dataset)), np.concatenate(groups)) if groups else np.arange(len(dataset))
    units = [*groups, *alone[:, None]]
    weights = np.array([len(unit) for unit in units])
    counts = np.add.reduceat(label_counts(dataset)[np.concatenate(units)], np.cumsum(weights) - weights)  # (U, C)
    rng = np.random.default_rng(seed)
    part = _stratify(counts, weights, sizes, rng)
    _even_out(part, counts, weights, sizes / sizes.sum(), rng)
    of_image = np.empty(len(dataset), np.int64)
    of_image[np.concatenate(units)] = np.repeat(part, weights)
    train_rows, val_rows, test_rows = (np.flatnonzero(of_image == p) for p in range(3))
    final = np.array([len(train_rows), len(val_rows), len(test_rows)])
    return Split(train_rows, val_rows, test_rows, int(np.maximum(final - sizes, 0).sum()))


def label_counts(dataset: Dataset) -> Counts:
    """(N, 2 L + 1) of every image: its objects of each label, whether it has the label, whether it has none at all."""
    objects = np.zeros((len(dataset), len(dataset.labels)))
    np.add.at(objects, (dataset.objects.image, dataset.objects.label), 1)
    has = objects > 0
    return np.concatenate([objects, has, ~has.any(axis=1, keepdims=True)], axis=1)


def _stratify(counts: Counts, weights: Rows, sizes: Rows, rng: np.random.Generator) -> Rows:
    """The part of every unit: the rarest label first, each unit where most of its label is still wanted."""
    part = np.full(len(weights), -1)
    wanted = np.outer(sizes / sizes.sum(), counts.sum(axis=0))  # (3, C)
    room = sizes.copy()
    for unit in np.argsort(-weights[weights > 1], kind="stable"):  # groups come first in the units, largest first here
        fits = room >= weights[unit]
        need = wanted @ (counts[unit] / np.maximum(counts.sum(axis=0), 1))
        part[unit] = np.argmax(np.where(fits, need, -np.inf)) if fits.any() else np.argmax(room)
        room[part[unit]] -= weights[unit]
        wanted[part[unit]] -= counts[unit]
    while (room < 0).any():  # a group was larger than any room: the others give way
        room[np.argmax(room)] -= 1
        room[np.argmin(room)] += 1
    labels = counts.shape[1] // 2
    has = counts[:, labels:] > 0  # (U, L + 1)
    left = has[part < 0].sum(axis=0)
    while left.any():
        label = int(np.argmin(np.where(left > 0, left, np.inf)))
        column = label if label < labels else 2 * labels
        members = np.flatnonzero(has[:, label] & (part < 0))
        order = np.lexsort((rng.random(len(members)), -counts[members, column]))  # many objects first: they pack worst
        for unit in members[order]:
            need = np.where(room > 0, wanted[:, column], -np.inf)
            part[unit] = np.lexsort((rng.random(3), -room, -need))[0]
            room[part[unit]] -= 1
            wanted[part[unit]] -= counts[unit]
        left = has[part < 0].sum(axis=0)
    return part


def _even_out(part: Rows, counts: Counts, weights: Rows, share: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Swap units of one image between parts, in place, while that lowers `_distance` by more than a little."""
    expected = np.outer(share, counts.sum(axis=0))  # (3, C)
    pairs = [(a, b) for a, b in ((2, 0), (1, 0), (2, 1)) if share[a] and share[b]]
    sums = np.stack([counts[part == p].sum(axis=0) for p in range(3)])  # (3, C)
    for _ in range(_SWEEPS):
        before = _distance(sums, expected)
        for a, b in pairs:
            _swap(part, counts, weights, sums, expected, (a, b), rng)
        if before - _distance(sums, expected) <= _GAIN * before:
            return


def _distance(sums: Counts, expected: Counts) -> float:
    """How far the parts are from their shares: chi-squared, so that rare and common labels weigh alike."""
    return float(((sums - expected) ** 2 * _inverse(expected)).sum())


def _inverse(expected: Counts) -> Counts:
    return np.divide(1.0, expected, out=np.zeros_like(expected), where=expected > 0)


def _swap(
    part: Rows,
    counts: Counts,
    weights: Rows,
    sums: Counts,
    expected: Counts,
    pair: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Swap each unit of the first part of a pair with the unit of the second that helps most, if any does."""
    a, b = pair
    mine, pool = (rng.permutation(np.flatnonzero((part == p) & (weights == 1)))[:_POOL] for p in pair)
    if not len(pool):
        return
    inverse = _inverse(expected)
    weight = inverse[a] + inverse[b]  # (C,)
    others = counts[pool]  # (P, C)
    square = (others**2 * weight).sum(axis=1)  # (P,)
    for unit in mine:
        own = counts[unit]
        slope = 2 * ((sums[a] - expected[a]) * inverse[a] - (sums[b] - expected[b]) * inverse[b])
        # With d = other - own, the distance changes by d² · weight + d · slope; `same` does not depend on the other.
        same = (own**2 * weight).sum() - own @ slope
        change = np.round(square + others @ (slope - 2 * own * weight) + same, 9)  # rounded: the same on any machine
        best = int(np.argmin(change))
        if change[best] < 0:
            part[unit], part[pool[best]] = b, a
            sums[a] += others[best] - own
            sums[b] += own - others[best]
            pool[best], others[best], square[best] = unit, own, (own**2 * weight).sum()
