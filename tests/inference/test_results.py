"""Detections in a file: COCO's results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import examples
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.detections import Detections
from vocdet.inference.results import write_coco_results


def dataset(stems: tuple[str, ...] = ("a", "b"), labels: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    size = np.full(len(stems), 100, np.int32)
    images = Images(stems, tuple(f"JPEGImages/{stem}.jpg" for stem in stems), size, size, ("",) * len(stems))
    none, off = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    return Dataset(Path("/nowhere"), labels, images, Objects(none, none, np.zeros((0, 4)), off, off, off, off, none))


def found(*rows: tuple[int, float, tuple[float, float, float, float]]) -> Detections:
    """Detections of (label, score, box)."""
    return Detections(
        np.array([box for _, _, box in rows]),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for label, _, _ in rows], np.int64),
    )


def test_an_entry_a_line_with_ids_from_1(tmp_path: Path) -> None:
    path = tmp_path / "out" / "results.json"
    write_coco_results(path, dataset(), [found(), found((1, 0.9, (10, 20, 40, 60)), (0, 0.25, (0, 0, 1.5, 2)))])
    assert path.read_text() == (
        '[\n{"image_id":2,"category_id":2,"bbox":[10.0,20.0,30.0,40.0],"score":0.9},\n'
        '{"image_id":2,"category_id":1,"bbox":[0.0,0.0,1.5,2.0],"score":0.25}\n]\n'
    )


def test_no_detections_are_an_empty_list(tmp_path: Path) -> None:
    write_coco_results(tmp_path / "r.json", dataset(), [found(), found()])
    assert json.loads((tmp_path / "r.json").read_text()) == []


def test_images_that_are_no_dataset_carry_their_names(tmp_path: Path) -> None:
    write_coco_results(tmp_path / "r.json", ["снимок 1.png", "b.png"], [found((0, 0.5, (0, 0, 1, 1))), found()])
    (entry,) = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert entry == {"image_id": 1, "file_name": "снимок 1.png", "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}


def test_ids_of_another_coco_file(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    rows = [found((1, 0.5, (0, 0, 1, 1))), found((0, 0.5, (0, 0, 1, 1)))]
    write_coco_results(path, dataset(), rows, image_ids=[700, 0])
    entries = json.loads(path.read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in entries] == [(700, 2), (0, 1)]


coordinate = st.floats(0, 2000, width=32).map(lambda value: round(value * 64) / 64)
single = st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=examples(60))
@given(
    rows=st.lists(
        st.lists(st.tuples(st.integers(0, 1), single, st.tuples(*[coordinate] * 4)), max_size=5), min_size=2, max_size=2
    )
)
def test_reading_gives_back_what_was_written(
    module_tmp_path: Path,
    rows: list[list[tuple[int, float, tuple[float, float, float, float]]]],
) -> None:
    path = module_tmp_path / "r.json"
    tidy = [
        sorted(
            ((label, score, (min(a, c), min(b, d), max(a, c), max(b, d))) for label, score, (a, b, c, d) in image),
            key=lambda row: -row[1],
        )
        for image in rows
    ]
    written = [found(*image) for image in tidy]
    write_coco_results(path, dataset(), written)
    entries = json.loads(path.read_text())
    for row, before in enumerate(written, 1):
        mine = [entry for entry in entries if entry["image_id"] == row]
        corners = np.array([entry["bbox"] for entry in mine]).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        assert np.array_equal(before.boxes.reshape(-1, 4), corners)
        assert np.array_equal(before.scores, np.array([entry["score"] for entry in mine], np.float32))
        assert [label + 1 for label in before.labels.tolist()] == [entry["category_id"] for entry in mine]


def test_numbers_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not finite"):
        write_coco_results(tmp_path / "r.json", dataset(), [found((0, float("nan"), (0, 0, 1, 1))), found()])
    assert list(tmp_path.iterdir()) == []


def test_detections_of_another_number_of_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="detections of 1 images for 2"):
        write_coco_results(tmp_path / "r.json", dataset(), [found()])
