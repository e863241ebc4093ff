from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.formats.voc_tree import read

MakeVoc = Callable[..., Path]


@pytest.fixture
def dataset(make_voc: MakeVoc) -> Dataset:
    dog, cat = ("dog", (1, 2, 30, 40)), ("cat", (5, 5, 50, 50))
    return read(make_voc({"a": [dog], "b": [], "c": [cat, dog]})).dataset


def test_a_scene_is_one_image_with_its_objects(dataset: Dataset) -> None:
    scene = dataset[-1]
    assert (scene.stem, scene.path.name, scene.width, scene.height) == ("c", "c.jpg", 100, 80)
    assert scene.objects.box.tolist() == [[5, 5, 50, 50], [1, 2, 30, 40]]
    assert [len(scene.objects) for scene in dataset] == [1, 0, 2]
    with pytest.raises(IndexError):
        dataset[3]


def test_a_subset_keeps_labels_and_the_order_asked_for(dataset: Dataset) -> None:
    part = dataset.subset([2, 0])
    assert part.images.stems == ("c", "a")
    assert part.labels == ("cat", "dog")
    assert part.objects.image.tolist() == [0, 0, 1]
    assert part.objects.label.tolist() == [0, 1, 1]
    assert len(dataset.subset([]).objects) == len(dataset.subset([1]).objects) == 0


def test_nothing_can_be_changed(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        dataset.objects.box[0, 0] = 7
    with pytest.raises(AttributeError):
        dataset.labels = ()  # type: ignore[misc]


def test_the_fingerprint_is_of_content(dataset: Dataset) -> None:
    assert dataset.fingerprint() == dataset.subset([0, 1, 2]).fingerprint()
    assert dataset.fingerprint() != dataset.subset([0, 1]).fingerprint()
    assert dataset.fingerprint() != dataset.select_objects([0, 1]).fingerprint()


@pytest.mark.parametrize(
    ("image", "label", "box", "problem"),
    [
        ([1], [0], [[0, 0, 1, 1]], "an index of 1 in a table of 1 rows"),
        ([0], [2], [[0, 0, 1, 1]], "an index of 2 in a table of 1 rows"),
        ([0], [-1], [[0, 0, 1, 1]], "an index of -1"),
        ([0], [0], [[0, 0, np.nan, 1]], "a box is not finite"),
        ([0], [0], [[0, 0, 1, 1], [0, 0, 1, 1]], "columns of"),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    image: list[int], label: list[int], box: list[list[float]], problem: str
) -> None:
    none = np.zeros(len(image), np.bool_)
    with pytest.raises(ValueError, match=problem):
        Dataset(
            Path(),
            ("dog",),
            Images(("a",), ("a.jpg",), np.array([9], np.int32), np.array([9], np.int32), ("",)),
            Objects(np.array(image, np.int32), np.array(label, np.int32), np.array(box, np.float64), none,
                    none, none, none, np.zeros(len(image), np.int32)),
        )  # fmt: skip
