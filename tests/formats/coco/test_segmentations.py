from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.formats.coco.test_read import ANNOTATION, changed, coco_set, only
from vocdet.data.checks.masks import mask_findings
from vocdet.formats.coco.read import scan
from vocdet.formats.scan import Source

TRIANGLE = [10, 20, 50, 20, 50, 60]
TWO = [TRIANGLE, [12, 30, 14, 30, 14, 35]]


def points(polygon: list[int]) -> list[list[int]]:
    return [polygon[i : i + 2] for i in range(0, len(polygon), 2)]


@pytest.mark.parametrize(
    ("segmentation", "polygons", "problem"),
    [
        (TRIANGLE, [TRIANGLE], "is one flat list, read as polygons"),
        (points(TRIANGLE), [TRIANGLE], "is a list of points, read as polygons"),
        ([points(one) for one in TWO], TWO, "is lists of points, read as polygons"),
        ([list(map(str, one)) for one in TWO], TWO, "is numbers as texts, read as polygons"),
        (json.dumps(TWO), TWO, "is a text, read as polygons"),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_other_notations_of_polygons_are_read(
    tmp_path: Path, segmentation: object, polygons: object, problem: str, indent: int | None
) -> None:
    entries = [{**ANNOTATION, "id": i, "segmentation": segmentation} for i in range(3)]
    content = json.dumps(changed(annotations=entries), indent=indent).encode()
    found = scan(Source(coco_set(tmp_path, content)))
    assert [json.loads(text) for _, text in found.dataset.objects.segmentation.items()] == [polygons] * 3
    finding = only(found)
    assert (finding.severity, finding.code, finding.count) == ("warning", "coco.segmentation", 3)
    assert (finding.problem, finding.place.inside) == (problem, "annotations[0].segmentation")


@pytest.mark.parametrize("empty", ["", [], None, [[]], {}])
def test_an_empty_segmentation_is_none(tmp_path: Path, empty: object) -> None:
    entries = [{**ANNOTATION, "segmentation": empty}]
    found = scan(Source(coco_set(tmp_path, changed(annotations=entries))))
    assert len(found.dataset.objects.segmentation.rows) == 0
    assert found.findings == ()


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([1, 2, 3, 4], "segmentation: [0] is a whole number, not a list"),
        ("polygon", "it is a text, not a list"),
        ([[1, 2, 3]], "polygon 0 has 3 numbers, which do not form pairs of x and y"),
        ({"size": [80, 100]}, "it has no 'counts'"),
    ],
)
def test_a_segmentation_without_a_certain_meaning_is_an_error_in_plain_words(
    tmp_path: Path, segmentation: object, problem: str
) -> None:
    entries = [{**ANNOTATION, "segmentation": segmentation}]
    found = scan(Source(coco_set(tmp_path, changed(annotations=entries))))
    (finding,) = mask_findings(found.dataset)
    assert problem.removeprefix("segmentation: ") in finding.problem
    assert "Expected" not in finding.problem


@pytest.mark.parametrize("bbox", [None, [], "", [None] * 4, [0, 0, 0, 0], {}, "missing"])
@pytest.mark.parametrize("segmentation", [[TRIANGLE], TRIANGLE, points(TRIANGLE)])
def test_a_missing_bbox_is_the_box_around_the_segmentation(tmp_path: Path, bbox: object, segmentation: object) -> None:
    entry = {**ANNOTATION, "segmentation": segmentation, "bbox": bbox}
    if bbox == "missing":
        del entry["bbox"]
    found = scan(Source(coco_set(tmp_path, changed(annotations=[entry]))))
    assert found.dataset.objects.box.tolist() == [[10, 20, 50, 60]]
    derived = next(finding for finding in found.findings if finding.code == "coco.bbox.derived")
    assert derived.problem.endswith("the box around the segmentation is used")


def test_a_missing_bbox_is_the_box_around_an_rle(tmp_path: Path) -> None:
    rle: dict[str, list[int]] = {"size": [80, 100], "counts": [10 * 80 + 20, 5, 75, 5, 80 * 88 + 55]}
    assert sum(rle["counts"]) == 80 * 100
    found = scan(Source(coco_set(tmp_path, changed(annotations=[{**ANNOTATION, "segmentation": rle, "bbox": []}]))))
    assert found.dataset.objects.box.tolist() == [[10, 20, 12, 25]]


@pytest.mark.parametrize("bbox", [["10", "20", "40", "40"], "10, 20, 40, 40", "[10 20 40 40]", [10, "20", 40, 40.0]])
def test_a_bbox_of_texts_is_read_with_a_warning(tmp_path: Path, bbox: object) -> None:
    found = scan(Source(coco_set(tmp_path, changed(annotations=[{**ANNOTATION, "bbox": bbox}]))))
    assert found.dataset.objects.box.tolist() == [[10, 20, 50, 60]]
    assert (only(found).severity, only(found).code) == ("warning", "coco.bbox.text")
