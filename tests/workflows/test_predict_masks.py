"""A detector with masks at work on files: pictures, COCO's results and VOC's files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.data.texts import Texts
from vocdet.errors import OutputError
from vocdet.files import write_bytes
from vocdet.formats import cache
from vocdet.formats.scan import Source
from vocdet.outputs import MARKER
from vocdet.workflows.predict import predict
from vocdet.workflows.voc_detections import write_annotation

RUN = Path("no/run/is/read")
LABELS = ("left", "right")
WIDTH, HEIGHT = 64, 48


def rle(pixels: NDArray[np.bool_]) -> bytes:
    encoded = coco.encode(np.asfortranarray(pixels, np.uint8))
    return json.dumps({"size": list(pixels.shape), "counts": encoded["counts"].decode()}).encode()


def area(xmin: int, ymin: int, xmax: int, ymax: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.bool_]:
    pixels = np.zeros(size, np.bool_)
    pixels[ymin:ymax, xmin:xmax] = True
    return pixels


class FindsTwoThatOverlap:
    """A detector that finds a "left" and, less surely, a "right" thing behind it; their boxes are a little larger."""

    labels = LABELS
    thresholds = np.array([0.5, 0.5], np.float32)
    levels: Levels | None = None
    masks = (area(10, 10, 30, 40), area(20, 15, 50, 35))
    faint = area(0, 0, 5, 5)

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
        boxes = np.array([[9.6, 9.6, 30.4, 40.4], [19.6, 14.6, 50.4, 35.4], [0, 0, 5, 5]])
        texts = Texts.of([*map(rle, self.masks), rle(self.faint)])
        return [Detections(boxes, np.array([0.9, 0.8, 0.3], np.float32), np.array([0, 1, 0]), texts) for _ in images]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(path)
    return path


def test_masks_are_drawn(picture: Path, tmp_path: Path) -> None:
    (seen,) = predict(FindsTwoThatOverlap(), [str(picture)], out=tmp_path / "out")
    drawn = np.asarray(Image.open(seen.drawing), np.float64)
    assert np.abs(drawn[30:37, 14:17] - 90).max() > 30
    assert np.abs(drawn[24:31, 37:46] - 90).max() > 30
    assert drawn[44:, 54:].mean(axis=(0, 1)) == pytest.approx([90, 90, 90], abs=3)


def test_results_list_the_masks_of_what_is_shown(picture: Path, tmp_path: Path) -> None:
    list(predict(FindsTwoThatOverlap(), [str(picture)], out=tmp_path / "out"))
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [entry["score"] for entry in entries] == [0.9, 0.8]
    assert [coco.area(entry["segmentation"]) for entry in entries] == [600, 600]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name != MARKER) == [
        "a.jpg",
        "detections.json",
        "labels.txt",
    ]


def test_voc_files_are_read_as_a_dataset_of_what_was_found(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(predict(FindsTwoThatOverlap(), [str(picture)], out=out, also=["voc"]))
    found = cache.read(Source(out))
    assert [finding for finding in found.findings if finding.severity == "error"] == []
    dataset = found.dataset
    assert [dataset.labels[label] for label in dataset.objects.label] == ["left", "right"]
    assert dataset.objects.box.tolist() == [[10, 10, 30, 40], [20, 15, 50, 35]]
    left, right = FindsTwoThatOverlap.masks
    read = [json.loads(dataset.objects.segmentation[row]) for row in (0, 1)]
    assert read[0] == json.loads(rle(left))
    assert read[1] == json.loads(rle(right & ~left))  # the better one is on top
    assert json.loads((out / "detections.json").read_text())[1]["segmentation"] == json.loads(rle(right))


def test_pictures_of_masks_are_in_vocs_colors(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(predict(FindsTwoThatOverlap(), [str(picture)], out=out, also=["voc"]))
    with (
        Image.open(out / "SegmentationObject" / "a.png") as objects,
        Image.open(out / "SegmentationClass" / "a.png") as classes,
    ):
        assert objects.mode == classes.mode == "P"
        assert np.unique(np.asarray(objects)).tolist() == np.unique(np.asarray(classes)).tolist() == [0, 1, 2]
        assert objects.convert("RGB").getpixel((12, 12)) == (128, 0, 0)  # as VOC's devkit has 1, and then 2
        assert classes.convert("RGB").getpixel((45, 20)) == (0, 128, 0)
    assert "<segmented>1</segmented>" in (out / "Annotations" / "a.xml").read_text()


def test_without_masks_there_are_xmls_alone(picture: Path, tmp_path: Path) -> None:
    class Boxes(FindsTwoThatOverlap):
        def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
            return [Detections(one.boxes, one.scores, one.labels) for one in super().detect(images)]

    out = tmp_path / "out"
    list(predict(Boxes(), [str(picture)], out=out, also=["voc"]))
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.name != MARKER) == [
        "Annotations/a.xml", "JPEGImages/a.png", "detections.json", "drawings/a.jpg", "labels.txt",
    ]  # fmt: skip
    text = (out / "Annotations" / "a.xml").read_text()
    assert f"<path>{picture}</path>" in text
    assert text.count("<object>") == 2


def writer(root: Path) -> Callable[[str, bytes], None]:
    return lambda name, data: write_bytes(root / name, data)


def test_the_best_254_of_many_have_a_mask_in_the_picture(tmp_path: Path) -> None:
    count, size = 300, (20, 15)  # width, height
    masks = [rle(area(i % 20, i // 20, i % 20 + 1, i // 20 + 1, (15, 20))) for i in range(count)]
    boxes = np.array([[i % 20, i // 20, i % 20 + 1, i // 20 + 1] for i in range(count)], np.float64)
    found = Detections(boxes, np.linspace(1, 0.5, count, dtype=np.float32), np.zeros(count, np.int64), Texts.of(masks))
    write_annotation(writer(tmp_path), "a", tmp_path / "a.png", size, found, LABELS)
    values = np.asarray(Image.open(tmp_path / "SegmentationObject" / "a.png")).reshape(-1)
    assert values.tolist() == [*range(1, 255), *[0] * 46]
    assert (tmp_path / "Annotations" / "a.xml").read_text().count("<object>") == 300


def test_with_more_labels_than_numbers_there_is_no_picture_of_labels(tmp_path: Path) -> None:
    labels = [f"label {i}" for i in range(300)]
    mask = Texts.of([rle(area(0, 0, 5, 5))])
    found = Detections(np.array([[0, 0, 5, 5]]), np.array([0.9], np.float32), np.array([299]), mask)
    write_annotation(writer(tmp_path), "a", tmp_path / "a.png", (WIDTH, HEIGHT), found, labels)
    assert not (tmp_path / "SegmentationClass").exists()
    assert np.asarray(Image.open(tmp_path / "SegmentationObject" / "a.png")).max() == 1


def test_boxes_are_of_a_pixel_at_least_and_inside(tmp_path: Path) -> None:
    found = Detections(
        np.array([[-5, -5, 900, 900], [63.9, 47.9, 64, 48], [10.2, 10.2, 10.4, 10.4]]),
        np.full(3, 0.5, np.float32),
        np.zeros(3, np.int64),
    )
    write_annotation(writer(tmp_path), "a", tmp_path / "a.png", (WIDTH, HEIGHT), found, LABELS)
    (tmp_path / "JPEGImages").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages" / "a.png")
    assert cache.read(Source(tmp_path)).dataset.objects.box.tolist() == [
        [0, 0, 64, 48],
        [63, 47, 64, 48],
        [10, 10, 11, 11],
    ]


def test_a_label_that_xml_cannot_hold_is_refused_before_anything_is_written(picture: Path, tmp_path: Path) -> None:
    detector = FindsTwoThatOverlap()
    detector.labels = ("left", "ri\x07ght")
    with pytest.raises(OutputError, match=r"the label 'ri\\x07ght' contains a character that XML cannot represent"):
        list(predict(detector, [str(picture)], out=tmp_path / "out", also=["voc"]))
    assert not (tmp_path / "out").exists()
