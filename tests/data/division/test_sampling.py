from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import examples
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.division.sampling import sample, shared_out
from vocdet.formats.voc.read import read


def dataset_of(scenes: list[list[int]], labels: int = 4) -> Dataset:
    """A dataset in memory: the labels of each image's objects."""
    n, m = len(scenes), sum(map(len, scenes))
    stems = tuple(f"{i:05}" for i in range(n))
    no, side = np.zeros(m, np.bool_), np.full(n, 9, np.int32)
    objects = Objects(
        np.repeat(np.arange(n, dtype=np.int32), [len(scene) for scene in scenes]),
        np.array([label for scene in scenes for label in scene], np.int32), np.tile([[0.0, 0, 9, 9]], (m, 1)),
        no, no, no, no, np.zeros(m, np.int32),
    )  # fmt: skip
    return Dataset(Path(), tuple(f"label{i}" for i in range(labels)), Images(stems, stems, side, side, stems), objects)


def shown(scenes: list[list[int]], rows: np.ndarray) -> set[int]:
    return {label for row in rows for label in scenes[row]}


some_scenes = st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=40)


@given(some_scenes, st.data())
@settings(max_examples=examples(50))
def test_a_sample_has_the_requested_number_of_images(scenes: list[list[int]], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(scenes)))
    cut = data.draw(st.integers(0, len(scenes)))
    splits = {"train": np.arange(cut), "test": np.arange(cut, len(scenes))}
    made = sample(replace(dataset_of(scenes), splits=splits), count, seed=data.draw(st.integers(0, 3)))
    assert len(made.rows) == len(set(made.rows.tolist())) == count
    assert made.rows.tolist() == sorted(made.rows.tolist())
    assert shown(scenes, made.rows) | set(made.missing.tolist()) == shown(scenes, np.arange(len(scenes)))


def test_labels_and_images_without_objects_keep_their_shares() -> None:
    scenes = [[0, 0, 0]] * 100 + [[1]] * 200 + [[]] * 100
    rows = sample(dataset_of(scenes), 40).rows
    assert [int(((rows >= low) & (rows < high)).sum()) for low, high in ((0, 100), (100, 300), (300, 400))] == [
        10,
        20,
        10,
    ]


def test_parts_keep_their_shares_too() -> None:
    dataset = dataset_of([[i % 3] for i in range(100)])
    splits = {"train": np.arange(70), "val": np.arange(70, 80), "test": np.arange(80, 100), "trainval": np.arange(80)}
    rows = sample(replace(dataset, splits=splits), 30).rows
    assert [int(np.isin(splits[name], rows).sum()) for name in ("train", "val", "test")] == [21, 3, 6]


@pytest.mark.parametrize("seed", range(5))
def test_a_label_of_one_image_is_in_every_sample(seed: int) -> None:
    scenes = [[0]] * 99 + [[1]]
    made = sample(dataset_of(scenes), 5, seed=seed)
    assert (99 in made.rows, made.missing.tolist()) == (True, [])


def test_a_rare_label_does_not_push_another_out() -> None:
    scenes = [[0]] * 50 + [[1]] * 50 + [[2]]
    made = sample(dataset_of(scenes), 2)
    assert (len(shown(scenes, made.rows)), len(made.missing)) == (2, 1)


def test_the_image_swapped_for_a_rare_label_is_of_the_same_split() -> None:
    scenes = [[0]] * 50 + [[0]] * 49 + [[1]]
    splits = {"train": np.arange(50), "test": np.arange(50, 100)}
    rows = sample(replace(dataset_of(scenes), splits=splits), 10).rows
    assert (99 in rows, int((rows < 50).sum())) == (True, 5)


def test_the_same_seed_gives_the_same_sample_and_another_another() -> None:
    dataset = dataset_of([[i % 4] for i in range(80)])
    one, same, other = (sample(dataset, 20, seed=seed).rows.tolist() for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("count", [0, 4])
def test_a_sample_of_nothing_or_of_more_than_there_is_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} of 3 images"):
        sample(dataset_of([[0]] * 3), count)


@pytest.mark.parametrize(
    ("count", "sizes", "shares"),
    [
        (10, [70, 20, 10], [7, 2, 1]),
        (3, [50, 30, 20], [1, 1, 1]),
        (3, [60, 25, 15], [2, 1, 0]),
        (2, [1, 1, 1], [1, 1, 0]),
        (5, [3, 0, 2], [3, 0, 2]),
    ],
)
def test_what_is_shared_out_goes_to_the_largest_remainders(count: int, sizes: list[int], shares: list[int]) -> None:
    assert shared_out(count, sizes) == shares


@pytest.mark.parametrize("name", ["bccd", "ecustfd", "foda"])
def test_real_labels_keep_their_shares(shared: Path, name: str) -> None:
    dataset = read(shared / "data" / name).dataset
    made = sample(dataset, 100)
    count = len(dataset.labels)
    whole = np.bincount(dataset.objects.label, minlength=count)
    split = np.bincount(dataset.subset(made.rows).objects.label, minlength=count)
    assert np.abs(split - whole * 100 / len(dataset)).max() <= 2
    assert (split > 0).all()
