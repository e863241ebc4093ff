"""What is written as labelme files is what labelme itself would show, and reads as the same dataset."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from PIL import Image

from tests.formats.test_round_trips import content, scratch
from tests.strategies import datasets, few
from vocdet import masks
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.mask_areas import mask_areas
from vocdet.data.texts import Texts
from vocdet.formats.labelme import read as labelme
from vocdet.formats.labelme import write as labelme_write
from vocdet.formats.scan import Source
from vocdet.formats.shared.shapes import FARTHEST

SIZE = (100, 80)
TRIANGLE = b"[[10,20,50.5,20,30,60]]"


def a_dataset(
    boxes: list[tuple[float, float, float, float]],
    segmentations: Mapping[int, bytes] = {},
    extras: Mapping[int, dict[str, Any]] = {},
    **columns: Any,
) -> Dataset:
    """One image, a.jpg, with these objects; segmentations and extras by row."""
    count = len(boxes)
    off = np.zeros(count, np.bool_)
    flags = {name: np.array(columns.pop(name, off)) for name in ("difficult", "truncated", "occluded", "crowd")}
    texts = {row: json.dumps(extra).encode() for row, extra in extras.items()}
    objects = Objects(
        image=np.zeros(count, np.int32), label=np.zeros(count, np.int32), box=np.array(boxes, np.float64).reshape(-1, 4),
        **flags, line=np.arange(1, count + 1, dtype=np.int32),
        segmentation=Texts.sparse(count, dict(segmentations)), extra=Texts.sparse(count, texts),
    )  # fmt: skip
    images = Images(("a",), ("a.jpg",), np.array([SIZE[0]]), np.array([SIZE[1]]), ("a.xml",))
    return Dataset(Path("somewhere"), ("dog",), images, objects, **columns)


def written(folder: Path, dataset: Dataset) -> tuple[dict[str, Any], dict[str, int]]:
    """The JSON of the first image, and the losses."""
    folder.mkdir(exist_ok=True)
    targets = labelme_write.image_targets(dataset)
    losses = labelme_write.write(folder, dataset, targets, mask_areas(dataset.objects.segmentation).area)
    return json.loads((folder / targets[0]).with_suffix(".json").read_bytes()), {one.what: one.count for one in losses}


def again(folder: Path) -> Dataset:
    found = labelme.scan(Source(folder), without_images=True)
    assert [one for one in found.findings if one.code != "box.rotated"] == []
    return found.dataset


def test_a_box_is_a_rectangle(tmp_path: Path) -> None:
    whole, losses = written(tmp_path, a_dataset([(10, 20, 50, 60)]))
    assert (whole["imagePath"], whole["imageWidth"], whole["imageHeight"], whole["imageData"]) == (
        "a.jpg",
        100,
        80,
        None,
    )
    (shape,) = whole["shapes"]
    assert (shape["label"], shape["shape_type"], shape["points"]) == ("dog", "rectangle", [[10, 20], [50, 60]])
    assert (shape["flags"], shape["group_id"]) == ({}, None)
    assert losses == {}


def test_several_polygons_are_shapes_of_one_group(tmp_path: Path) -> None:
    two = b"[[10,20,50.5,20,30,60],[60,20,70,20,70,30]]"
    whole, losses = written(tmp_path, a_dataset([(10, 20, 70, 60), (10, 20, 50.5, 60)], {0: two, 1: TRIANGLE}))
    first, second, third = whole["shapes"]
    assert first["points"] == [[10, 20], [50.5, 20], [30, 60]]
    assert first["group_id"] == second["group_id"] != third["group_id"]
    assert losses == {}
    assert json.loads(again(tmp_path).objects.segmentation[0]) == json.loads(two)


def test_a_mask_is_a_png_of_its_bounds(tmp_path: Path) -> None:
    mask = np.zeros((80, 100), np.bool_)
    mask[20:22, 10:13] = [[0, 1, 0], [1, 1, 1]]
    whole, _ = written(tmp_path, a_dataset([(10, 20, 13, 22)], {0: masks.rle_json(mask)}))
    (shape,) = whole["shapes"]
    assert (shape["shape_type"], shape["points"]) == ("mask", [[10, 20], [12, 21]])  # inclusive, as in labelme
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as png:
        assert np.asarray(png).tolist() == [[0, 1, 0], [1, 1, 1]]
    assert again(tmp_path).objects.segmentation[0] == masks.rle_json(mask)


def test_a_rotated_box_is_a_rotation(tmp_path: Path) -> None:
    extra = {"angle": 90.0, "corners": [50, 10, 50, 30, 40, 30, 40, 10]}
    whole, losses = written(tmp_path, a_dataset([(40, 10, 50, 30)], extras={0: extra}))
    (shape,) = whole["shapes"]
    assert (shape["shape_type"], shape["points"]) == ("rotation", [[50, 10], [50, 30], [40, 30], [40, 10]])
    assert abs(shape["direction"] - np.pi / 2) < 1e-9
    assert losses == {}
    assert json.loads(again(tmp_path).objects.extra[0]) == extra


def test_flags_attributes_and_extras_are_written(tmp_path: Path) -> None:
    extra = {"attributes": {"wet": True, "color": "red"}, "score": 0.5, "points": "mine"}
    dataset = a_dataset([(1, 2, 3, 4)], extras={0: extra}, difficult=[True], crowd=[True])
    whole, losses = written(tmp_path, dataset)
    (shape,) = whole["shapes"]
    assert shape["flags"] == {"difficult": True, "crowd": True, "wet": True}
    assert (shape["attributes"], shape["score"]) == ({"color": "red"}, 0.5)
    assert losses == {"extras whose names labelme uses otherwise": 1}
    objects = again(tmp_path).objects
    assert (objects.difficult.tolist(), objects.crowd.tolist()) == ([True], [True])


def test_splits_are_folders(tmp_path: Path) -> None:
    dataset = replace(a_dataset([(1, 2, 3, 4)]), splits={"val": np.array([0])})
    written(tmp_path, dataset)
    assert (tmp_path / "val" / "a.json").is_file()
    assert {name: rows.tolist() for name, rows in again(tmp_path).splits.items()} == {"val": [0]}


def test_the_order_of_labels_is_a_list(tmp_path: Path) -> None:
    written(tmp_path, replace(a_dataset([(1, 2, 3, 4)]), labels=("dog", "cat")))
    assert (tmp_path / "labels.txt").read_text() == "dog\ncat\n"
    assert again(tmp_path).labels == ("dog", "cat")


def test_what_labelme_cannot_hold_is_counted(tmp_path: Path) -> None:
    dataset = a_dataset([(0, 0, 9, 9), (1, 2, 3, 4)], {0: TRIANGLE, 1: b"[[1,2]]"}, extra=b'{"info":{}}')
    _, losses = written(tmp_path, dataset)
    assert losses == {
        "invalid masks": 1,
        "boxes other than the bounds of their masks": 1,
        "extras of the dataset": 1,
    }


def near(dataset: Dataset) -> Dataset:
    """The objects that labelme's reader accepts: none is far outside its image."""
    objects, keep = dataset.objects, []
    for row in range(len(objects)):
        numbers = objects.box[row].tolist()
        if objects.segmentation[row][:1] == b"[":
            numbers += [number for polygon in json.loads(objects.segmentation[row]) for number in polygon]
        image = objects.image[row]
        limit = FARTHEST * max(dataset.images.widths[image], dataset.images.heights[image])
        keep.append(max(map(abs, numbers)) <= limit)
    return dataset.select_objects(np.array(keep, np.bool_))


@few
@given(datasets(splits="apart"))
def test_what_is_written_says_the_same_twice(dataset: Dataset) -> None:
    """Labels and flags return; what the second trip reads is what the first one read."""
    if not len(dataset):
        return
    dataset = near(dataset)
    with scratch() as folder:
        written(folder / "1", dataset)
        once = labelme.scan(Source(folder / "1"), without_images=True).dataset
        written(folder / "2", once)
        twice = labelme.scan(Source(folder / "2"), without_images=True).dataset
        assert content(once, once.splits) == content(twice, twice.splits)
        count = Counter(dataset.labels[label] for label in dataset.objects.label)
        assert count == Counter(once.labels[label] for label in once.objects.label)
        for name in ("difficult", "truncated", "occluded", "crowd"):
            assert getattr(once.objects, name).sum() == getattr(dataset.objects, name).sum()
