"""One folder a label, as classifiers know it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocdet.errors import DatasetError, ImageError, ManyErrors
from vocdet.formats.image_folder import read_image_folder


def picture(path: Path, size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def test_every_image_is_one_object_as_large_as_itself(tmp_path: Path) -> None:
    picture(tmp_path / "dog" / "a.jpg", (20, 10))
    picture(tmp_path / "cat" / "deep" / "b.PNG", (30, 40))
    dataset = read_image_folder(tmp_path)
    splits = dataset.splits
    assert dataset.labels == ("cat", "dog")
    assert dataset.images.files == ("cat/deep/b.PNG", "dog/a.jpg")
    assert [(s.width, s.height, s.path.is_file()) for s in dataset] == [(30, 40, True), (20, 10, True)]
    assert dataset.objects.box.tolist() == [[0, 0, 30, 40], [0, 0, 20, 10]]
    assert dataset.objects.label.tolist() == [0, 1]
    assert {name: rows.tolist() for name, rows in splits.items()} == {"train": [0, 1], "val": []}


def test_a_tenth_of_every_label_is_for_validation_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for label, count in (("a", 40), ("b", 20), ("c", 3)):
        for i in range(count):
            picture(tmp_path / label / f"{i}.jpg")
    dataset = read_image_folder(tmp_path, seed=1)
    splits = dataset.splits
    assert np.bincount(dataset.objects.label[splits["val"]], minlength=3).tolist() == [4, 2, 0]
    assert sorted([*splits["train"], *splits["val"]]) == list(range(63))
    assert np.array_equal(read_image_folder(tmp_path, seed=1).splits["val"], splits["val"])
    assert not np.array_equal(read_image_folder(tmp_path, seed=2).splits["val"], splits["val"])


def test_a_folder_that_is_divided_stays_divided(tmp_path: Path) -> None:
    for name in ("train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "val/new/4.jpg", "test/a/5.jpg"):
        picture(tmp_path / name)
    dataset = read_image_folder(tmp_path)
    splits = dataset.splits
    assert dataset.labels == ("a", "b", "new")
    assert [dataset.images.files[i] for i in splits["train"]] == ["train/a/1.jpg", "train/b/2.jpg"]
    assert [dataset.images.files[i] for i in splits["val"]] == ["val/a/3.jpg", "val/new/4.jpg"]


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_val_may_have_the_name_that_other_programs_give_it(tmp_path: Path, name: str) -> None:
    for file in ("train/a/1.jpg", f"{name}/a/2.jpg", "test/a/3.jpg"):
        picture(tmp_path / file)
    dataset = read_image_folder(tmp_path)
    assert dataset.labels == ("a",)
    files = {split: [dataset.images.files[i] for i in rows] for split, rows in dataset.splits.items()}
    assert files == {"train": ["train/a/1.jpg"], "val": [f"{name}/a/2.jpg"]}


def test_train_alone_is_a_split_and_not_a_label(tmp_path: Path) -> None:
    for i in range(10):
        picture(tmp_path / "train" / "a" / f"{i}.jpg")
        picture(tmp_path / "test" / "a" / f"{i}.jpg")
    dataset = read_image_folder(tmp_path)
    splits = dataset.splits
    assert dataset.labels == ("a",)
    assert (len(splits["train"]), len(splits["val"])) == (9, 1)


def test_a_label_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train/1.jpg", "bus/2.jpg", "car/3.jpg"):
        picture(tmp_path / name)
    assert read_image_folder(tmp_path).labels == ("bus", "car", "train")


def test_hidden_folders_and_other_files_are_left_alone(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.jpg")
    picture(tmp_path / ".thumbnails" / "2.jpg")
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    assert read_image_folder(tmp_path).images.files == ("a/1.jpg",)


def test_what_is_no_folder_is_one_error(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    for name, problem in (("a.jpg", "is a file, not a folder"), ("b", "no such folder")):
        with pytest.raises(DatasetError, match=problem):
            read_image_folder(tmp_path / name)


@pytest.mark.parametrize("what", ["empty", "loose"])
def test_a_folder_without_labelled_images_is_one_error(tmp_path: Path, what: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    if what == "loose":
        picture(root / "a.jpg")
    with pytest.raises(DatasetError, match="has no folders with images") as caught:
        read_image_folder(root)
    assert caught.value.hint == "make a folder for every label, with its images in it"


def test_broken_images_are_reported_together(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "good.jpg")
    for name in ("b.jpg", "c.png"):
        (tmp_path / "a" / name).write_text("broken")
    with pytest.raises(ManyErrors) as caught:
        read_image_folder(tmp_path)
    assert all(isinstance(error, ImageError) for error in caught.value.errors)
    assert [error.place.path.name for error in caught.value.errors if error.place] == ["b.jpg", "c.png"]


def test_a_link_to_the_folder_itself_is_no_label(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "cat" / "a.png")
    (tmp_path / "again").symlink_to(tmp_path)
    assert read_image_folder(tmp_path).labels == ("cat",)
