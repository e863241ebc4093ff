"""YOLO for segmentation: every object becomes one polygon, in fractions of its image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from tests.conftest import save_image
from vocdet import masks
from vocdet.formats import registry
from vocdet.formats.scan import Source
from vocdet.workflows.convert import ConvertReport, convert

TRIANGLE = [[10, 20, 50, 20, 30, 60]]
SIZE = (100, 80)


def a_coco_folder(root: Path, *segmentations: object, box: tuple[float, ...] = (10, 20, 40, 40)) -> Path:
    """One image of 100×80 pixels with an object for each segmentation; None is an object without a mask."""
    (root / "images").mkdir(parents=True)
    save_image(root / "images" / "a.jpg", SIZE)
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": list(box)} | ({} if one is None else {"segmentation": one})
        for i, one in enumerate(segmentations, 1)
    ]
    whole = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cup"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_text(json.dumps(whole))
    return root


def written(tmp_path: Path, *segmentations: object) -> tuple[ConvertReport, list[list[float]], NDArray[np.bool_]]:
    """The report, the rows of the label file, and the pixels of the first mask that is read again."""
    source = a_coco_folder(tmp_path / "coco", *segmentations)
    report = convert(Source(source), tmp_path / "yolo", to="yolo-seg")
    rows = [list(map(float, row.split())) for row in (tmp_path / "yolo/labels/a.txt").read_text().splitlines()]
    again = registry.read(Source(tmp_path / "yolo")).dataset
    return report, rows, masks.pixels(masks.parse(again.objects.segmentation[0]), 80, 100)


def losses(report: ConvertReport) -> dict[str, int]:
    return {loss.what: loss.count for loss in report.written.losses}


def test_a_polygon_is_written_as_fractions_and_read_again(tmp_path: Path) -> None:
    report, rows, mask = written(tmp_path, TRIANGLE)
    assert rows == [[0, 0.1, 0.25, 0.5, 0.25, 0.3, 0.75]]
    assert losses(report) == {}
    assert np.array_equal(mask, masks.pixels([[float(number) for number in TRIANGLE[0]]], 80, 100))
    assert yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())["names"] == {0: "cup"}


def test_an_rle_is_traced_to_the_pixel(tmp_path: Path) -> None:
    ring = np.zeros((80, 100), np.bool_)
    ring[20:60, 10:50] = True
    ring[30:40, 20:30] = False  # a hole
    report, _, mask = written(tmp_path, json.loads(masks.rle_json(ring)))
    assert np.array_equal(mask, ring)
    assert losses(report) == {"masks of pixels": 1}


def test_several_polygons_become_one(tmp_path: Path) -> None:
    two = [[10, 20, 20, 20, 20, 60, 10, 60], [30, 20, 50, 20, 50, 60, 30, 60]]
    report, rows, mask = written(tmp_path, two)
    assert len(rows) == 1
    assert mask.sum() == 10 * 40 + 20 * 40
    assert losses(report) == {"masks of several polygons": 1}


def test_a_box_among_polygons_becomes_a_rectangle(tmp_path: Path) -> None:
    report, rows, _ = written(tmp_path, TRIANGLE, None)
    assert rows[1] == [0, 0.1, 0.25, 0.5, 0.25, 0.5, 0.75, 0.1, 0.75]
    assert losses(report) == {"objects without a mask": 1}


def test_points_outside_the_image_are_cut_off(tmp_path: Path) -> None:
    report, rows, mask = written(tmp_path, [[-20, 0, 20, 0, 20, 80, -20, 80]])
    assert all(0 <= number <= 1 for number in rows[0][1:])
    assert mask.sum() == 20 * 80
    assert losses(report)["masks and boxes clipped to their images"] == 1


def test_boxes_other_than_the_bounds_of_their_masks_are_reported(tmp_path: Path) -> None:
    source = a_coco_folder(tmp_path / "coco", TRIANGLE, box=(0, 0, 99, 79))
    report = convert(Source(source), tmp_path / "yolo", to="yolo-seg")
    assert losses(report)["boxes other than the bounds of their masks"] == 1


def test_yolo_names_the_format_that_holds_masks(tmp_path: Path) -> None:
    report = convert(Source(a_coco_folder(tmp_path / "coco", TRIANGLE)), tmp_path / "yolo", to="yolo")
    (loss,) = [loss for loss in report.written.losses if loss.what == "masks"]
    assert "yolo-seg" in loss.why


@pytest.mark.parametrize("to", ["yolo", "yolo-seg"])
def test_both_are_recognized_as_yolo(tmp_path: Path, to: str) -> None:
    convert(Source(a_coco_folder(tmp_path / "coco", TRIANGLE)), tmp_path / "new", to=to)  # type: ignore[arg-type]
    assert registry.readings(tmp_path / "new")[0].format == "yolo"


def test_a_rotated_box_keeps_its_corners(tmp_path: Path) -> None:
    source = a_coco_folder(tmp_path / "coco", TRIANGLE, None)
    path = source / "annotations" / "instances.json"
    whole = json.loads(path.read_text())
    whole["annotations"][1] |= {"angle": 45.0, "corners": [30, 20, 50, 40, 30, 60, 10, 40]}
    path.write_text(json.dumps(whole))
    convert(Source(source), tmp_path / "yolo", to="yolo-seg")
    rows = (tmp_path / "yolo/labels/a.txt").read_text().splitlines()
    assert list(map(float, rows[1].split())) == [0, 0.3, 0.25, 0.5, 0.5, 0.3, 0.75, 0.1, 0.5]
