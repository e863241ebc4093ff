"""Masks that look sound and cover nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import save_image
from vocdet.data.checks.masks import mask_findings
from vocdet.formats import registry
from vocdet.formats.scan import Source


def codes(root: Path, points: Any) -> list[str]:
    """The findings of the mask of one object with these points."""
    save_image(root / "a.jpg", (100, 80))
    shape = {"label": "dog", "shape_type": "polygon", "points": points}
    (root / "a.json").write_text(json.dumps({"imagePath": "a.jpg", "shapes": [shape]}))
    return [finding.code for finding in mask_findings(registry.scan(Source(root)).dataset)]


@pytest.mark.parametrize(
    "points",
    [
        [[10, 10], [50, 50], [30, 30]],  # on a line
        [[10, 10.2], [50, 11.4], [30, 10.81]],  # a sliver between pixel centers
        [[10, 10], [50, 50], [10, 10], [50, 50]],
    ],
)
def test_a_polygon_without_area_or_pixel_is_named(tmp_path: Path, points: Any) -> None:
    assert codes(tmp_path, points) == ["mask.empty"]


def test_a_small_polygon_with_a_pixel_is_sound(tmp_path: Path) -> None:
    assert codes(tmp_path, [[10, 10], [11.2, 10], [10, 11.2]]) == []


def test_a_thin_polygon_with_pixels_is_sound(tmp_path: Path) -> None:
    assert codes(tmp_path, [[10, 10], [50, 11], [50, 12], [10, 11]]) == []


def test_a_point_is_left_to_the_finding_of_its_box(tmp_path: Path) -> None:
    assert codes(tmp_path, [[10, 10], [10.2, 10.2], [10.1, 10.1]]) == []


def coco_codes(root: Path, segmentation: object) -> list[str]:
    save_image(root / "a.jpg", (60, 40))
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 9, 9], "segmentation": segmentation}],
        "categories": [{"id": 1, "name": "dog"}],
    }
    (root / "a.json").write_text(json.dumps(content))
    return [finding.code for finding in mask_findings(registry.scan(Source(root)).dataset)]


@pytest.mark.parametrize(
    "polygon",
    [
        [5, 5, 5, 5, 5, 5],  # a point
        [5.2, 5.2, 5.3, 5.2, 5.3, 5.3],  # between two pixels
        [70, 10, 90, 10, 90, 30],  # right of the image
        [-30, 10, -10, 10, -10, 30],  # left of it
        [10, 60, 30, 60, 30, 90],  # below it
    ],
)
def test_a_polygon_that_draws_no_pixel_is_found(tmp_path: Path, polygon: list[float]) -> None:
    assert coco_codes(tmp_path, [polygon]) == ["mask.empty"]


@pytest.mark.parametrize(
    "polygons",
    [
        [[5, 5, 14, 5, 14, 14, 5, 14]],
        [[5, 5, 7, 5, 7, 7, 5, 7]],  # 2×2 pixels
        [[70, 10, 90, 10, 90, 30], [5, 5, 14, 5, 14, 14]],  # one of two is in the image
        [[-30, 10, 10, 10, 10, 30]],  # partly in the image
    ],
)
def test_a_polygon_that_draws_a_pixel_is_no_finding(tmp_path: Path, polygons: list[list[float]]) -> None:
    assert coco_codes(tmp_path, polygons) == []
