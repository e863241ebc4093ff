"""A loaded detector takes any picture, finds what `vocdet predict` finds, and its detections go anywhere."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import vocdet
from vocdet.data import detections as columns
from vocdet.data.texts import Texts
from vocdet.errors import ArgumentError, OutputError
from vocdet.formats.scan import Source
from vocdet.inference.access import ServeLimits
from vocdet.inputs.images import decode
from vocdet.masks import rle_json
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.predict import predict

Trained = tuple[Path, vocdet.Run]
SIZE = (96, 72)


@pytest.fixture(scope="module")
def photos(trained: Trained) -> list[Path]:
    return sorted((trained[0] / "JPEGImages").glob("*.jpg"))


def same(a: vocdet.Detections, b: vocdet.Detections) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "labels"))


def test_a_page_writes_no_video(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="a page writes no video"):
        next(vocdet.live(tmp_path, web=True, save=tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"batch": 0}, "batch is 0"), ({"score": 50}, "score is 50"), ({"frames": -1}, "frames is -1")],
)
def test_impossible_numbers_are_refused_by_predict(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem):
        vocdet.predict(tmp_path, tmp_path, out=tmp_path / "out", **options)


def test_a_service_without_a_place_for_an_image_is_refused() -> None:
    with pytest.raises(ArgumentError, match="batch is 0"):
        ServeLimits(batch=0)


@pytest.mark.parametrize("score", [None, 0.05])
def test_it_finds_what_predict_finds_to_the_bit(
    score: float | None, trained: Trained, detector: vocdet.Detector, photos: list[Path], tmp_path: Path
) -> None:
    seen = list(
        predict(
            trained[1].path, list(map(str, photos)), out=tmp_path / "out", options=DetectorOptions("cpu", score=score)
        )
    )
    for one, found in zip(seen, detector(photos, score=score), strict=True):
        for name in ("boxes", "scores", "labels"):
            assert np.array_equal(getattr(one.detections, name), getattr(found, name))
    assert score is None or sum(len(one.detections) for one in seen) > len(photos)
    listed = json.loads((tmp_path / "out" / "detections.json").read_text())
    entries = [e for i, d in enumerate(detector(photos, score=score), 1) for e in d.to_coco(image_id=i)]
    assert entries == listed


def test_every_way_a_picture_comes_in_gives_the_same_detections(detector: vocdet.Detector, photos: list[Path]) -> None:
    expected = detector(photos[0], score=0.05)
    pixels = decode(photos[0], oriented=True)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    pictures: list[Any] = [str(photos[0]), PIL.Image.fromarray(pixels), pixels, pixels / 255, tensor, tensor / 255]
    assert len(expected) > 0
    for picture in pictures:
        assert same(detector(picture, score=0.05), expected)
    assert same(detector(pixels[..., ::-1], score=0.05, channels="bgr"), expected)
    assert expected.size == SIZE


def test_a_list_gives_a_list_in_its_order(detector: vocdet.Detector, photos: list[Path]) -> None:
    assert detector([]) == []
    found = detector(tuple(photos[:3]), score=0.05, batch=2)
    assert [detections.path for detections in found] == photos[:3]
    streamed = list(detector.stream(iter(photos[:3]), score=0.05, batch=2))
    assert all(map(same, found, streamed))


def test_wrong_pictures_of_a_list_are_named_together(detector: vocdet.Detector, photos: list[Path]) -> None:
    with pytest.raises(vocdet.ManyErrors) as caught:
        detector([photos[0], np.zeros((2, 2, 2), np.uint8), None, "missing.jpg"])
    first, second, third = caught.value.errors
    assert first.problem == "picture 1 of the list: an array of shape (2, 2, 2) has 2 channels"
    assert second.problem == "picture 2 of the list: the picture is None"
    assert isinstance(third, vocdet.ImageError)
    with pytest.raises(vocdet.ArgumentError, match=r"^the picture is None"):
        detector(None)  # type: ignore[call-overload]


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_outside_0_to_1_is_an_error(score: float, detector: vocdet.Detector, photos: list[Path]) -> None:
    with pytest.raises(vocdet.ArgumentError, match="score is"):
        detector(photos[0], score=score)


def test_a_batch_of_none_is_an_error(detector: vocdet.Detector) -> None:
    with pytest.raises(vocdet.ArgumentError, match="batch is 0"):
        detector([], batch=0)


def test_a_detector_says_what_it_knows(detector: vocdet.Detector, trained: Trained) -> None:
    assert detector.labels == ("circle", "square")
    assert detector.thresholds.keys() == {"circle", "square"}
    assert repr(detector) == f"<detector {trained[1].path}, labels: circle, square>"


@pytest.mark.parametrize("kind", ["run", "folder", "text", "checkpoint"])
def test_it_is_loaded_from_a_run_a_folder_or_a_checkpoint(kind: str, trained: Trained) -> None:
    run = trained[1]
    given: dict[str, Any] = {
        "run": run, "folder": run.path, "text": str(run.path), "checkpoint": run.path / "best.safetensors"
    }  # fmt: skip
    assert vocdet.load(given[kind], "cpu").labels == ("circle", "square")


def test_what_is_not_a_detector_is_an_error(tmp_path: Path, trained: Trained) -> None:
    with pytest.raises(vocdet.CheckpointError):
        vocdet.load(tmp_path)
    with pytest.raises(vocdet.VocdetError, match="no-such-device"):
        vocdet.load(trained[1], device="no-such-device")


@pytest.fixture
def masked() -> vocdet.Detections:
    """Three detections in a picture of 8x6 pixels, two with a mask."""
    pixels = np.full((6, 8, 3), 120, np.uint8)
    left, right = np.zeros((6, 8), np.bool_), np.zeros((6, 8), np.bool_)
    left[1:5, 1:3], right[:, 6:] = True, True
    texts = Texts.sparse(3, {0: rle_json(left), 2: rle_json(right)})
    boxes = np.array([[1, 1, 3, 5], [0.2, 0, 8, 5.6], [6, 0, 8, 6]], np.float64)
    found = columns.Detections(boxes, np.array([0.9, 0.6, 0.5]), np.array([1, 0, 1]), texts)
    return vocdet.Detections(found, ("cat", "dog"), (8, 6), pixels)


def test_detections_are_arrays_a_list_and_a_filter(masked: vocdet.Detections) -> None:
    assert masked.label_names == ("dog", "cat", "dog")
    assert (masked.boxes.shape, masked.labels.tolist()) == ((3, 4), [1, 0, 1])
    assert masked.scores.dtype == np.float32
    assert masked.masks is not None
    assert masked.masks.sum(axis=(1, 2)).tolist() == [8, 0, 12]
    assert [one.label_name for one in masked] == ["dog", "cat", "dog"]
    assert masked[-1].score == 0.5
    assert masked[0].mask is not None
    assert masked[0].mask.sum() == 8
    assert masked.above(0.6).label_names == ("dog", "cat")
    assert masked[1:].label_names == masked[[1, 2]].label_names == masked[masked.scores < 0.7].label_names
    assert len(masked[[]]) == 0
    with pytest.raises(IndexError):
        masked[3]


def test_an_index_of_numpy_is_an_index(masked: vocdet.Detections) -> None:
    assert masked[np.int64(2)].label_name == "dog"


def test_detections_without_masks_have_none(detector: vocdet.Detector, photos: list[Path]) -> None:
    found = detector(photos[0], score=0.05)
    assert found.masks is None
    assert found[0].mask is None


def test_detections_are_drawn_in_rgb_and_show_themselves(masked: vocdet.Detections) -> None:
    drawn = masked.draw()
    assert (drawn.mode, drawn.size) == ("RGB", (8, 6))
    assert masked._repr_html_().count("data:image/jpeg") == 1
    assert repr(masked) == "<3 detections, 8x6 pixels: dog 0.90, cat 0.60, dog 0.50>"
    assert repr(masked[:0]) == "<0 detections, 8x6 pixels>"


def test_a_bgr_frame_is_drawn_in_its_colors(detector: vocdet.Detector) -> None:
    frame = np.zeros((20, 30, 3), np.uint8)
    frame[..., 0] = 200  # blue
    drawn = np.asarray(detector(frame, score=1.0, channels="bgr").draw())
    assert drawn[10, 15].tolist() == [0, 0, 200]


def test_a_rotated_photo_is_drawn_upright(detector: vocdet.Detector, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (64, 32), (9, 9, 9)).save(tmp_path / "photo.jpg", exif=exif)
    for picture in (tmp_path / "photo.jpg", PIL.Image.open(tmp_path / "photo.jpg")):
        found = detector(picture, score=1.0)
        assert found.size == found.draw().size == (32, 64)


def test_voc_annotations_are_read_back(masked: vocdet.Detections, shelf: Path) -> None:
    annotation = shelf / "Annotations" / "img00.xml"
    by_hand = annotation.read_bytes()
    with pytest.raises(OutputError, match="exists, and vocdet did not write it") as caught:
        masked.to_voc(annotation)
    assert "`force=True`" in caught.value.hint
    assert annotation.read_bytes() == by_hand
    masked.to_voc(annotation, force=True)
    masked.to_voc(annotation)  # its own file
    PIL.Image.new("RGB", (8, 6)).save(shelf / "JPEGImages" / "img00.jpg")
    dataset = vocdet.read(shelf)
    objects = dataset[0].objects
    assert [dataset.labels[label] for label in objects.label] == ["dog", "cat", "dog"]
    assert objects.box.tolist() == [[1, 1, 3, 5], [0, 0, 8, 6], [6, 0, 8, 6]]


def test_an_annotation_names_its_photo(detector: vocdet.Detector, photos: list[Path], tmp_path: Path) -> None:
    detector(photos[0]).to_voc(str(tmp_path / "new" / "a.xml"))
    assert f"<path>{photos[0]}</path>" in (tmp_path / "new" / "a.xml").read_text()


def test_coco_entries_are_plain_json(masked: vocdet.Detections) -> None:
    entries = masked.to_coco(image_id=7, category_ids=[10, 20])
    assert json.loads(json.dumps(entries)) == entries
    assert [(e["image_id"], e["category_id"], e["bbox"]) for e in entries] == [
        (7, 20, [1, 1, 2, 4]), (7, 10, [0.2, 0, 7.8, 5.6]), (7, 20, [6, 0, 2, 6])
    ]  # fmt: skip
    assert entries[0]["segmentation"]["size"] == [6, 8]
    assert "file_name" not in entries[0]


def test_supervision_gets_its_own_detections(masked: vocdet.Detections, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("supervision")
    module.Detections = lambda **columns: columns
    monkeypatch.setitem(sys.modules, "supervision", module)
    found = masked.to_supervision()
    assert (found["xyxy"].dtype, found["xyxy"].shape) == (np.float32, (3, 4))
    assert found["mask"].shape == (3, 6, 8)
    assert found["class_id"].tolist() == [1, 0, 1]
    assert found["confidence"].tolist() == pytest.approx([0.9, 0.6, 0.5])
    assert found["data"]["class_name"].tolist() == ["dog", "cat", "dog"]
    assert found["xyxy"].flags.writeable
    assert found["confidence"].flags.writeable


def test_the_real_supervision_takes_them(masked: vocdet.Detections) -> None:
    pytest.importorskip("supervision")
    assert len(masked.to_supervision()) == 3
    assert len(masked[:0].to_supervision()) == 0


def test_without_supervision_the_error_says_how_to_install_it(
    masked: vocdet.Detections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(vocdet.DependencyError, match="pip install supervision"):
        masked.to_supervision()


def test_detections_can_be_sent_to_another_process(masked: vocdet.Detections) -> None:
    assert same(pickle.loads(pickle.dumps(masked)), masked)


def test_a_source_is_not_a_picture(detector: vocdet.Detector, trained: Trained) -> None:
    with pytest.raises(vocdet.ArgumentError, match="of type Source"):
        detector(Source(trained[0]))  # type: ignore[call-overload]
