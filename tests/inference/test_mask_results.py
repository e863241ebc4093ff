"""Masks in COCO's results: what pycocotools reads and writes, and what is refused."""

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
from vocdet.errors import AnnotationError
from vocdet.inference.results import read_coco_results, write_coco_results

HEIGHT, WIDTH = 30, 40
BOX = [10, 5, 8, 20]  # x, y, width, height


def mask(box: list[int] = BOX) -> dict[str, Any]:
    """The compressed RLE of a filled box."""
    x, y, width, height = box
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[y : y + height, x : x + width] = 1
    encoded = coco.encode(pixels)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


COUNTS = [10 * HEIGHT + 5, *[20, 10] * 7, 20, 22 * HEIGHT + 5]  # the runs of that box
GOOD = {"image_id": 1, "category_id": 1, "bbox": [10, 5, 8, 20], "score": 0.5}


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


def test_masks_come_back_with_their_detections(tmp_path: Path, images: Dataset) -> None:
    path = tmp_path / "r.json"
    texts = [json.dumps(mask([i, 0, 4, 4])).encode() for i in range(5)]
    write_coco_results(path, images, [detections(*texts[:3], b""), detections()])
    content = json.loads(path.read_text())
    assert content[3]["segmentation"] is None
    path.write_text(json.dumps(content[::-1]))  # the lowest score first
    first, second = read_coco_results(path, images)
    assert first.masks is not None
    assert second.masks is not None
    assert [json.loads(first.masks[i] or b"null") for i in range(4)] == [*map(json.loads, texts[:3]), None]
    assert len(second.masks) == 0


def test_without_any_mask_there_are_none(tmp_path: Path, images: Dataset) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([GOOD, GOOD | {"segmentation": None}]))
    assert read_coco_results(path, images)[0].masks is None


def test_lengths_of_runs_are_compressed(tmp_path: Path, images: Dataset) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([GOOD | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": COUNTS}}]))
    read = read_coco_results(path, images)[0].masks
    assert read is not None
    assert json.loads(read[0]) == mask()


def test_without_a_box_it_is_the_one_around_the_mask(tmp_path: Path, images: Dataset) -> None:
    path = tmp_path / "r.json"
    without_images = {name: value for name, value in GOOD.items() if name != "bbox"}
    empty = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
    path.write_text(json.dumps([without_images | {"segmentation": mask()}, without_images | {"segmentation": empty}]))
    assert read_coco_results(path, images)[0].boxes.tolist() == [[10, 5, 18, 25], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([[1, 1, 9, 1, 9, 9]], "is a list of 1, not an RLE"),
        ("abc", "is 'abc', not an RLE"),
        (mask() | {"size": [HEIGHT, WIDTH + 1]}, "has runs of 1200 pixels for a size of 30×41"),
        ({"size": [9, 9], "counts": [81]}, "is 9×9, but its image is 40×30"),
        ({"size": [HEIGHT, WIDTH], "counts": [1, -2]}, "has a run of negative length"),
        (mask() | {"counts": "Å"}, "has counts that are not run lengths"),
        (mask() | {"size": [HEIGHT]}, "is neither a list of polygons nor an RLE"),
        ({"counts": "0"}, "is neither a list of polygons nor an RLE"),
    ],
)
def test_an_invalid_mask_is_named(tmp_path: Path, images: Dataset, segmentation: object, problem: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([GOOD | {"segmentation": mask()}, GOOD | {"segmentation": segmentation}]))
    with pytest.raises(AnnotationError) as caught:
        read_coco_results(path, images)
    assert str(caught.value.place) == f"{path}: [1].segmentation"
    assert caught.value.problem.startswith(problem)


def test_cocos_own_results_are_read(shared: Path) -> None:
    folder = shared / "data/fixtures/coco_val2014_100"
    truth = json.loads((folder / "instances_val2014_100.json").read_text("utf-8"))
    path = folder / "instances_val2014_fakesegm100_results.json"
    entries = json.loads(path.read_text("utf-8"))
    table = sorted(truth["images"], key=lambda image: image["id"])
    stems = tuple(str(image["id"]) for image in table)
    none, off = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    widths, heights = (np.array([image[side] for image in table], np.int32) for side in ("width", "height"))
    dataset = Dataset(
        folder,
        tuple(str(category["id"]) for category in truth["categories"]),
        Images(stems, stems, widths, heights, stems),
        Objects(none, none, np.zeros((0, 4)), off, off, off, off, none),
    )
    ids = [int(stem) for stem in stems]
    read = read_coco_results(path, dataset, image_ids=ids, category_ids=[int(label) for label in dataset.labels])
    assert sum(len(one) for one in read) == len(entries)
    image = ids.index(entries[0]["image_id"])
    assert read[image].masks is not None
    areas = [coco.area(json.loads(read[image].masks[i])) for i in range(len(read[image]))]  # type: ignore[index]
    mine = [entry for entry in entries if entry["image_id"] == entries[0]["image_id"]]
    assert sorted(areas) == sorted(coco.area(entry["segmentation"]) for entry in mine)
    for box, area in zip(read[image].boxes, areas, strict=True):
        assert area <= (box[2] - box[0]) * (box[3] - box[1])
