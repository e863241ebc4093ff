"""Divide a dataset into train, val and test, stratified by label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.division.stratify import divide, divide_at_random, units_of
from vocdet.data.splits import Rows
from vocdet.errors import SplitError
from vocdet.wording import counted

DIVIDED_SPLITS = ("train", "val", "test")  # the order of numbered splits


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The images of each split, in ascending order; every image is in one of train, val and test."""

    train: Rows
    val: Rows
    test: Rows
    moved: int  # by how many images groups that stay together change the requested sizes

    @property
    def splits(self) -> dict[str, Rows]:
        """VOC's four splits: trainval is train and val together."""
        trainval = np.sort(np.concatenate([self.train, self.val]))
        return {"trainval": trainval, "train": self.train, "val": self.val, "test": self.test}


def split_sizes(count: int, trainval: float, train: float) -> tuple[int, int, int]:
    """How many of `count` images go to train, val and test.

    trainval has count × `trainval` and train has trainval × `train`, each rounded half up; but a requested split
    (val by `train` < 1, test by `trainval` < 1) has at least one image.
    """
    if not (0 < trainval <= 1 and 0 < train <= 1):
        problem = f"shares of {trainval:g} for trainval and {train:g} for train leave nothing to train on"
        raise SplitError(problem, hint="give shares above 0 and up to 1")
    least_val, least_test = int(train < 1), int(trainval < 1)
    if count < 1 + least_val + least_test:
        names = " and ".join(["train", *["val"] * least_val, *["test"] * least_test])
        hint = "annotate more images, or write fewer splits: `vocdet.split(dataset, trainval=1)`"
        raise SplitError(f"{counted(count, 'image')} cannot be divided into {names}", hint=hint)
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
    stratify: bool = True,
    assigned: Mapping[str, Rows] | None = None,
) -> Split:
    """Divide the images so that each split has its share of every label's objects and images.

    The images of each group in `together` go to the same split; no image is in two groups. Without `stratify` they
    are divided at random. Images that are `assigned` to train, val or test stay there, and the rest of their groups
    follows. The same dataset, shares and seed give the same splits.
    """
    sizes = np.array(split_sizes(len(dataset), trainval, train))
    before = tuple((assigned or {}).get(name, np.empty(0, np.int64)) for name in DIVIDED_SPLITS)
    split = divided(dataset, sizes, seed=seed, together=together, stratify=stratify, assigned=before)
    train_rows, val_rows, test_rows = (np.flatnonzero(split == p) for p in range(3))
    final = np.array([len(train_rows), len(val_rows), len(test_rows)])
    return Split(train_rows, val_rows, test_rows, int(np.maximum(final - sizes, 0).sum()))


def fold_rows(
    dataset: Dataset,
    count: int,
    *,
    seed: int = 0,
    together: Sequence[Sequence[int]] = (),
    stratify: bool = True,
    assigned: Sequence[Rows] = (),
) -> tuple[Rows, ...]:
    """The images of `count` folds, in ascending order: every image is in one fold; sizes differ by at most one.

    `together` and `stratify` as for `split`; images in `assigned[k]` stay in fold k. A `SplitError` if there are
    fewer images, or groups of them, than folds.
    """
    if count < 2:
        raise ValueError(f"{count} folds")
    sizes = len(dataset) // count + (np.arange(count) < len(dataset) % count).astype(np.int64)
    split = divided(dataset, sizes, seed=seed, together=together, stratify=stratify, assigned=assigned)
    folds = tuple(np.flatnonzero(split == k) for k in range(count))
    if not all(map(len, folds)):
        units = len(dataset) - sum(len(group) - 1 for group in together)
        kind = "images" if units == len(dataset) else "images and groups that stay together"
        hint = "use fewer folds, or annotate more images"
        raise SplitError(f"{units} {kind} cannot be divided into {count} folds", hint=hint)
    return folds


def divided(
    dataset: Dataset,
    sizes: Rows,
    *,
    seed: int,
    together: Sequence[Sequence[int]],
    stratify: bool,
    assigned: Sequence[Rows] = (),
) -> Rows:
    """(N,) the number of every image's split; arguments as for `split`, with `sizes[p]` images for split p."""
    known = np.full(len(dataset), -1)
    for number, rows in enumerate(assigned):
        known[rows] = number
    groups, splits = _followers(together, known)
    units, unit = units_of(dataset, groups)
    fixed = np.full(len(units), -1)
    fixed[unit] = known
    fixed[: len(groups)] = splits
    method = divide if stratify else divide_at_random
    return method(units, sizes, np.random.default_rng(seed), fixed=fixed)[unit]


def objects_of_splits(dataset: Dataset, splits: Sequence[Rows]) -> NDArray[np.int64]:
    """(P, L) objects of every label in each split; splits may share images."""
    labels = len(dataset.labels)
    counts = np.zeros((len(splits), labels), np.int64)
    for i, rows in enumerate(splits):
        inside = np.zeros(len(dataset), np.bool_)
        inside[rows] = True
        counts[i] = np.bincount(dataset.objects.label[inside[dataset.objects.image]], minlength=labels)
    return counts


def _followers(together: Sequence[Sequence[int]], known: Rows) -> tuple[list[Rows], Rows]:
    """The unassigned images of each group, and the split of most of the others in the group, or -1."""
    groups, splits = [], []
    for group in together:
        rows = np.asarray(group, np.int64)
        new = rows[known[rows] < 0]
        if len(new) and len(rows) > 1:
            settled = np.bincount(known[rows[known[rows] >= 0]])
            groups.append(new)
            splits.append(int(np.argmax(settled)) if len(settled) else -1)
    return groups, np.array(splits, np.int64)
