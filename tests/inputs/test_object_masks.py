"""What a dataset's masks are made of, wherever they come from and whatever is wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.inputs.masked import in_full, mask_of_counts, polygon_text, rle_text, save_dataset, whole_mask
from vocdet.data.mask_areas import mask_areas
from vocdet.formats.registry import read
from vocdet.formats.scan import Source
from vocdet.formats.voc.masks import palette_png
from vocdet.inputs import object_masks as module
from vocdet.inputs.batches import BatchRequest, make_batch
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.object_masks import ObjectMasks, drawable_masks
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.inputs.transforms import Augmentation
from vocdet.workflows.check import check_dataset

BLANK = np.zeros((40, 60, 3), np.uint8)
SQUARE = [10.0, 10, 30, 10, 30, 30, 10, 30]
BLOB = np.zeros((40, 60), np.bool_)
BLOB[5:20, 7:33] = BLOB[15:30, 20:50] = True
EVERYTHING = Augmentation(mosaic=0.3, mixup=0.3, copy_paste=0.7, rotate=True)

ODD = {
    "two points": b"[[10,10,30,30]]",
    "an odd number": b"[[10,10,30,10,30]]",
    "no polygon": b"[[]]",
    "no list": b'"polygon"',
    "a hole of null": b"[[10,10,30,10,null,30]]",
    "a line": b"[[10,10,20,20,30,30]]",
    "a point": b"[[10,10,10,10,10,10]]",
    "beyond the image": b"[[70,10,90,10,90,30]]",
    "far out": b"[[10,10,300000,10,30,30]]",
    "too far": b"[[10,10,2e9,10,30,30]]",
    "counts that do not add up": b'{"size":[40,60],"counts":[10,20,30]}',
    "negative counts": b'{"size":[40,60],"counts":[10,-20,2410]}',
    "broken text": b'{"size":[40,60],"counts":"~~~"}',
    "another size": rle_text(BLOB[:30]),
    "height and width exchanged": rle_text(BLOB.T),
    "no pixel": rle_text(np.zeros_like(BLOB)),
}


def test_masks_are_what_their_json_says(tmp_path: Path) -> None:
    second = [20.25, 3, 50.125, 3.5, 44, 39.9375]
    texts = [rle_text(BLOB), polygon_text(SQUARE), b"", rle_text(BLOB, compressed=False), polygon_text(second, SQUARE)]
    found = ObjectMasks.of(save_dataset(tmp_path, [BLANK], [[((0, 0, 60, 40), text) for text in texts]]))
    assert found.usable.tolist() == [True, True, False, True, True]
    assert found.rle.tolist() == [True, False, False, True, False]
    for row in (0, 3):
        assert np.array_equal(mask_of_counts(found.counts(row).tolist(), 40, 60), BLOB)
    assert [polygon.reshape(-1).tolist() for polygon in found.polygons(1)] == [SQUARE]
    assert [polygon.reshape(-1).tolist() for polygon in found.polygons(4)] == [second, SQUARE]
    assert found.polygons(2) == []


def test_coordinates_of_four_decimals_come_back_as_they_were(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 600_000, 4000) / 10_000
    text = polygon_text(numbers.tolist())
    found = ObjectMasks.of(save_dataset(tmp_path, [BLANK], [[((0, 0, 60, 40), text)]]))
    assert found.polygons(0)[0].reshape(-1).tolist() == numbers.tolist()


@pytest.mark.parametrize("kind", ODD)
def test_a_mask_that_cannot_be_drawn_is_none_and_does_not_hide_the_others(kind: str, tmp_path: Path) -> None:
    texts = [polygon_text(SQUARE), ODD[kind], rle_text(BLOB), polygon_text([0, 0, *SQUARE])]
    dataset = save_dataset(tmp_path, [BLANK, BLANK], [[((5, 5, 55, 35), text) for text in texts]] * 2)
    assert drawable_masks(dataset).tolist() == [True, False, True, True] * 2
    scenes = DetectionSamples(dataset, (40, 60), None, masks=True)
    stacked = make_batch(scenes, BatchRequest(0, 1, 0, (0, 1)))
    assert stacked.labels.tolist() == [[0, 1, 2, 3]] * 2  # its box teaches
    assert stacked.masks is not None
    assert stacked.masks.known.tolist() == [True, False, True, True] * 2
    assert np.array_equal(in_full(stacked.masks, 6, 40, 60), BLOB)
    for seed in range(3):
        made = make_batch(
            DetectionSamples(dataset, ResizeShortestEdge(32, 48, (0.5, 2.0)), EVERYTHING, masks=True),
            BatchRequest(seed, 1, 0, (0, 1)),
        )
        assert made.masks is not None
        assert len(made.masks) == (made.labels >= 0).sum()
        assert not made.masks.known[(made.labels[made.labels >= 0] == 1).numpy()].any()


def test_a_polygon_that_crosses_itself_has_a_mask_even_where_its_area_is_nothing(tmp_path: Path) -> None:
    bow = polygon_text([10, 10, 30, 30, 30, 10, 10, 30])
    dataset = save_dataset(tmp_path, [BLANK], [[((10, 10, 30, 30), bow)]])
    assert mask_areas(dataset.objects.segmentation).area.tolist() == [0]
    assert drawable_masks(dataset).tolist() == [True]


def test_objects_that_are_not_wanted_take_no_room(tmp_path: Path) -> None:
    texts = [polygon_text(SQUARE), rle_text(BLOB), polygon_text(SQUARE)]
    dataset = save_dataset(tmp_path, [BLANK], [[((0, 0, 60, 40), text) for text in texts]])
    found = ObjectMasks.of(dataset, np.array([False, False, True]))
    assert found.usable.tolist() == [False, False, True]
    assert len(found.numbers) == 8


def test_masks_are_split_in_chunks_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polygons = [polygon_text([1, 1, 5 + i, 1, 5 + i, 20]) for i in range(10)]
    polygons[6] = b"[[1,2]]"
    dataset = save_dataset(tmp_path, [BLANK], [[((0, 0, 60, 40), text) for text in polygons]])
    whole = ObjectMasks.of(dataset)
    monkeypatch.setattr(module, "_CHUNK", 3)
    parts = ObjectMasks.of(dataset)
    for row in range(10):
        assert [p.tolist() for p in parts.polygons(row)] == [p.tolist() for p in whole.polygons(row)]


def test_a_dataset_without_objects_has_no_masks(tmp_path: Path) -> None:
    assert len(drawable_masks(save_dataset(tmp_path, [BLANK], [[]]))) == 0


def test_crowds_are_never_learned(tmp_path: Path) -> None:
    texts = [rle_text(BLOB), polygon_text(SQUARE)]
    dataset = save_dataset(tmp_path, [BLANK], [[((0, 0, 60, 40), text) for text in texts]], crowd=[0])
    scenes = DetectionSamples(dataset, (40, 60), None, masks=True)
    sample = scenes.draw(0, np.random.default_rng(0))
    assert sample.labels.tolist() == [1]
    assert sample.masks is not None
    assert sample.masks.where.tolist() == [[10, 10, 30, 30]]


def test_many_objects_take_no_more_room_than_their_boxes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        x, y, w, h = rng.integers((0, 0, 20, 20), (900, 900, 100, 100)).tolist()
        rows.append(((x, y, x + w, y + h), polygon_text([x, y, x + w, y, x + w, y + h, x, y + h])))
    dataset = save_dataset(tmp_path, [np.zeros((1000, 1000, 3), np.uint8)], [rows])
    sample = DetectionSamples(dataset, (1000, 1000), None, masks=True).draw(0, np.random.default_rng(0))
    assert sample.masks is not None
    areas = (sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(axis=1)
    assert len(areas) == 300
    assert len(sample.masks.pixels) <= areas.sum() < 300 * 10_000 < 300_000_000
    assert ObjectMasks.of(dataset).numbers.nbytes < 300 * 8 * 4 + 1


def test_a_voc_trees_pixels_arrive_as_masks(tmp_path: Path, make_voc: Callable[..., Path]) -> None:
    root = make_voc({"a": [("cat", (11, 11, 30, 30)), ("dog", (41, 21, 60, 40))], "b": [("cat", (5, 5, 20, 20))]},
                    size=(80, 60))  # fmt: skip
    values = np.zeros((60, 80), np.uint8)
    values[10:30, 10:30] = 1
    values[20:40, 40:60] = 2
    values[30, 10:30] = 255  # void
    folder = root / "SegmentationObject"
    folder.mkdir()
    (folder / "a.png").write_bytes(palette_png(values))
    (folder / "b.png").write_bytes(palette_png(values[:50]))  # of another size than its image
    report = check_dataset(Source(root))
    assert "mask.size" in {finding.code for finding in report.findings}
    dataset = report.dataset
    assert drawable_masks(dataset).tolist() == [True, True, False]
    sample = DetectionSamples(dataset, (60, 80), None, masks=True).draw(0, np.random.default_rng(0))
    assert sample.masks is not None
    assert [np.array_equal(in_full(sample.masks, i, 60, 80), values == i + 1) for i in (0, 1)] == [True, True]
    for seed in range(5):
        made = make_batch(DetectionSamples(dataset, (64, 64), EVERYTHING, masks=True), BatchRequest(seed, 1, 0, (0, 1)))
        assert made.masks is not None
        assert len(made.masks) == (made.labels >= 0).sum()


def test_a_png_index_without_an_object_is_ignored(make_voc: Callable[..., Path]) -> None:
    root = make_voc({"a": [("cat", (11, 11, 30, 30))]}, size=(80, 60))
    values = np.zeros((60, 80), np.uint8)
    values[10:30, 10:30], values[40:50, 40:50] = 1, 7
    (root / "SegmentationObject").mkdir()
    (root / "SegmentationObject" / "a.png").write_bytes(palette_png(values))
    report = check_dataset(Source(root))
    assert "mask.unknown_object" in {finding.code for finding in report.findings}
    sample = DetectionSamples(report.dataset, (60, 80), None, masks=True).draw(0, np.random.default_rng(0))
    assert sample.labels.tolist() == [0]
    assert sample.masks is not None
    assert not sample.masks.known.any()


def test_roboflows_polygons_arrive_as_masks(make_voc: Callable[..., Path]) -> None:
    root = make_voc({"a": [("cat", (11, 11, 40, 30)), ("cat", (1, 1, 9, 9))]}, size=(80, 60))
    xml = root / "Annotations" / "a.xml"
    points = [10.5, 10, 40, 12, 38, 30, 12, 28.5]
    tags = "".join(f"<{'xy'[i % 2]}{i // 2 + 1}>{value}</{'xy'[i % 2]}{i // 2 + 1}>" for i, value in enumerate(points))
    text = xml.read_text()
    xml.write_text(text.replace("</bndbox>", f"</bndbox><polygon>{tags}</polygon>", 1))
    dataset = read(Source(root, coordinates="zero")).dataset
    assert drawable_masks(dataset).tolist() == [True, False]
    sample = DetectionSamples(dataset, (60, 80), None, masks=True).draw(0, np.random.default_rng(0))
    assert sample.masks is not None
    assert sample.masks.known.tolist() == [True, False]
    assert np.array_equal(in_full(sample.masks, 0, 60, 80), whole_mask([points], 80, 60))


@pytest.mark.parametrize("name", ["microcontrollers/coco_train.json", "fruits_nuts/trainval.json"])
def test_every_mask_of_a_real_dataset_is_what_pycocotools_draws(shared: Path, name: str) -> None:
    dataset = read(Source(shared / "data" / name)).dataset
    assert drawable_masks(dataset).all()
    scenes = DetectionSamples(dataset, ResizeShortestEdge(600, 800), None, masks=True)  # as they are
    entries = json.loads((shared / "data" / name).read_text())
    of_image = {image["file_name"]: image["id"] for image in entries["images"]}
    for row in range(0, len(dataset), 9):
        sample = scenes.draw(row, np.random.default_rng(0))
        identity = of_image[Path(dataset.images.files[row]).name]
        polygons = [one["segmentation"] for one in entries["annotations"] if one["image_id"] == identity]
        assert sample.masks is not None
        assert len(polygons) == len(sample.masks)
        height, width = sample.image.shape[:2]
        assert (height, width) == (600, 800)
        expected = [whole_mask(polygon, width, height) for polygon in polygons]
        found = [in_full(sample.masks, i, height, width) for i in range(len(polygons))]
        assert {mask.tobytes() for mask in found} == {mask.tobytes() for mask in expected}


def test_labelmes_polygons_arrive_as_masks(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "microcontrollers"
    for path in (source / "labelme_test").glob("*.json"):
        shutil.copy(path, tmp_path)
        shutil.copy(source / "test" / f"{path.stem}.jpg", tmp_path)
    dataset = read(Source(tmp_path)).dataset
    assert len(dataset) == 7
    assert drawable_masks(dataset).all()
    sample = DetectionSamples(dataset, ResizeShortestEdge(150, 200), None, masks=True).draw(0, np.random.default_rng(0))
    document = json.loads((tmp_path / f"{dataset.images.stems[0]}.json").read_text())
    polygon = np.array(document["shapes"][0]["points"]) / 4
    assert sample.masks is not None
    expected = whole_mask([polygon.reshape(-1).tolist()], 200, 150)
    assert (in_full(sample.masks, 0, 150, 200) != expected).mean() < 1e-4


def test_crowds_and_run_lengths_of_coco_are_read(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "fixtures" / "coco_val2014_100" / "instances_val2014_100.json"
    entries = json.loads(source.read_text())
    entries["images"] = entries["images"][:30]
    kept = {image["id"] for image in entries["images"]}
    entries["annotations"] = [one for one in entries["annotations"] if one["image_id"] in kept]
    for image in entries["images"]:
        Image.new("RGB", (image["width"], image["height"])).save(tmp_path / image["file_name"])
    (tmp_path / "instances.json").write_text(json.dumps(entries))
    dataset = read(Source(tmp_path / "instances.json")).dataset
    crowds = sum(one["iscrowd"] for one in entries["annotations"])
    assert dataset.objects.crowd.sum() == crowds > 0
    assert drawable_masks(dataset).all()
    scenes = DetectionSamples(dataset, ResizeShortestEdge(200, 300, (0.8, 1.2)), EVERYTHING, masks=True)
    made = make_batch(scenes, BatchRequest(0, 1, 0, tuple(range(0, 30, 5))))
    assert made.masks is not None
    assert len(made.masks) == (made.labels >= 0).sum() > 10
