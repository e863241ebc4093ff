"""What is written as CSV is in TensorFlow's order, and reads as the same labels and boxes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given

from tests.formats.labelme.test_write import a_dataset
from tests.formats.test_round_trips import scratch
from tests.strategies import datasets, few
from vocdet.data.dataset import Dataset
from vocdet.data.mask_areas import mask_areas
from vocdet.formats.csv import read as csv_read
from vocdet.formats.csv import write as csv_write
from vocdet.formats.images.lookup import unique_stems
from vocdet.formats.scan import Source
from vocdet.formats.shared.shapes import is_near


def written(folder: Path, dataset: Dataset) -> dict[str, int]:
    folder.mkdir(exist_ok=True)
    areas = mask_areas(dataset.objects.segmentation).area
    losses = csv_write.write(folder, dataset, csv_write.image_targets(dataset), areas)
    return {loss.what: loss.count for loss in losses}


def test_rows_are_in_the_order_of_tensorflow(tmp_path: Path) -> None:
    dataset = replace(a_dataset([(10, 20, 50.5, 60)]), labels=("a, b",))
    assert written(tmp_path, dataset) == {}
    with (tmp_path / "annotations.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"filename": "a.jpg", "width": "100", "height": "80", "class": "a, b",
             "xmin": "10", "ymin": "20", "xmax": "50.5", "ymax": "60"}
        ]  # fmt: skip
    assert (tmp_path / "classes.csv").read_text() == '"a, b",0\n'


def test_an_image_without_objects_has_an_empty_row(tmp_path: Path) -> None:
    written(tmp_path, a_dataset([]))
    assert (tmp_path / "annotations.csv").read_text().splitlines()[1:] == ["a.jpg,100,80,,,,,"]


def test_splits_are_files(tmp_path: Path) -> None:
    both = {"train": np.array([0]), "trainval": np.array([0])}
    written(tmp_path, replace(a_dataset([(1, 2, 3, 4)]), splits=both))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.csv", "train.csv", "trainval.csv"]
    found = csv_read.scan(Source(tmp_path), without_images=True).dataset
    assert {name: rows.tolist() for name, rows in found.splits.items()} == {"train": [0], "trainval": [0]}


def test_what_csv_cannot_hold_is_counted(tmp_path: Path) -> None:
    dataset = a_dataset([(0, 0, 9, 9)], {0: b"[[0,0,9,0,9,9]]"}, {0: {"score": 0.5}}, difficult=[True], crowd=[True])
    assert written(tmp_path, dataset) == {"masks": 1, "difficult objects": 1, "crowds": 1, "score of objects": 1}


def content(dataset: Dataset) -> list[tuple[str, tuple[int, int], list[tuple[str, list[float]]]]]:
    return sorted(
        (one.stem, (one.width, one.height),
         [(dataset.labels[label], box) for label, box in zip(one.objects.label, one.objects.box.tolist(), strict=True)])
        for one in dataset
    )  # fmt: skip


@few
@given(datasets(splits="apart"))
def test_labels_boxes_and_splits_come_back(dataset: Dataset) -> None:
    if not len(dataset):
        return
    sizes = dataset[0].width, dataset[0].height
    keep = [is_near(box, sizes) for box in dataset.objects.box.tolist()]
    images = replace(dataset.images, widths=np.full(len(dataset), sizes[0]), heights=np.full(len(dataset), sizes[1]))
    stems = tuple(unique_stems(csv_write.image_targets(dataset)))  # of files, whatever their folders
    dataset = replace(dataset, images=replace(images, stems=stems)).select_objects(np.array(keep, np.bool_))
    with scratch() as folder:
        written(folder / "new", dataset)
        found = csv_read.scan(Source(folder / "new"), without_images=True)
        assert [finding for finding in found.findings if finding.severity == "error"] == []
        assert found.dataset.labels == dataset.labels
        assert content(found.dataset) == content(dataset)
        trainval = {"train", "val"} <= dataset.splits.keys()
        expected = {name: sorted(stems[row] for row in rows) for name, rows in dataset.splits.items() if len(rows)}
        back = {
            name: sorted(found.dataset.images.stems[row] for row in rows) for name, rows in found.dataset.splits.items()
        }
        if trainval:
            expected.pop("trainval", None)
            back.pop("trainval", None)
        assert back == expected
