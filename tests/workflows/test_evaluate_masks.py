"""Evaluating a detector with masks, and a detector on a part of a part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.data.texts import Texts
from vocdet.formats.scan import Source
from vocdet.workflows import evaluate as module
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.eval_options import EvalOptions, choose
from vocdet.workflows.evaluate import evaluate_run
from vocdet.workflows.load import load_dataset

MakeVoc = Callable[..., Path]
LEFT, RIGHT = (10.0, 10.0, 50.0, 60.0), (55.0, 20.0, 95.0, 70.0)
SCENES = {f"{i:02}": [("cat", LEFT), ("dog", RIGHT)] for i in range(12)}
SIZE = (100, 80)  # width, height


def inside(box: tuple[float, ...], share: float = 1.0) -> NDArray[np.bool_]:
    """The upper part of a box, as a mask."""
    pixels = np.zeros(SIZE[::-1], np.bool_)
    xmin, ymin, xmax, ymax = map(int, box)
    pixels[ymin : ymin + round(share * (ymax - ymin)), xmin:xmax] = True
    return pixels


def rle(pixels: NDArray[np.bool_]) -> bytes:
    encoded = coco.encode(np.asfortranarray(pixels, np.uint8))
    return json.dumps({"size": list(pixels.shape), "counts": encoded["counts"].decode()}).encode()


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    """Twelve images whose SegmentationObject fills the boxes, but for 00, which has none."""
    made = make_voc(SCENES, size=SIZE, splits={"test": list(SCENES)})
    (made / "SegmentationObject").mkdir()
    for stem in list(SCENES)[1:]:
        values = inside(LEFT).astype(np.uint8) + 2 * inside(RIGHT)
        Image.fromarray(values.astype(np.uint8)).save(made / "SegmentationObject" / f"{stem}.png")
    return made


class Knows:
    """A detector that finds every object, with masks that are the upper .7 of cats and .9 of dogs, or without any."""

    labels = ("cat", "dog")
    thresholds = np.full(2, 0.5, np.float32)
    levels = None

    def __init__(self, truth: Dataset, *, masks: bool = True) -> None:
        self.masks, self.seen = masks, 0
        self.scores = np.random.default_rng(0).uniform(0.5, 1, (len(truth), 2)).astype(np.float32)

    def detect_all(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Detections]:
        for _, scores in zip(images, self.scores, strict=False):
            self.seen += 1
            texts = Texts.of([rle(inside(LEFT, 0.7)), rle(inside(RIGHT, 0.9))])
            yield Detections(np.array([LEFT, RIGHT]), scores, np.array([0, 1]), texts if self.masks else None)


@pytest.fixture
def knowing(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Knows]:
    def know(*, masks: bool = True) -> Knows:
        detector = Knows(load_dataset(Source(root)).dataset, masks=masks)
        monkeypatch.setattr(DetectorOptions, "open", lambda options, run: detector)
        monkeypatch.setattr(module, "detect_all", lambda predictor, images: predictor.detect_all(images))
        return detector

    return know


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_masks_have_their_figures_beside_those_of_boxes(
    root: Path, tmp_path: Path, knowing: Callable[..., Knows]
) -> None:
    knowing()
    done = evaluate_run(tmp_path, Source(root))
    figures = read_json(done.metrics)
    assert figures["overall"]["ap"] == pytest.approx(1)
    assert [row["label"] for row in figures["masks"]["labels"]] == ["cat", "dog"]
    assert [row["ap"] for row in figures["masks"]["labels"]] == pytest.approx([0.5, 0.9])  # right up to IoU .7 and .9
    assert figures["masks"]["overall"]["ap"] == pytest.approx(0.7)
    assert figures["masks"]["coco"]["AP75"] == pytest.approx(0.5)
    assert (figures["masks"]["without"], figures["masks"]["unreadable"]) == (2, 0)
    assert (figures["overall"]["objects"], figures["masks"]["overall"]["objects"]) == (24, 22)
    assert "interval" not in figures
    assert not done.boxes_only
    listed = read_json(done.detections)
    assert coco.area(listed[0]["segmentation"]) in (40 * 35, 40 * 45)


def test_correct_wrong_and_missed_are_counted_by_boxes(
    root: Path, tmp_path: Path, knowing: Callable[..., Knows]
) -> None:
    knowing()
    with_masks = evaluate_run(tmp_path, Source(root)).report
    knowing(masks=False)
    without = evaluate_run(tmp_path, Source(root)).report
    assert with_masks.masks is not None
    assert without.masks is None
    assert (with_masks.labels, with_masks.overall) == (without.labels, without.overall)


def test_a_dataset_without_masks_gives_figures_of_boxes_alone(
    root: Path, tmp_path: Path, knowing: Callable[..., Knows]
) -> None:
    for path in (root / "SegmentationObject").iterdir():
        path.unlink()
    knowing()
    done = evaluate_run(tmp_path, Source(root))
    assert done.boxes_only
    assert "masks" not in read_json(done.metrics)


def test_a_subset_has_n_images_and_is_the_same_for_a_seed(
    root: Path, tmp_path: Path, knowing: Callable[..., Knows]
) -> None:
    first = knowing()
    done = evaluate_run(tmp_path, Source(root), EvalOptions(subset=5, seed=3))
    assert first.seen == done.report.images == 5
    assert done.available == 12
    figures = read_json(done.metrics)
    assert figures["subset"] == {"images": 5, "of": 12, "seed": 3}
    assert figures["interval"]["share"] == 0.95
    assert figures["interval"]["bounds"]["AP"] == pytest.approx([1, 1])
    low, high = figures["masks"]["interval"]["bounds"]["AP"]
    assert low == pytest.approx(high) == pytest.approx(0.7)
    knowing()
    again, other = (
        evaluate_run(tmp_path, Source(root), EvalOptions(subset=5, seed=3)),
        evaluate_run(tmp_path, Source(root), EvalOptions(subset=5, seed=4)),
    )
    assert again.report == done.report
    assert read_json(other.metrics)["dataset"] != figures["dataset"]  # other images


def test_results_of_a_subset_have_the_ids_of_the_whole_split(
    root: Path, tmp_path: Path, knowing: Callable[..., Knows]
) -> None:
    knowing()
    done = evaluate_run(tmp_path, Source(root), EvalOptions(subset=5))
    ids = sorted({entry["image_id"] for entry in read_json(done.detections)})
    assert ids == (choose(12, 5, 0) + 1).tolist()


def test_all_images_are_no_subset(root: Path, tmp_path: Path, knowing: Callable[..., Knows]) -> None:
    knowing()
    whole = evaluate_run(tmp_path, Source(root), EvalOptions(interval=True))
    figures = read_json(whole.metrics)
    assert "subset" not in figures
    assert figures["interval"]["resamples"] == 1000
    knowing()
    most = evaluate_run(tmp_path, Source(root), EvalOptions(subset=500))
    assert most.report == whole.report
    assert read_json(most.metrics)["dataset"] == figures["dataset"]


def test_every_image_is_as_likely_as_any_other() -> None:
    drawn = np.stack([choose(20, 5, seed) for seed in range(2000)])
    assert (np.diff(drawn, axis=1) > 0).all()
    assert np.bincount(drawn.reshape(-1), minlength=20) == pytest.approx(np.full(20, 500), abs=90)
    assert set(choose(20, 5, 1)) < set(choose(20, 9, 1))
    assert choose(4, None, 0).tolist() == choose(4, 4, 0).tolist() == choose(4, 9, 0).tolist() == [0, 1, 2, 3]
