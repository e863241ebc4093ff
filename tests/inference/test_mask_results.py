"""Masks in COCO's results: what pycocotools reads."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.detections import Detections
from vocdet.data.texts import Texts
from vocdet.inference.results import write_coco_results

HEIGHT, WIDTH = 30, 40
BOX = [10, 5, 8, 20]  # x, y, width, height


def mask(box: list[int] = BOX) -> dict[str, Any]:
    """The compressed RLE of a filled box."""
    x, y, width, height = box
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[y : y + height, x : x + width] = 1
    encoded = coco.encode(pixels)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


@pytest.fixture
def images() -> Dataset:
    none, off = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    table = Images(("a", "b"), ("a.jpg", "b.jpg"), np.array([WIDTH, 9]), np.array([HEIGHT, 9]), ("", ""))
    return Dataset(Path("/nowhere"), ("cat",), table, Objects(none, none, np.zeros((0, 4)), off, off, off, off, none))


def detections(*texts: bytes) -> Detections:
    n = len(texts)
    box = np.array([[10.0, 5, 18, 25]] * n)
    return Detections(box, np.linspace(0.75, 0.5, n, dtype=np.float32), np.zeros(n, np.int64), Texts.of(texts))


def test_pycocotools_reads_what_is_written(tmp_path: Path, images: Dataset) -> None:
    path = tmp_path / "r.json"
    other = mask([0, 0, 3, 3])
    write_coco_results(
        path, images, [detections(json.dumps(mask()).encode(), json.dumps(other).encode()), detections()]
    )
    truth = COCO()
    truth.dataset = {"info": {}, "images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}], "annotations": []}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = truth.loadRes(str(path))
    assert [results.anns[i]["segmentation"] for i in (1, 2)] == [mask(), other]
    assert coco.area(results.anns[1]["segmentation"]) == 160


def test_an_empty_mask_is_null(tmp_path: Path, images: Dataset) -> None:
    path = tmp_path / "r.json"
    texts = [json.dumps(mask([i, 0, 4, 4])).encode() for i in range(3)]
    write_coco_results(path, images, [detections(*texts, b""), detections()])
    assert [entry["segmentation"] for entry in json.loads(path.read_text())] == [*map(json.loads, texts), None]
