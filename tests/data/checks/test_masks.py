"""Masks that look sound and cover nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import save_image
from vocdet.data.checks.masks import mask_findings
from vocdet.formats import registry
from vocdet.formats.source import Source


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
