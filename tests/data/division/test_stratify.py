from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.division.stratify import divide, divide_at_random, units_of

LABELS = 4


def dataset_of(labels_of_images: list[list[int]], labels: int = LABELS) -> Dataset:
    n, m = len(labels_of_images), sum(map(len, labels_of_images))
    stems, size, no = tuple(map(str, range(n))), np.full(n, 9, np.int32), np.zeros(m, np.bool_)
    image = np.repeat(np.arange(n, dtype=np.int32), [len(some) for some in labels_of_images])
    label = np.array([label for some in labels_of_images for label in some], np.int32)
    objects = Objects(image, label, np.tile([0.0, 0, 9, 9], (m, 1)), no, no, no, no, np.zeros(m, np.int32))
    return Dataset(Path(), tuple(map(str, range(labels))), Images(stems, stems, size, size, stems), objects)


scenes = st.lists(st.lists(st.integers(0, LABELS - 1), max_size=6), min_size=6, max_size=40)


@given(scenes, st.integers(0, 3), st.integers(2, 3))
def test_units_hold_what_their_images_hold(images: list[list[int]], first: int, length: int) -> None:
    groups = [np.array([first, *range(4, 3 + length)])]
    units, unit = units_of(dataset_of(images), groups)
    counts = units.counts(np.arange(len(units)))
    assert np.bincount(unit).tolist() == units.size.tolist()
    for u in range(len(units)):
        inside = [images[row] for row in np.flatnonzero(unit == u)]
        objects = [sum(some.count(label) for some in inside) for label in range(LABELS)]
        shown = [sum(label in some for some in inside) for label in range(LABELS)]
        assert counts[u].tolist() == [*objects, *shown, inside.count([]), len(inside)]
    part = np.arange(len(units)) % 3 - 1
    sums = units.sums(part, 2)
    assert sums.tolist() == [counts[part == p].sum(axis=0).tolist() for p in range(2)]


@given(scenes, st.data())
def test_what_is_fixed_stays_and_the_rest_fills_the_sizes(images: list[list[int]], data: st.DataObject) -> None:
    units, _ = units_of(dataset_of(images))
    fixed = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=len(images), max_size=len(images))))
    share = data.draw(st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(1, 10)))
    cuts = np.round(np.cumsum(share) / sum(share) * len(images)).astype(int)
    sizes = np.diff(cuts, prepend=0)
    for method in (divide, divide_at_random):
        part = method(units, sizes, np.random.default_rng(0), fixed=fixed)
        assert part[fixed >= 0].tolist() == fixed[fixed >= 0].tolist()
        assert part.min() >= 0
        had = np.bincount(fixed[fixed >= 0], minlength=3)
        got = np.bincount(part, minlength=3)
        if (had <= sizes).all():
            assert got.tolist() == sizes.tolist()
        else:  # a part that has too many gets none
            assert got[had > sizes].tolist() == had[had > sizes].tolist()


def test_fixed_images_count_for_the_shares() -> None:
    # Part 0 already has all of label 0 it should have, so that the others must go to part 1.
    images = [[0]] * 20 + [[1]] * 20
    fixed = np.array([0] * 10 + [-1] * 30)
    units, _ = units_of(dataset_of(images))
    part = divide(units, np.array([20, 20]), np.random.default_rng(0), fixed=fixed)
    assert part[10:20].tolist() == [1] * 10
    assert np.bincount(part[20:]).tolist() == [10, 10]


@pytest.mark.parametrize("parts", [2, 5, 12])
def test_frequent_labels_have_their_share_in_every_split(parts: int) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 10, rng.integers(0, 12)).tolist() for _ in range(1200)]
    units, unit = units_of(dataset_of(images, 10))
    part = divide(units, np.full(parts, 1200 // parts), np.random.default_rng(0))[unit]
    counts = np.zeros((parts, 10))
    for row, some in enumerate(images):
        np.add.at(counts[part[row]], some, 1)
    assert np.abs(counts - counts.mean(axis=0)).max() <= 3  # of 50 or more; by chance it would be 20


def test_groups_keep_sizes_exact_where_that_can_be() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(5, 40, 40)
    images = [rng.integers(0, LABELS, 3).tolist() for _ in range(lengths.sum())]
    groups = np.split(np.arange(len(images)), np.cumsum(lengths)[:-1])
    units, unit = units_of(dataset_of(images), groups)
    sizes = np.array([len(images) - 150, 75, 75])
    assert np.bincount(divide(units, sizes, np.random.default_rng(0))[unit]).tolist() == sizes.tolist()
