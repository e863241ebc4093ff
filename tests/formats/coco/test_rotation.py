from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.coco.test_read import ANNOTATION, changed, coco_set, only
from vocdet.formats import registry
from vocdet.formats.coco.read import scan
from vocdet.formats.scan import Source
from vocdet.workflows.convert import WriteOptions, convert


def rotated(degrees: float, bbox: list[float], **keys: Any) -> dict[str, Any]:
    entry = {**ANNOTATION, "bbox": bbox, "segmentation": [], **keys}
    entry["attributes"] = {"occluded": False, "rotation": degrees}
    return changed(annotations=[entry])


@pytest.mark.parametrize(
    ("degrees", "box"),
    [
        (0, [40, 30, 60, 40]),
        (90, [45, 25, 55, 45]),  # 20 wide and 10 high, about (50, 35)
        (180, [40, 30, 60, 40]),
        (45, [50 - 15 / 2**0.5, 35 - 15 / 2**0.5, 50 + 15 / 2**0.5, 35 + 15 / 2**0.5]),
        (-90, [45, 25, 55, 45]),
    ],
)
def test_a_rotated_box_is_the_upright_box_around_it(tmp_path: Path, degrees: float, box: list[float]) -> None:
    found = scan(Source(coco_set(tmp_path, rotated(degrees, [40, 30, 20, 10]))))
    assert found.dataset.objects.box[0] == pytest.approx(box, abs=1e-5)
    assert [finding.code for finding in found.findings] == (["box.rotated"] if degrees else [])
    if degrees:
        extra = json.loads(found.dataset.objects.extra[0])
        assert extra["angle"] == degrees % 360
        assert len(extra["corners"]) == 8


def test_the_box_around_stays_in_the_image(tmp_path: Path) -> None:
    found = scan(Source(coco_set(tmp_path, rotated(30, [0, 0, 40, 30]))))
    xmin, ymin, xmax, ymax = found.dataset.objects.box[0]
    assert min(xmin, ymin) == 0
    assert xmax < 100
    assert ymax < 80


def test_a_rotated_box_is_written_as_it_was_read(tmp_path: Path) -> None:
    source = coco_set(tmp_path / "source", rotated(30, [0.5, 2, 40, 30.25], area=1210))
    convert(Source(source), tmp_path / "copy", "coco", WriteOptions("none"))
    (entry,) = json.loads((tmp_path / "copy" / "annotations" / "instances.json").read_text())["annotations"]
    assert entry["bbox"] == [0.5, 2, 40, 30.25]
    assert entry["attributes"] == {"occluded": False, "rotation": 30}
    assert not {"angle", "corners", "box"} & entry.keys()


def test_a_changed_box_is_written_upright_and_is_not_turned_again(tmp_path: Path) -> None:
    found = registry.scan(Source(coco_set(tmp_path / "source", rotated(30, [20, 20, 40, 30])))).dataset
    from dataclasses import replace

    from vocdet.formats.coco.write import write

    other = replace(found, objects=replace(found.objects, box=np.array([[10.0, 11, 50, 60]])))
    write(tmp_path / "copy", other, ["images/a.jpg", "images/b.jpg"], np.array([np.nan]))
    again = scan(Source(tmp_path / "copy"), without_images=True)
    assert again.dataset.objects.box.tolist() == [[10, 11, 50, 60]]


@pytest.mark.parametrize("rotation", ["30", None, True, float("nan"), [30], 0, 360])
def test_what_is_no_rotation_changes_no_box(tmp_path: Path, rotation: Any) -> None:
    found = scan(Source(coco_set(tmp_path, rotated(rotation, [40, 30, 20, 10]))))
    assert found.dataset.objects.box.tolist() == [[40, 30, 60, 40]]


def test_rotated_boxes_are_counted_in_one_finding(tmp_path: Path) -> None:
    content = rotated(30, [40, 30, 20, 10])
    content["annotations"] = [{**content["annotations"][0], "id": i} for i in range(3)]
    assert only(scan(Source(coco_set(tmp_path, content)))).problem.startswith("3 rotated boxes")
