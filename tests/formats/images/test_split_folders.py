"""Splits by the names of folders, where neither a list nor the name of a file says otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import save_image
from vocdet.formats import registry
from vocdet.formats.images.lookup import folder_splits
from vocdet.formats.scan import Source

SIZE = (60, 40)
BOX = [10, 10, 20, 20]


def coco_file(root: Path, name: str, images: Sequence[str]) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    entries = [{"id": i, "file_name": one, "width": 60, "height": 40} for i, one in enumerate(images)]
    annotations = [{"id": i, "image_id": i, "category_id": 1, "bbox": BOX} for i in range(len(images))]
    content = {"images": entries, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
    (root / name).write_text(json.dumps(content))


def pictures(root: Path, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(root / name, SIZE, seed=i)


def splits_of(root: Path) -> dict[str, list[str]]:
    dataset = registry.scan(Source(root)).dataset
    return {name: [dataset.images.files[row] for row in rows] for name, rows in dataset.splits.items()}


def make_coco(root: Path, images: Sequence[str]) -> None:
    coco_file(root, "annotations/instances.json", images)


def make_yolo(root: Path, images: Sequence[str]) -> None:
    (root / "classes.txt").write_text("dog\n")
    for image in images:
        (root / image).with_suffix(".txt").write_text("0 0.5 0.5 0.2 0.2\n")


def make_labelme(root: Path, images: Sequence[str]) -> None:
    shape = {"label": "dog", "points": [[10, 10], [30, 30]], "shape_type": "rectangle"}
    for image in images:
        content = {"version": "5", "shapes": [shape], "imagePath": Path(image).name, "imageData": None,
                   "imageWidth": 60, "imageHeight": 40}  # fmt: skip
        (root / image).with_suffix(".json").write_text(json.dumps(content))


def make_voc(root: Path, images: Sequence[str]) -> None:
    for image in images:
        (root / image).with_suffix(".xml").write_text(
            f"<annotation><filename>{Path(image).name}</filename><size><width>60</width><height>40</height></size>"
            "<object><name>dog</name><bndbox><xmin>10</xmin><ymin>10</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>"
            "</object></annotation>"
        )


@pytest.mark.parametrize("make", [make_coco, make_yolo, make_labelme, make_voc])
def test_the_folders_of_images_are_their_splits_in_every_format(
    tmp_path: Path, make: Callable[[Path, Sequence[str]], None]
) -> None:
    images = ["train/1.jpg", "train/2.jpg", "valid/3.jpg", "test/4.jpg"]
    pictures(tmp_path, images)
    make(tmp_path, images)
    assert splits_of(tmp_path) == {"train": images[:2], "val": [images[2]], "test": [images[3]]}
    assert registry.scan(Source(tmp_path)).kind.endswith("; splits by the names of the folders")


def test_a_coco_file_without_a_split_in_its_name_gets_those_of_the_folders(tmp_path: Path) -> None:
    train, val = ["train/1.jpg", "train/2.jpg"], ["val/3.jpg"]
    pictures(tmp_path, [*train, *val])
    coco_file(tmp_path, "annotations/instances_default.json", train)
    coco_file(tmp_path, "annotations/val_instances_default.json", val)
    assert splits_of(tmp_path) == {"train": train, "val": val}


def test_folders_named_in_a_coco_file_count_where_the_images_lie_together(tmp_path: Path) -> None:
    pictures(tmp_path, ["images/1.jpg", "images/2.jpg"])
    coco_file(tmp_path, "instances.json", ["train/1.jpg", "val/2.jpg"])
    assert splits_of(tmp_path) == {"train": ["images/1.jpg"], "val": ["images/2.jpg"]}


def test_the_name_of_a_coco_file_overrules_the_folders(tmp_path: Path) -> None:
    pictures(tmp_path, ["train/1.jpg", "train/2.jpg"])
    coco_file(tmp_path, "annotations/instances_train.json", ["train/1.jpg"])
    coco_file(tmp_path, "annotations/instances_val.json", ["train/2.jpg"])
    assert splits_of(tmp_path) == {"train": ["train/1.jpg"], "val": ["train/2.jpg"]}


def test_split_files_overrule_the_folders(tmp_path: Path) -> None:
    pictures(tmp_path, ["train/1.jpg", "val/2.jpg"])
    make_voc(tmp_path, ["train/1.jpg", "val/2.jpg"])
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("2\n")
    assert splits_of(tmp_path) == {"train": ["val/2.jpg"]}
    assert "folders" not in registry.scan(Source(tmp_path)).kind


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["bus/1.jpg", "car/2.jpg", "train/3.jpg"], ["", "", ""]),
        (["train/1.jpg", "rest/2.jpg"], ["train", ""]),
        (["train/1.jpg", "val/2.jpg", "more/3.jpg", "other/4.jpg"], ["train", "val", "", ""]),
        (["images/train2017/1.jpg", "images/val2017/2.jpg"], ["train", "val"]),
        (["Training/1.jpg", "Validation/deep/2.jpg", "testing/3.jpg"], ["train", "val", "test"]),
        (["val/train/1.jpg"], ["train"]),
        (["1.jpg", "trained/2.jpg"], ["", ""]),
    ],
)
def test_one_folder_among_labels_is_no_split(files: list[str], splits: list[str]) -> None:
    assert folder_splits(files) == splits
