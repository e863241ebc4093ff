"""Divide units among splits so that each split gets its share of every label.

The start is iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data,
ECML 2011, algorithm 1), here by the objects of an image and not only by its labels; then units are swapped as long as
that brings the splits closer to their sizes and shares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset

Indices = NDArray[np.int64]  # (N,) rows of a table, or numbers of splits
Shares = NDArray[np.float64]  # (N, C) integers

_SWEEPS = 20
_POOL = 2000  # units of a split tried for a swap in one sweep: bounds the time for large datasets
_GAIN = 0.01  # sweeps end when one improves the distance by less than this share
_MOST_PAIRS = 10  # of splits; with more splits, each swaps only with the next
_SIZE = 1e6  # the weight of an image too many or too few: sizes take precedence over labels


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The units to divide, images or groups of images that stay together, and the labels in each.

    The labels of unit u are the entries `first[u]` to `first[u + 1]` of the three columns below it.
    """

    size: Indices  # (U,) images
    without_images: Indices  # (U,) images without any object
    first: Indices  # (U + 1,)
    label: NDArray[np.int32]  # (E,) ascending within a unit
    objects: NDArray[np.int32]  # (E,) objects of that label in the unit
    images: NDArray[np.int32]  # (E,) images of the unit with that label
    labels: int  # the number of labels

    def __len__(self) -> int:
        return len(self.size)

    def entries(self, units: Indices) -> Indices:
        """The positions of these units' entries, unit by unit."""
        lengths = self.first[units + 1] - self.first[units]
        skipped = self.first[units] - (np.cumsum(lengths) - lengths)
        entries: Indices = np.arange(int(lengths.sum())) + np.repeat(skipped, lengths)
        return entries

    def counts(self, units: Indices) -> Shares:
        """(n, 2 L + 2) for every unit: objects of each label, images with each label, empty images, images."""
        entry = self.entries(units)
        row = np.repeat(np.arange(len(units)), self.first[units + 1] - self.first[units])
        dense = np.zeros((len(units), 2 * self.labels + 2))
        dense[row, self.label[entry]] = self.objects[entry]
        dense[row, self.labels + self.label[entry]] = self.images[entry]
        dense[:, -2:] = np.column_stack([self.without_images[units], self.size[units]])
        return dense

    def sums(self, part: Indices, parts: int) -> Shares:
        """(P, 2 L + 2) the summed counts of the units of every split; split -1 is none."""
        of_entry = np.repeat(part, np.diff(self.first))
        inside, inside_entry = part >= 0, of_entry >= 0
        cell = of_entry[inside_entry] * self.labels + self.label[inside_entry]
        shape = parts, self.labels
        of_labels = [
            np.bincount(cell, column[inside_entry], parts * self.labels).reshape(shape)
            for column in (self.objects, self.images)
        ]
        of_all = [np.bincount(part[inside], column[inside], parts) for column in (self.without_images, self.size)]
        return np.column_stack([*of_labels, *of_all]).astype(np.float64)


def units_of(dataset: Dataset, together: Sequence[Indices] = ()) -> tuple[Units, Indices]:
    """The images of a dataset as units, and the unit of every image. Each group in `together` is one unit.

    Groups come first, followed by single images.
    """
    unit = np.full(len(dataset), -1, np.int64)
    for i, group in enumerate(together):
        unit[group] = i
    alone = unit < 0
    unit[alone] = len(together) + np.arange(np.count_nonzero(alone))
    count, labels = len(together) + np.count_nonzero(alone), len(dataset.labels)
    objects = dataset.objects
    key = objects.image.astype(np.int64) * max(labels, 1) + objects.label
    key, number = np.unique(key, return_counts=True)  # (K,) of every image each label once
    image = key // max(labels, 1)
    without_images = np.ones(len(dataset), np.bool_)
    without_images[image] = False
    key = unit[image] * max(labels, 1) + key % max(labels, 1)
    order = np.argsort(key, kind="stable")
    key, number = key[order], number[order]
    start = np.flatnonzero(np.diff(key, prepend=-1))  # several images of a group may have one label
    return (
        Units(
            size=np.bincount(unit, minlength=count),
            without_images=np.bincount(unit[without_images], minlength=count),
            first=np.searchsorted(key[start] // max(labels, 1), np.arange(count + 1)),
            label=(key[start] % max(labels, 1)).astype(np.int32),
            objects=(np.add.reduceat(number, start) if len(start) else number).astype(np.int32),
            images=np.diff(start, append=len(key)).astype(np.int32),
            labels=labels,
        ),
        unit,
    )


def divide(units: Units, sizes: Indices, rng: np.random.Generator, *, fixed: Indices | None = None) -> Indices:
    """The split of every unit: each split gets `sizes[p]` images and its share of every label.

    `fixed` is the given split of some units (-1: not given). Sizes are exact for single images, and as close as groups
    and fixed units allow otherwise.
    """
    part = np.full(len(units), -1) if fixed is None else fixed.astype(np.int64)
    free = part < 0
    share = sizes / sizes.sum()
    present = units.sums(part, len(sizes))
    expected = np.outer(share, units.sums(np.zeros(len(units), np.int64), 1)[0])  # (P, C)
    expected[:, -1] = sizes
    room = _filled(sizes - present[:, -1].astype(np.int64))
    _place_groups(part, units, np.flatnonzero(free & (units.size > 1)), expected, present, room)
    _place_images(part, units, expected, present, _filled(room), rng)
    _even_out(part, units, np.flatnonzero(free), expected, rng)
    return part


def divide_at_random(
    units: Units, sizes: Indices, rng: np.random.Generator, *, fixed: Indices | None = None
) -> Indices:
    """Like `divide`, but ignoring labels: groups first, each where there is room, then single images."""
    part = np.full(len(units), -1) if fixed is None else fixed.astype(np.int64)
    free = np.flatnonzero(part < 0)
    room = _filled(sizes - units.sums(part, len(sizes))[:, -1].astype(np.int64))
    groups = _shuffled(free[units.size[free] > 1], rng)
    for unit in groups[np.argsort(-units.size[groups], kind="stable")]:
        fits = np.where(room >= units.size[unit], np.maximum(room, 0), 0)
        lot = rng.random() * fits.sum()
        part[unit] = np.searchsorted(np.cumsum(fits), lot, side="right") if fits.any() else np.argmax(room)
        room[part[unit]] -= units.size[unit]
    alone = _shuffled(free[units.size[free] == 1], rng)
    part[alone] = np.repeat(np.arange(len(sizes)), _filled(room))
    return part


def _shuffled(rows: Indices, rng: np.random.Generator) -> Indices:
    """Indices in a random order that does not depend on the release of NumPy."""
    return rows[np.argsort(rng.random(len(rows)), kind="stable")]


def _filled(room: Indices) -> Indices:
    """The same total room without negative values: excess images take the room of the emptiest splits."""
    room = room.copy()
    while (room < 0).any():
        room[np.argmax(room)] -= 1
        room[np.argmin(room)] += 1
    return room


def _place_groups(
    part: Indices, units: Units, groups: Indices, expected: Shares, present: Shares, room: Indices
) -> None:
    """Largest group first, each to the split that fits it and needs its labels most; the arrays change in place."""
    total = np.maximum(expected.sum(axis=0), 1)
    for unit in groups[np.argsort(-units.size[groups], kind="stable")]:
        counts = units.counts(np.array([unit]))[0]
        fits = room >= units.size[unit]
        need = np.round((expected - present)[:, :-1] @ (counts / total)[:-1], 9)  # rounded: the same on any machine
        part[unit] = np.argmax(np.where(fits, need, -np.inf)) if fits.any() else np.argmax(room)
        room[part[unit]] -= units.size[unit]
        present[part[unit]] += counts


def _place_images(
    part: Indices, units: Units, expected: Shares, present: Shares, room: Indices, rng: np.random.Generator
) -> None:
    """Place the unassigned images, those with the rarest label first; `part` changes in place."""
    of_entry = np.repeat(np.arange(len(units)), np.diff(units.first))
    by_label = np.argsort(units.label, kind="stable")  # entries
    ends = np.searchsorted(units.label[by_label], np.arange(units.labels + 1))
    left = np.bincount(units.label[part[of_entry] < 0], minlength=units.labels)  # images without a part
    deal = _dealer(units, expected, present, room, rng)
    while left.any():
        label = int(np.argmin(np.where(left > 0, left, len(units) + 1)))
        entries = by_label[ends[label] : ends[label + 1]]
        entries = entries[part[of_entry[entries]] < 0]
        entries = entries[np.lexsort((rng.random(len(entries)), -units.objects[entries]))]  # many objects pack worst
        members = of_entry[entries]
        part[members] = deal(members, units.objects[entries], label)
        left -= np.bincount(units.label[units.entries(members)], minlength=units.labels)
    without_images = _shuffled(np.flatnonzero(part < 0), rng)
    part[without_images] = deal(without_images, np.ones(len(without_images), np.int32), units.labels)


def _dealer(
    units: Units, expected: Shares, present: Shares, room: Indices, rng: np.random.Generator
) -> Callable[[Indices, NDArray[np.int32], int], list[int]]:
    """A function that deals images to splits one by one, so that all splits fill up with a label evenly.

    The next split is chosen like seats by Sainte-Laguë: the one with the smallest part of its share, counting half of
    what is dealt. Ties go to the largest split, so that rare labels are in train.
    """
    # Python numbers are several times faster than arrays when a million images are dealt one by one.
    first, label, objects = units.first.tolist(), units.label.tolist(), units.objects.tolist()
    columns = [*range(units.labels), -2]  # objects of every label, and images without any
    has, rooms = present[:, columns].tolist(), room.tolist()
    share = np.divide(
        1, expected[:, columns], out=np.full((len(room), len(columns)), np.inf), where=expected[:, columns] > 0
    )

    def deal(members: Indices, number: NDArray[np.int32], column: int) -> list[int]:
        chosen = []
        per_object = share[:, column].tolist()
        for unit, many, lot in zip(members.tolist(), number.tolist(), rng.random(len(members)).tolist(), strict=True):
            full = [
                ((has[p][column] + many / 2) * per_object[p], -space, p) for p, space in enumerate(rooms) if space > 0
            ]
            least = min(full)[:2]
            alike = [p for *rank, p in full if (rank[0], rank[1]) == least]
            part = alike[int(lot * len(alike))]
            chosen.append(part)
            rooms[part] -= 1
            held = has[part]
            for entry in range(first[unit], first[unit + 1]):
                held[label[entry]] += objects[entry]
            if column == units.labels:
                held[column] += 1
        return chosen

    return deal


def _even_out(part: Indices, units: Units, free: Indices, expected: Shares, rng: np.random.Generator) -> None:
    """Swap units between splits, in place, while that lowers `_distance` noticeably."""
    parts = [p for p in range(len(expected)) if expected[p, -1] > 0]
    pairs = [(b, a) for i, a in enumerate(parts) for b in parts[i + 1 :]]
    if len(pairs) > _MOST_PAIRS:
        pairs = list(zip(parts, parts[1:] + parts[:1], strict=True))
    excess = units.sums(part, len(expected)) - expected  # (P, C)
    weight = np.divide(1.0, expected, out=np.zeros_like(expected), where=expected > 0)
    weight[:, -1] = _SIZE
    for _ in range(_SWEEPS):
        before = _distance(excess, weight)
        for pair in pairs:
            _swap(part, units, free, excess, weight, pair, rng)
        if before - _distance(excess, weight) <= _GAIN * before:
            return


def _distance(excess: Shares, weight: Shares) -> float:
    """The distance of the splits from their shares: chi-squared, so that rare and common labels have equal weight."""
    return float((excess**2 * weight).sum())


def _swap(
    part: Indices,
    units: Units,
    free: Indices,
    excess: Shares,
    weight: Shares,
    pair: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Swap each unit of the first split of a pair with the unit of the second that helps most, if any does."""
    a, b = pair
    mine, pool = (_shuffled(free[part[free] == p], rng)[:_POOL] for p in pair)
    if not len(pool):
        return
    own_counts, others = units.counts(mine), units.counts(pool)  # (P, C)
    both = weight[a, :-1] + weight[b, :-1]  # (C - 1,)
    square = (others[:, :-1] ** 2 * both).sum(axis=1)  # (P,)
    for unit, own in zip(mine, own_counts, strict=True):
        slope = 2 * (excess[a] * weight[a] - excess[b] * weight[b])[:-1]
        # With d = other - own, the distance changes by d² · both + d · slope; `same` does not depend on the other.
        same = (own[:-1] ** 2 * both).sum() - own[:-1] @ slope
        change = square + others[:, :-1] @ (slope - 2 * own[:-1] * both) + same
        larger = others[:, -1] - own[-1]  # sizes, which take precedence
        change += 2 * _SIZE * larger * (larger + excess[a, -1] - excess[b, -1])
        change = np.round(change, 9)  # the same on any machine
        best = int(np.argmin(change))
        if change[best] < 0:
            part[unit], part[pool[best]] = b, a
            excess[a] += others[best] - own
            excess[b] += own - others[best]
            pool[best], others[best], square[best] = unit, own, (own[:-1] ** 2 * both).sum()
