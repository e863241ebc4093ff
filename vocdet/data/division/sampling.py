"""A smaller sample of a dataset with the same shares of labels and splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.division import divide
from vocdet.data.splits import Rows, disjoint
from vocdet.data.stats import shown_labels


@dataclass(frozen=True, slots=True, eq=False)
class SampledRows:
    """Some images of a dataset."""

    rows: Rows  # in ascending order
    missing: Rows  # labels of the dataset that the sample had no room for


def sample(dataset: Dataset, count: int, *, seed: int = 0) -> SampledRows:
    """`count` images in which every label, every split and images without objects have their share.

    A label whose share is less than one image still has one, unless it would displace another label. The same dataset,
    splits, count and seed give the same images. A `count` above the number of images is a `ValueError`.
    """
    if not 0 < count <= len(dataset):
        raise ValueError(f"{count} of {len(dataset)} images")
    groups = disjoint(dataset.splits, len(dataset))
    chosen = np.zeros(len(dataset), np.bool_)
    for rows, size in zip(groups, shared_out(count, [len(rows) for rows in groups]), strict=True):
        chosen[_stratified_sample(dataset, rows, size, seed)] = True
    missing = _add_missing(dataset, chosen, groups, np.random.default_rng(seed))
    return SampledRows(np.flatnonzero(chosen), missing)


def shared_out(count: int, sizes: list[int]) -> list[int]:
    """Integers in proportion to `sizes` that add up to `count`, by largest remainders."""
    exact = np.array(sizes) * count / sum(sizes)
    least = np.floor(exact).astype(np.int64)
    order = np.argsort(least - exact, kind="stable")
    least[order[: count - int(least.sum())]] += 1
    return [int(size) for size in least]


def _stratified_sample(dataset: Dataset, rows: Rows, count: int, seed: int) -> Rows:
    """`count` of the images `rows`, stratified by label."""
    if count in (0, len(rows)):
        return rows[:count]
    sizes = np.array([count, len(rows) - count])
    split = divide.divided(dataset.subset(rows), sizes, seed=seed, together=(), stratify=True)
    return np.asarray(rows[split == 0])


def _add_missing(dataset: Dataset, chosen: NDArray[np.bool_], groups: list[Rows], rng: np.random.Generator) -> Rows:
    """Swap images, in place, so that missing labels are included; return the labels that still are not."""
    image, label = shown_labels(dataset).T
    n = len(dataset.labels)
    of_group = np.empty(len(dataset), np.int64)
    for i, rows in enumerate(groups):
        of_group[rows] = i
    objects = np.bincount(dataset.objects.image, minlength=len(dataset))
    everywhere = np.bincount(label, minlength=n)
    for rare in np.argsort(everywhere, kind="stable"):
        shown = np.bincount(label[chosen[image]], minlength=n)  # images of the sample that show each label
        if shown[rare] or not everywhere[rare]:
            continue
        # one that shows the only example of a label must stay
        fewest = np.full(len(dataset), len(dataset))
        np.minimum.at(fewest, image, shown[label])
        free = np.flatnonzero(chosen & (fewest != 1))
        new = image[label == rare]
        new = new[np.lexsort((rng.random(len(new)), objects[new]))][0]
        if len(free):
            apart = np.abs(objects[free] - objects[new])
            old = free[np.lexsort((rng.random(len(free)), apart, of_group[free] != of_group[new]))][0]
            chosen[old], chosen[new] = False, True
    shown = np.bincount(label[chosen[image]], minlength=n)
    return np.flatnonzero((everywhere > 0) & (shown == 0))
