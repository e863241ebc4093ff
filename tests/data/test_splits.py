from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tests.strategies import datasets, few
from vocdet.data.dataset import Dataset
from vocdet.data.splits import FrozenSplits, apart, disjoint, separate, within


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_trainval_is_not_separate_from_train_and_val() -> None:
    splits = {"trainval": rows(0, 1), "val": rows(1), "test": rows(2), "train": rows(0)}
    assert list(separate(splits)) == ["train", "val", "test"]
    assert list(separate({"test": rows(2), "trainval": rows(0, 1)})) == ["test", "trainval"]


def test_every_image_is_in_the_group_of_the_first_split_that_has_it() -> None:
    splits = {"trainval": rows(0, 1, 2), "train": rows(2, 0), "test": rows(2, 4)}
    assert [group.tolist() for group in disjoint(splits, 6)] == [[0, 2], [4], [1], [3, 5]]
    assert [group.tolist() for group in disjoint({}, 2)] == [[0, 1]]


def test_parts_of_a_subset_keep_their_order() -> None:
    splits = {"train": rows(4, 0, 2), "test": rows(3)}
    moved = within(splits, rows(2, 4), 5)
    assert {name: some.tolist() for name, some in moved.items()} == {"train": [1, 0], "test": []}


@pytest.mark.parametrize("images", [0, 3])
def test_no_splits_remain_no_splits(images: int) -> None:
    assert within({}, rows(), images) == {}


def test_rows_keep_their_order_and_occur_once() -> None:
    given = np.array([4, 0, 4, 2, 0])
    splits = FrozenSplits({"train": given, "val": [3], "test": []})
    given[0] = 1
    assert {name: some.tolist() for name, some in splits.items()} == {"train": [4, 0, 2], "val": [3], "test": []}
    assert all(some.dtype == np.int64 and not some.flags.writeable for some in splits.values())


@few
@given(datasets())
def test_disjoint_groups_hold_every_image_once(dataset: Dataset) -> None:
    groups = disjoint(dataset.splits, len(dataset))
    assert sorted(row for group in groups for row in group.tolist()) == list(range(len(dataset)))
    assert all(group.tolist() == sorted(group.tolist()) for group in groups)


@few
@given(datasets())
def test_splits_that_are_apart_share_no_image(dataset: Dataset) -> None:
    divided, twice = apart(dataset.splits, len(dataset))
    held = [row for some in divided.values() for row in some.tolist()]
    assert sorted(held) == list(range(len(dataset)))
    in_several = sum(len(dataset.splits[name]) for name in divided if name != "rest")
    assert twice == in_several - sum(len(some) for name, some in divided.items() if name != "rest")
