from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from tests.conftest import save_image
from vocdet import masks
from vocdet.data.crowds import crowd_findings, pieces
from vocdet.formats import registry
from vocdet.formats.scan import Source

SIDE = 100


def annotation(number: int, box: tuple[int, int, int, int], *, crowd: bool, pieces: int = 1) -> dict[str, Any]:
    """An object with an RLE that fills its box, or so many bars of it."""
    x, y, w, h = box
    pixels = np.zeros((SIDE, SIDE), np.uint8, order="F")
    for i in range(pieces):
        pixels[y : y + h, x + i * w // pieces : x + (i + 1) * w // pieces - (pieces > 1)] = 1
    rle = coco.encode(pixels)
    mask = {"size": [SIDE, SIDE], "counts": rle["counts"].decode()}
    return {"id": number, "image_id": 1, "category_id": 1, "bbox": list(box), "iscrowd": int(crowd),
            "segmentation": mask, "area": int(pixels.sum())}  # fmt: skip


def coco_folder(root: Path, annotations: list[dict[str, Any]]) -> Path:
    save_image(root / "a.jpg", (SIDE, SIDE))
    images = [{"id": 1, "file_name": "a.jpg", "width": SIDE, "height": SIDE}]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "leaf"}]}
    (root / "instances.json").write_text(json.dumps(content))
    return root


def found_codes(root: Path) -> list[tuple[str, int]]:
    dataset = registry.scan(Source(root)).dataset
    return [(finding.code, finding.count) for finding in crowd_findings(dataset)]


def objects(count: int) -> list[dict[str, Any]]:
    return [annotation(i, (i % 80, 5, 10, 10), crowd=False) for i in range(1, count + 1)]


def test_a_few_large_crowds_are_what_coco_means_by_them(tmp_path: Path) -> None:
    crowds = [annotation(900 + i, (0, 0, 90, 90), crowd=True, pieces=4) for i in range(4)]
    assert found_codes(coco_folder(tmp_path, [*objects(96), *crowds])) == []


def test_many_crowds_are_a_finding_however_they_look(tmp_path: Path) -> None:
    crowds = [annotation(900 + i, (0, 0, 90, 90), crowd=True, pieces=4) for i in range(6)]
    assert found_codes(coco_folder(tmp_path, [*objects(94), *crowds])) == [("crowd.many", 6)]


def test_crowds_with_the_mask_of_one_object_are_a_finding_however_few(tmp_path: Path) -> None:
    crowds = [annotation(900 + i, (20 * i, 50, 12, 12), crowd=True) for i in range(4)]
    assert found_codes(coco_folder(tmp_path, [*objects(96), *crowds])) == [("crowd.single", 4)]


def test_one_crowd_among_many_objects_is_no_finding(tmp_path: Path) -> None:
    assert found_codes(coco_folder(tmp_path, [*objects(50), annotation(900, (0, 0, 12, 12), crowd=True)])) == []


def test_a_finding_names_the_argument_that_reads_crowds_as_objects(tmp_path: Path) -> None:
    root = coco_folder(tmp_path, [annotation(1, (5, 5, 20, 20), crowd=True)])
    (finding,) = crowd_findings(registry.scan(Source(root)).dataset)
    assert finding.problem == "the only object is a crowd (iscrowd 1)"
    assert '`crowds="objects"`' in finding.hint


@pytest.mark.parametrize("crowds", ["ignore", "objects"])
def test_crowds_are_regions_or_objects(tmp_path: Path, crowds: Any) -> None:
    root = coco_folder(tmp_path, [*objects(3), annotation(9, (5, 5, 20, 20), crowd=True)])
    found = registry.scan(Source(root, crowds=crowds)).dataset
    assert len(found.objects) == 4
    assert int(found.objects.crowd.sum()) == (1 if crowds == "ignore" else 0)
    assert crowd_findings(found) == [] if crowds == "objects" else crowd_findings(found)


def test_the_crowds_of_voc_files_are_objects_on_request(tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", (SIDE, SIDE))
    (tmp_path / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>100</width><height>100</height><depth>3</depth></size>"
        "<object><name>leaf</name><crowd>1</crowd><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"
        "</bndbox></object></annotation>"
    )
    assert registry.scan(Source(tmp_path)).dataset.objects.crowd.tolist() == [True]
    assert registry.scan(Source(tmp_path, crowds="objects")).dataset.objects.crowd.tolist() == [False]


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)))
def test_pieces_of_a_mask_are_those_of_opencv(pixels: NDArray[np.uint8]) -> None:
    text = json.dumps({"size": pixels.shape, "counts": coco.encode(np.asfortranarray(pixels))["counts"].decode()})
    rle = masks.parse(text.encode())
    assert isinstance(rle, masks.Rle)
    assert pieces(rle) == cv2.connectedComponents(pixels)[0] - 1  # the background is one


def test_runs_without_pixels_do_not_divide_a_piece() -> None:
    assert pieces(masks.Rle(4, 3, (1, 1, 0, 2, 4, 1, 3))) == 2
    assert pieces(masks.Rle(4, 3, (12,))) == 0
