from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import datasets, few, plain
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.texts import Texts
from vocdet.formats.voc.read import read

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


def test_a_subset_keeps_labels_and_the_given_order(dataset: Dataset) -> None:
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


@pytest.fixture
def full() -> Dataset:
    """Two images and three objects that say something in every column."""
    images = Images(
        ("a", "b"), ("a.jpg", "b.jpg"), np.array([9, 8], np.int32), np.array([7, 6], np.int32), ("x.json", "x.json"),
        Texts.of([b'{"license":1}', b""]),
    )  # fmt: skip
    flags = [np.array(column, np.bool_) for column in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0])]
    objects = Objects(
        np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([[0, 1, 2, 3], [4, 5, 6, 7], [0.5, 1, 2, 3]], np.float64),
        flags[0], flags[1], flags[2], flags[3], np.array([1, 2, 3]), np.array([1, 0, 2]), np.array([1.5, np.nan, 3]),
        Texts.of([b"[[1,2,3,4,5,6]]", b"", b"[[6,5,4,3,2,1]]"]), Texts.of([b"", b'{"score":1}', b'{"score":2}']),
    )  # fmt: skip
    return Dataset(Path(), ("dog", "cat"), images, objects, ("", "Left", "Right"), b'{"info":{}}', "annotations")


def columns(objects: Objects) -> list[list[object]]:
    return [
        [objects.image[i], objects.label[i], *objects.box[i].tolist(), objects.difficult[i], objects.truncated[i],
         objects.occluded[i], objects.crowd[i], objects.line[i], objects.pose[i], str(objects.area[i]),
         objects.segmentation[i], objects.extra[i]]
        for i in range(len(objects))
    ]  # fmt: skip


def test_all_columns_follow_when_rows_are_chosen(full: Dataset) -> None:
    before = columns(full.objects)
    turned = full.subset([1, 0])
    assert columns(turned.objects) == [[0, *before[2][1:]], [1, *before[0][1:]], [1, *before[1][1:]]]
    assert [turned.images.extra[i] for i in range(2)] == [b"", b'{"license":1}']
    assert (turned.poses, turned.extra, turned.entries) == (full.poses, full.extra, full.entries)
    for rows in ([0, 2], np.array([True, False, True])):
        assert columns(full.select_objects(rows).objects) == [before[0], before[2]]
    assert columns(full[0].objects) == before[:2]


@few
@given(datasets(), st.data())
def test_a_subset_is_what_its_images_say(dataset: Dataset, data: st.DataObject) -> None:
    rows = data.draw(st.permutations(range(len(dataset))))[: data.draw(st.integers(0, len(dataset)))]
    subset = dataset.subset(rows)
    assert [one_image(subset, i) for i in range(len(rows))] == [one_image(dataset, row) for row in rows]
    assert [subset.images.extra[i] for i in range(len(rows))] == [dataset.images.extra[row] for row in rows]
    assert (subset.labels, subset.poses, subset.extra, subset.entries) == (
        dataset.labels, dataset.poses, dataset.extra, dataset.entries
    )  # fmt: skip
    assert {name: [rows[i] for i in some] for name, some in subset.splits.items()} == {
        name: [row for row in some.tolist() if row in rows] for name, some in dataset.splits.items()
    }


def one_image(dataset: Dataset, row: int) -> object:
    """Everything in a row of the image table, whatever the row."""
    objects = dataset[row].objects
    return plain(replace(dataset[row], objects=replace(objects, image=np.zeros(len(objects), np.int32))))


@few
@given(datasets())
def test_a_subset_of_all_images_is_the_dataset(dataset: Dataset) -> None:
    assert plain(dataset.subset(range(len(dataset)))) == plain(dataset)


@pytest.mark.parametrize("none", [[], np.empty(0, np.int64), np.zeros(3, np.bool_)])
def test_all_objects_may_be_left_out(full: Dataset, none: object) -> None:
    empty = full.select_objects(none)  # type: ignore[arg-type] # a list is an ArrayLike
    assert len(empty.objects) == len(empty.objects.segmentation) == len(empty.objects.extra) == 0
    assert len(empty) == 2
    assert empty.objects.box.shape == (0, 4)


def test_columns_that_are_not_given_say_nothing(dataset: Dataset) -> None:
    given = dataset.objects
    without_images = Objects(given.image, given.label, given.box, given.difficult, given.truncated, given.occluded, given.crowd,
                   given.line)  # fmt: skip
    assert not without_images.pose.any()
    assert np.isnan(without_images.area).all()
    assert [len(without_images.segmentation.rows), len(without_images.extra.rows)] == [0, 0]


def test_a_pose_that_is_not_in_the_list_is_refused(full: Dataset) -> None:
    with pytest.raises(ValueError, match="an index of 2 in a table of 2 rows"):
        replace(full, poses=("", "Left"))
    with pytest.raises(ValueError, match="a label is repeated in the list"):
        replace(full, labels=("dog", "dog"))


def test_tables_of_other_lengths_or_orders_are_refused(full: Dataset) -> None:
    with pytest.raises(ValueError, match="columns of"):
        replace(full.objects, extra=Texts.empty(2))
    with pytest.raises(ValueError, match="columns of"):
        replace(full.images, extra=Texts.empty(3))
    with pytest.raises(ValueError, match="objects are not in image order"):
        full.objects.take([2, 0])
    with pytest.raises(ValueError, match="two images have the same stem"):
        full.subset([0, 0])


def test_the_fingerprint_distinguishes_masks(full: Dataset) -> None:
    objects = full.objects
    other = replace(objects, segmentation=Texts.of([b"[[1,2,3,4,5,7]]", b"", b"[[6,5,4,3,2,1]]"]))
    moved = replace(objects, segmentation=Texts.of([b"[[1,2,3,4,5,6]]", b"[[6,5,4,3,2,1]]", b""]))
    prints = {replace(full, objects=one).fingerprint() for one in (objects, other, moved)}
    assert len(prints) == 3
