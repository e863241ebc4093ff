from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.splits import fold_rows, objects_of_parts, part_sizes, split
from vocdet.errors import SplitError
from vocdet.formats.voc_tree import read


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
def test_sizes_are_rounded_and_no_part_asked_for_is_empty(
    count: int, trainval: float, train: float, sizes: tuple[int, int, int]
) -> None:
    assert part_sizes(count, trainval, train) == sizes


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
        part_sizes(count, trainval, train)
    assert caught.value.problem == problem
    assert caught.value.hint


@given(scenes, st.integers(0, 5), st.floats(0.05, 1), st.floats(0.05, 1))
def test_every_image_is_in_one_part_of_the_size_asked_for(
    images: list[list[int]], seed: int, trainval: float, train: float
) -> None:
    made = split(dataset_of(images), trainval=trainval, train=train, seed=seed)
    sizes = part_sizes(len(images), trainval, train)
    assert (len(made.train), len(made.val), len(made.test)) == sizes
    assert sorted([*made.train, *made.val, *made.test]) == list(range(len(images)))
    assert made.parts["trainval"].tolist() == sorted([*made.train, *made.val])
    assert made.moved == 0


@given(scenes, st.integers(0, 5))
@settings(max_examples=25)
def test_the_same_seed_gives_the_same_split(images: list[list[int]], seed: int) -> None:
    one, other = (split(dataset_of(images), seed=seed) for _ in range(2))
    assert all(np.array_equal(one.parts[name], other.parts[name]) for name in one.parts)


def test_another_seed_gives_another_split() -> None:
    images = [[i % 4] for i in range(60)]
    assert split(dataset_of(images), seed=0).test.tolist() != split(dataset_of(images), seed=1).test.tolist()


@given(scenes, st.data())
def test_groups_stay_together(images: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.permutations(range(len(images))))
    cut = data.draw(st.integers(1, len(rows)))
    groups = [rows[:cut], rows[cut : cut + 2]]
    made = split(dataset_of(images), together=groups)
    part = {int(row): name for name in ("train", "val", "test") for row in made.parts[name]}
    assert len(part) == len(images)
    assert all(len({part[row] for row in group}) <= 1 for group in groups)
    sizes = part_sizes(len(images), 0.9, 0.9)
    assert made.moved == sum(
        max(0, len(made.parts[n]) - size) for n, size in zip(("train", "val", "test"), sizes, strict=True)
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


def test_a_rare_label_goes_where_it_can_teach() -> None:
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
