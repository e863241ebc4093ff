"""Evaluating a run: its labels and the dataset's may differ, and what is written can be read by others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.errors import AnnotationError, CheckpointError, ImageError, SplitError, VocdetError
from vocdet.formats.scan import Source
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.runs.image_record import write_image_digests
from vocdet.workflows import evaluate as module
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate import evaluate_run, relabeled_for
from vocdet.workflows.load import load_dataset

MakeVoc = Callable[..., Path]
SCENES: dict[str, list[tuple[str, tuple[float, float, float, float]]]] = {
    "a": [("cat", (5, 5, 40, 50)), ("dog", (50, 10, 90, 70))],
    "b": [("dog", (10, 10, 60, 70))],
    "c": [],
    "d": [("cat", (20, 20, 70, 60))],
}


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc(SCENES, splits={"train": ["d"], "test": ["a", "b", "c"]})


def save_run(run: Path, labels: tuple[str, ...] = ("dog", "cat"), thresholds: tuple[float, ...] | None = None) -> Path:
    """A detector that has learned nothing."""
    torch.manual_seed(0)
    about = CheckpointInfo(
        vocdet="0", model=SsdSpec(BackboneSpec("mb1", 0.25), labels, (64, 64), torchvision_anchors()),
        thresholds=thresholds,
    )  # fmt: skip
    save_checkpoint(run / "best.safetensors", build(about.model), about)
    return run


class Knows:
    """A detector that finds exactly the objects of these labels, in the order of its own."""

    def __init__(self, truth: Dataset, labels: tuple[str, ...], score: float = 0.9) -> None:
        self.truth, self.labels, self.score = truth, labels, score
        self.thresholds = np.full(len(labels), 0.95, np.float32)
        self.levels = None

    def detect_all(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Detections]:
        for scene, image in zip(self.truth, images, strict=True):
            assert image.shape == (scene.height, scene.width, 3)
            names = [self.truth.labels[k] for k in scene.objects.label]
            known = [i for i, name in enumerate(names) if name in self.labels]
            labels = np.array([self.labels.index(names[i]) for i in known], np.int64)
            yield Detections(scene.objects.box[known], np.full(len(known), self.score, np.float32), labels)


@pytest.fixture
def knowing(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every run be a detector that finds all objects of these labels."""

    def know(*labels: str) -> None:
        loaded = load_dataset(Source(root))
        detector = Knows(loaded.dataset.subset(loaded.dataset.rows("test")), labels)
        monkeypatch.setattr(DetectorOptions, "open", lambda options, run: detector)
        monkeypatch.setattr(module, "detect_all", lambda predictor, images: predictor.detect_all(images))

    return know


def read_json(path: Path) -> Any:
    """What strict programs read: they know no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{path} has {name} in it")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_labels_are_matched_by_name_and_not_by_number(root: Path, tmp_path: Path, knowing: Callable[..., None]) -> None:
    knowing("bird", "dog", "cat")
    done = evaluate_run(tmp_path, Source(root))
    assert [(row.label, row.objects) for row in done.report.labels] == [("bird", 0), ("dog", 2), ("cat", 1)]
    assert [row.ap50 for row in done.report.labels] == [None, pytest.approx(1), pytest.approx(1)]
    assert done.report.overall.ap50 == pytest.approx(1)
    assert done.unknown == ()


def test_a_label_the_detector_never_learned_counts_as_missed(
    root: Path, tmp_path: Path, knowing: Callable[..., None]
) -> None:
    knowing("dog")
    done = evaluate_run(tmp_path, Source(root))
    assert done.unknown == ("cat",)
    assert [(row.label, row.correct, row.missed) for row in done.report.labels] == [("dog", 2, 0), ("cat", 0, 1)]
    assert done.report.overall.recall == pytest.approx(2 / 3)


def test_precision_and_recall_are_at_the_best_thresholds_or_at_the_detectors_own(
    root: Path, tmp_path: Path, knowing: Callable[..., None]
) -> None:
    knowing("dog", "cat")
    assert evaluate_run(tmp_path, Source(root)).report.overall.recall == 1.0
    own = evaluate_run(tmp_path, Source(root), EvalOptions(own_thresholds=True))  # .95, and everything scores .9
    assert own.report.overall.recall == 0.0
    assert own.report.overall.ap50 == pytest.approx(1)
    assert read_json(own.metrics)["thresholds_from"] == "the checkpoint"


def test_figures_and_detections_are_written_beside_the_checkpoint(root: Path, tmp_path: Path) -> None:
    run = save_run(tmp_path / "run")
    asked: list[tuple[int, int]] = []
    done = evaluate_run(
        run, Source(root), detector=DetectorOptions("cpu"), progress=lambda now, of: asked.append((now, of))
    )
    assert (done.metrics, done.detections) == (run / "metrics-test.json", run / "detections-test.json")
    assert asked == [(1, 3), (2, 3), (3, 3)]
    figures = read_json(done.metrics)
    dataset = load_dataset(Source(root)).dataset
    images = dataset.subset(dataset.rows("test"))
    assert (figures["split"], figures["images"], figures["dataset"]) == ("test", 3, images.fingerprint())
    assert [row["label"] for row in figures["labels"]] == ["dog", "cat"]
    assert figures["coco"].keys() == {
        "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
    }  # fmt: skip
    found = read_json(done.detections)
    assert found
    assert found[0].keys() >= {"image_id", "category_id", "bbox", "score"}
    assert {entry["category_id"] for entry in found} <= {1, 2}


def test_a_checkpoint_file_is_as_good_as_its_run(root: Path, tmp_path: Path) -> None:
    run = save_run(tmp_path / "run")
    done = evaluate_run(
        run / "best.safetensors", Source(root), EvalOptions(split="train"), detector=DetectorOptions("cpu")
    )
    assert done.metrics == run / "metrics-train.json"
    assert (
        done.report
        == evaluate_run(run, Source(root), EvalOptions(split="train"), detector=DetectorOptions("cpu")).report
    )


def test_a_picture_shows_what_was_annotated_beside_what_was_found(
    root: Path, tmp_path: Path, knowing: Callable[..., None]
) -> None:
    knowing("dog", "cat")
    for name in ("sheet.png", "sheet.jpg"):
        evaluate_run(tmp_path, Source(root), picture=tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.format == {".png": "PNG", ".jpg": "JPEG"}[Path(name).suffix]
            assert image.width >= 4 * 100  # two pairs of images of 100 pixels in a row


def test_a_dataset_of_other_labels_is_refused(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"x": [("car", (1, 1, 50, 50))]}, root=tmp_path / "cars", splits={"test": ["x"]})
    with pytest.raises(
        AnnotationError, match=r"none of the labels \(car\) is a label of the detector \(dog, cat\)"
    ) as caught:
        evaluate_run(save_run(tmp_path / "run"), Source(root), detector=DetectorOptions("cpu"))
    assert caught.value.hint == "evaluate on a dataset with the labels of the training data"


def test_a_split_without_objects_has_no_precision_yet_false_detections(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc(SCENES, splits={"test": ["c"]})
    done = evaluate_run(save_run(tmp_path / "run"), Source(root), detector=DetectorOptions("cpu"))
    assert done.report.overall.ap50 is None
    assert read_json(done.metrics)["overall"]["ap50"] is None


def test_a_missing_split_has_a_hint(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="no split 'val'") as caught:
        evaluate_run(
            save_run(tmp_path / "run"), Source(root), EvalOptions(split="val"), detector=DetectorOptions("cpu")
        )
    assert caught.value.hint.startswith("split again: `vocdet.write_splits(")


def test_a_folder_without_a_checkpoint_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        evaluate_run(tmp_path, Source(root), detector=DetectorOptions("cpu"))


def test_an_image_that_breaks_after_it_was_read_is_named(root: Path, tmp_path: Path) -> None:
    image = root / "JPEGImages" / "b.jpg"
    image.write_bytes(image.read_bytes()[:400])  # its size can still be read
    with pytest.raises(ImageError) as caught:
        evaluate_run(save_run(tmp_path / "run"), Source(root), detector=DetectorOptions("cpu"))
    assert caught.value.place is not None
    assert caught.value.place.path == image
    assert not (tmp_path / "run" / "metrics-test.json").exists()


def test_relabelling_changes_numbers_and_nothing_else(root: Path) -> None:
    dataset = load_dataset(Source(root)).dataset
    assert dataset.labels == ("cat", "dog")
    changed, unknown = relabeled_for(dataset, ("x", "dog", "y"))
    assert (changed.labels, unknown) == (("x", "dog", "y", "cat"), ("cat",))
    names = [dataset.labels[k] for k in dataset.objects.label]
    assert [changed.labels[k] for k in changed.objects.label] == names
    assert np.array_equal(changed.objects.box, dataset.objects.box)
    same, none = relabeled_for(dataset, dataset.labels)
    assert same.fingerprint() == dataset.fingerprint()
    assert none == ()


def test_a_dataset_with_poses_is_evaluated(root: Path, tmp_path: Path, knowing: Callable[..., None]) -> None:
    for path in (root / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<pose>Unspecified</pose>", "<pose>Left</pose>"))
    knowing("dog", "cat")
    assert (
        evaluate_run(save_run(tmp_path / "run"), Source(root), detector=DetectorOptions("cpu")).report.overall.ap50
        == 1.0
    )


def test_a_fold_is_evaluated_by_its_name(root: Path, tmp_path: Path, knowing: Callable[..., None]) -> None:
    lists = root / "ImageSets" / "Main"
    (lists / "fold1_val.txt").write_bytes((lists / "test.txt").read_bytes())
    knowing("dog", "cat")
    done = evaluate_run(
        save_run(tmp_path / "run"), Source(root), EvalOptions("fold1_val"), detector=DetectorOptions("cpu")
    )
    assert (done.report.overall.ap50, done.metrics.name) == (1.0, "metrics-fold1_val.json")


class AlwaysFinds:
    """A detector that finds a dog in every image, and a faint cat."""

    labels = ("dog", "cat")
    levels = None
    thresholds = np.array([0.4, 0.3], np.float32)

    def detect_all(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Detections]:
        for _ in images:
            box = np.array([[1.0, 1, 9, 9], [20, 20, 30, 30]])
            yield Detections(box, np.array([0.45, 0.2], np.float32), np.array([0, 1]))


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DetectorOptions, "open", lambda options, run: AlwaysFinds())
    monkeypatch.setattr(module, "detect_all", lambda predictor, images: predictor.detect_all(images))


@pytest.mark.usefixtures("always")
def test_all_images_can_be_evaluated(root: Path, tmp_path: Path) -> None:
    done = evaluate_run(tmp_path, Source(root), EvalOptions(split="all"))
    assert (done.split, done.available, done.report.images, done.trained_on) == ("all", 4, 4, 0)
    assert done.metrics.name == "metrics-all.json"
    assert read_json(done.metrics)["split"] == "all"
    assert done.report.false_alarms.images == 1  # c
    with pytest.raises(SplitError, match="no split 'val'") as caught:
        evaluate_run(tmp_path, Source(root), EvalOptions(split="val"))
    assert caught.value.hint.endswith('or evaluate every image: `split="all"`')


@pytest.mark.usefixtures("always")
def test_images_that_were_trained_on_are_counted(root: Path, tmp_path: Path) -> None:
    dataset = load_dataset(Source(root)).dataset
    learned = dataset.subset(np.array([0, 3]))  # a, of test, and d
    write_image_digests(tmp_path, ["dog", "cat"], {"train": learned, "val": dataset.subset(np.array([1]))})
    for split, images in (("all", 2), ("test", 1), ("train", 1)):
        done = evaluate_run(tmp_path, Source(root), EvalOptions(split))
        assert (done.trained_on, read_json(done.metrics)["trained_on"]) == (images, images)
    export = tmp_path / "exports" / "onnx"
    export.mkdir(parents=True)
    (export / "export.json").write_text("{}")
    assert evaluate_run(export, Source(root), EvalOptions("all")).trained_on == 2


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("layout", ["annotated", "yolo", "images alone"])
def test_images_without_objects_give_false_alarms_at_the_thresholds_of_the_checkpoint(
    make_voc: MakeVoc, tmp_path: Path, layout: str
) -> None:
    root = make_voc({name: [] for name in "abcd"})
    if layout != "annotated":
        for path in (root / "Annotations").iterdir():
            path.unlink()
    if layout == "yolo":
        for name in "abcd":
            (root / "JPEGImages" / f"{name}.txt").touch()
        (root / "data.yaml").write_text("names: [dog, cat]\n")
    done = evaluate_run(tmp_path, Source(root))
    alarms = done.report.false_alarms
    assert (alarms.images, alarms.alarmed, alarms.detections, alarms.per_image) == (4, 4, 4, 1.0)
    assert [(row.label, row.false) for row in done.report.labels] == [("dog", 4), ("cat", 0)]
    assert (done.split, done.report.overall.ap50, done.report.overall.recall) == ("all", None, None)
    content = read_json(done.metrics)
    assert content["thresholds_from"] == "the checkpoint"
    assert content["false_alarms"] == {"images": 4, "alarmed": 4, "detections": 4, "per_image": 1.0}


@pytest.mark.usefixtures("always")
def test_a_broken_annotation_does_not_make_a_folder_of_images_alone(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({name: [] for name in "abc"})
    for path in (root / "Annotations").iterdir():
        path.write_text("<annotation")
    with pytest.raises(VocdetError, match="is not well-formed XML"):
        evaluate_run(tmp_path, Source(root))
