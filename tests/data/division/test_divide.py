from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import examples
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.division.divide import fold_rows, objects_of_splits, split, split_sizes
from vocdet.data.splits import Rows
from vocdet.errors import SplitError
from vocdet.formats.voc.read import read


def dataset_of(labels_of_images: list[list[int]], labels: int = 4) -> Dataset:
    """A dataset in memory: the labels of each image's objects."""
    n, m = len(labels_of_images), sum(map(len, labels_of_images))
    stems = tuple(f"{i:05}" for i in range(n))
    none, size = np.zeros(m, np.bool_), np.full(n, 9, np.int32)
    return Dataset(
        Path(),
        tuple(f"label{i}" for i in range(labels)),
        Images(stems, stems, size, size, stems),
        Objects(
            np.repeat(np.arange(n, dtype=np.int32), [len(some) for some in labels_of_images]),
            np.array([label for some in labels_of_images for label in some], np.int32),
            np.tile(np.array([[0.0, 0, 9, 9]]), (m, 1)),
            none, none, none, none, np.zeros(m, np.int32),
        ),
    )  # fmt: skip


scenes = st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=3, max_size=60)


@pytest.mark.parametrize(
    ("count", "trainval", "train", "sizes"),
    [
        (100, 0.9, 0.9, (81, 9, 10)),
        (364, 0.9, 0.9, (295, 33, 36)),  # 327.6 -> 328, 295.2 -> 295
        (5, 0.9, 0.9, (3, 1, 1)),  # 4.5 would be 5 and leave no test
        (3, 0.9, 0.9, (1, 1, 1)),
        (10, 1.0, 0.9, (9, 1, 0)),
        (10, 0.9, 1.0, (9, 0, 1)),
        (10, 1.0, 1.0, (10, 0, 0)),
        (1, 1.0, 1.0, (1, 0, 0)),
        (10, 0.01, 0.01, (1, 1, 8)),
        (10, 0.25, 1.0, (3, 0, 7)),  # 2.5 is rounded up
    ],
)
def test_sizes_are_rounded_and_no_requested_split_is_empty(
    count: int, trainval: float, train: float, sizes: tuple[int, int, int]
) -> None:
    assert split_sizes(count, trainval, train) == sizes


@pytest.mark.parametrize(
    ("count", "trainval", "train", "problem"),
    [
        (1, 0.9, 0.9, "1 image cannot be divided into train and val and test"),
        (2, 0.9, 0.9, "2 images cannot be divided into train and val and test"),
        (1, 1.0, 0.5, "1 image cannot be divided into train and val"),
        (9, 0.0, 0.9, "shares of 0 for trainval and 0.9 for train leave nothing to train on"),
        (9, 0.9, 0.0, "shares of 0.9 for trainval and 0 for train leave nothing to train on"),
    ],
)
def test_what_cannot_be_divided_says_so(count: int, trainval: float, train: float, problem: str) -> None:
    with pytest.raises(SplitError) as caught:
        split_sizes(count, trainval, train)
    assert caught.value.problem == problem
    assert caught.value.hint


@given(scenes, st.integers(0, 5), st.floats(0.05, 1), st.floats(0.05, 1))
def test_every_image_is_in_one_split_of_the_requested_size(
    images: list[list[int]], seed: int, trainval: float, train: float
) -> None:
    made = split(dataset_of(images), trainval=trainval, train=train, seed=seed)
    sizes = split_sizes(len(images), trainval, train)
    assert (len(made.train), len(made.val), len(made.test)) == sizes
    assert sorted([*made.train, *made.val, *made.test]) == list(range(len(images)))
    assert made.splits["trainval"].tolist() == sorted([*made.train, *made.val])
    assert made.moved == 0


@given(scenes, st.integers(0, 5))
@settings(max_examples=25)
def test_the_same_seed_gives_the_same_split(images: list[list[int]], seed: int) -> None:
    one, other = (split(dataset_of(images), seed=seed) for _ in range(2))
    assert all(np.array_equal(one.splits[name], other.splits[name]) for name in one.splits)


def test_another_seed_gives_another_split() -> None:
    images = [[i % 4] for i in range(60)]
    assert split(dataset_of(images), seed=0).test.tolist() != split(dataset_of(images), seed=1).test.tolist()


@given(scenes, st.data())
def test_groups_stay_together(images: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.permutations(range(len(images))))
    cut = data.draw(st.integers(1, len(rows)))
    groups = [rows[:cut], rows[cut : cut + 2]]
    made = split(dataset_of(images), together=groups)
    split_of = {int(row): name for name in ("train", "val", "test") for row in made.splits[name]}
    assert len(split_of) == len(images)
    assert all(len({split_of[row] for row in group}) <= 1 for group in groups)
    sizes = split_sizes(len(images), 0.9, 0.9)
    assert made.moved == sum(
        max(0, len(made.splits[n]) - size) for n, size in zip(("train", "val", "test"), sizes, strict=True)
    )


def test_groups_that_fit_leave_the_sizes_as_they_are() -> None:
    made = split(dataset_of([[0]] * 100), together=[[0, 1], [2, 3, 4]])
    assert ([len(made.train), len(made.val), len(made.test)], made.moved) == ([81, 9, 10], 0)


def test_objects_of_every_label_are_shared_out_not_only_images() -> None:
    # 40 images hold one object of label 0 each, 10 hold nine: by images alone, test could get 4 to 36 objects.
    images = [[0]] * 40 + [[0] * 9] * 10
    made = split(dataset_of(images), trainval=0.8, train=0.75)
    assert [sum(len(images[row]) for row in rows) for rows in (made.train, made.val, made.test)] == [78, 26, 26]


def test_images_without_objects_are_shared_out_too() -> None:
    made = split(dataset_of([[]] * 50 + [[0]] * 50), trainval=0.8, train=0.75)
    assert [int((rows < 50).sum()) for rows in (made.train, made.val, made.test)] == [30, 10, 10]


def test_a_rare_label_goes_to_train() -> None:
    made = split(dataset_of([[0]] * 97 + [[1]] * 3))
    assert int((made.train >= 97).sum()) >= 2


@pytest.mark.parametrize("name", ["bccd", "ecustfd", "foda", "microcontrollers"])
def test_real_labels_are_within_an_object_of_their_share(shared: Path, name: str) -> None:
    dataset = read(shared / "data" / name).dataset
    counts = np.zeros((len(dataset), len(dataset.labels)))
    np.add.at(counts, (dataset.objects.image, dataset.objects.label), 1)
    made = split(dataset)
    for rows in (made.train, made.val, made.test):
        fair = counts.sum(axis=0) * len(rows) / len(dataset)
        assert np.abs(counts[rows].sum(axis=0) - fair).max() <= 1.01


def share_error(dataset: Dataset, splits: list[Rows], sizes: tuple[int, ...]) -> float:
    """Mean over labels and parts of how far a label's share of objects is from the part's share of images."""
    total = np.bincount(dataset.objects.label, minlength=len(dataset.labels))
    shares = [np.bincount(dataset.objects.label[np.isin(dataset.objects.image, rows)], minlength=len(total)) / total
              for rows in splits]  # fmt: skip
    return float(np.mean([np.abs(share - size / sum(sizes)) for share, size in zip(shares, sizes, strict=True)]))


def crowded(count: int, labels: int) -> Dataset:
    """Images with six objects on average, of labels that are common and rare, some together more often."""
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, labels + 1)
    images = []
    for _ in range(count):
        main = rng.choice(labels, p=chance / chance.sum())
        some = rng.choice(labels, rng.geometric(1 / 7) - 1, p=chance / chance.sum())
        images.append([int(main) if rng.random() < 0.5 else int(label) for label in some])
    return dataset_of(images, labels)


def test_labels_have_their_share_to_a_thousandth() -> None:
    dataset, sizes = crowded(5000, 20), (4050, 450, 500)
    made, by_chance = split(dataset), split(dataset, stratify=False)
    assert share_error(dataset, [made.train, made.val, made.test], sizes) <= 0.001
    assert share_error(dataset, [by_chance.train, by_chance.val, by_chance.test], sizes) > 0.005


def test_the_split_of_a_seed_is_the_same_everywhere_and_always() -> None:
    images = [[i % 3] * (i % 5) for i in range(24)]
    made = split(dataset_of(images), trainval=0.75, train=0.8, seed=3)
    assert made.val.tolist() == [0, 2, 12, 13]  # as of the first machine
    assert made.test.tolist() == [1, 8, 9, 10, 11, 19]


@given(scenes, st.integers(0, 3), st.booleans())
@settings(max_examples=examples(50))
def test_what_is_assigned_stays_when_images_are_added(images: list[list[int]], seed: int, stratify: bool) -> None:
    old = len(images) * 2 // 3
    if old < 3:
        return
    before = split(dataset_of(images[:old]), seed=seed).splits
    made = split(dataset_of(images), seed=seed + 1, stratify=stratify, assigned=before)
    for name in ("train", "val", "test"):
        assert np.isin(before[name], made.splits[name]).all()
    assert sorted([*made.train, *made.val, *made.test]) == list(range(len(images)))


def test_added_images_bring_sizes_and_labels_to_their_shares() -> None:
    # All of label 1 is in train so far: what is added of it has to go to val and test.
    images = [[0]] * 90 + [[1]] * 10 + [[0]] * 60 + [[1]] * 40
    before = {"train": np.arange(20, 100), "val": np.arange(10), "test": np.arange(10, 20)}
    made = split(dataset_of(images), trainval=0.8, train=0.75, assigned=before)
    assert [len(made.train), len(made.val), len(made.test)] == [120, 40, 40]
    assert [sum(images[row] == [1] for row in rows) for rows in (made.train, made.val, made.test)] == [30, 10, 10]


def test_added_images_follow_their_group() -> None:
    images = [[0]] * 40
    before = {"train": np.arange(16), "val": np.array([16, 17]), "test": np.array([18, 19])}
    groups = [[16, 20, 21, 22], [18, 30, 31], [0, 1, 18, 35], [24, 25, 26]]
    made = split(dataset_of(images), together=groups[:2], assigned=before)
    assert set(groups[0]) <= set(made.val)
    assert set(groups[1]) <= set(made.test)
    apart = split(dataset_of(images), together=groups[2:], assigned=before)
    assert {0, 1, 35} <= set(apart.train)  # where most of the group is; image 18 stays in test
    assert 18 in apart.test
    assert any(set(groups[3]) <= set(rows) for rows in (apart.train, apart.val, apart.test))


@given(scenes, st.integers(2, 5), st.booleans())
def test_every_image_is_in_one_fold_of_equal_size(images: list[list[int]], count: int, stratify: bool) -> None:
    images = images * 2
    folds = fold_rows(dataset_of(images), count, stratify=stratify)
    assert sorted(row for fold in folds for row in fold) == list(range(len(images)))
    assert max(map(len, folds)) - min(map(len, folds)) <= 1


def test_folds_share_labels_and_keep_groups() -> None:
    images = [[0]] * 50 + [[1, 1]] * 25
    folds = fold_rows(dataset_of(images), 5, together=[[0, 60, 61], [1, 2, 3, 4]])
    counts = [(sum(row < 50 for row in fold), sum(row >= 50 for row in fold)) for fold in folds]
    assert counts == [(10, 5)] * 5
    homes = {row: k for k, fold in enumerate(folds) for row in fold.tolist()}
    assert homes[0] == homes[60] == homes[61]
    assert homes[1] == homes[2] == homes[3] == homes[4]


def test_folds_that_are_there_grow() -> None:
    old = fold_rows(dataset_of([[0], [1]] * 20), 4)
    new = fold_rows(dataset_of([[0], [1]] * 30), 4, assigned=old)
    assert all(np.isin(before, after).all() for before, after in zip(old, new, strict=True))
    assert [len(fold) for fold in new] == [15] * 4


def test_fewer_things_than_folds_are_an_error() -> None:
    with pytest.raises(SplitError, match="3 images cannot be divided into 4 folds"):
        fold_rows(dataset_of([[0]] * 3), 4)
    with pytest.raises(SplitError, match="2 images and groups that stay together cannot be divided into 3 folds"):
        fold_rows(dataset_of([[0]] * 8), 3, together=[list(range(7))])


def test_objects_are_counted_in_overlapping_splits() -> None:
    dataset = dataset_of([[0, 0, 3], [], [1, 3], [3]])
    splits = [np.array([0, 1, 2]), np.array([2, 3]), np.array([1]), np.empty(0, np.int64)]
    assert objects_of_splits(dataset, splits).tolist() == [[2, 1, 0, 2], [0, 1, 0, 2], [0] * 4, [0] * 4]
