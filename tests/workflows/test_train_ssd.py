"""Training a detector: its initial weights, its results, and its errors."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf

from vocdet.api.detector import load
from vocdet.errors import AnnotationError, CheckpointError, SplitError, VocdetError
from vocdet.formats.scan import Source
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.checkpoint import CheckpointInfo, load_checkpoint, read_info, save_checkpoint
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite
from vocdet.recipes.load import load_recipe
from vocdet.recipes.schema import SsdRecipe, changed
from vocdet.runs.setup import RunOptions
from vocdet.runs.ssd import label_weights
from vocdet.training.loop import Epoch, Step
from vocdet.workflows.convert import convert
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate import evaluate_run
from vocdet.workflows.load import load_dataset
from vocdet.workflows.train_detector import DetectorResult, DetectorStart, training_events

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
STEMS = [f"img{i:02}" for i in range(12)]
SPLITS = {"train": STEMS[:8], "val": STEMS[8:11], "test": STEMS[11:]}


def recipe(**requested: Any) -> SsdRecipe:
    usual: dict[str, Any] = {"net": "mb1-0.25", "size": 64, "batch": 4, "epochs": 2, "mosaic": 0.25, "lr": 0.003}
    return changed(SsdRecipe(), **(usual | requested))


def objects(i: int) -> list[tuple[str, tuple[float, float, float, float]]]:
    cat, dog = ("cat", (5.0, 5.0 + i, 40.0, 50.0)), ("dog", (50.0, 10.0, 90.0, 40.0 + i))
    return [[cat, dog], [dog], [cat]][i % 3]


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc({stem: objects(i) for i, stem in enumerate(STEMS)}, splits=SPLITS)


def train(
    root: Path, runs: Path, requested: SsdRecipe | None = None, **more: Any
) -> tuple[DetectorStart, list[Any], DetectorResult]:
    """What a run started from, its steps and epochs, and what it ended with."""
    events = list(training_events(Source(root), requested or recipe(), RunOptions(runs=runs, device="cpu", **more)))
    started, *between, finished = events
    assert isinstance(started, DetectorStart)
    assert isinstance(finished, DetectorResult)
    assert all(isinstance(event, Step | Epoch) for event in between)
    return started, between, finished


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path)[0].state_dict()


def save_backbone(run: Path, net: str = "mb1-0.25") -> Classifier:
    """A backbone run with random weights."""
    torch.manual_seed(99)
    spec = parse_net(net)
    model = Classifier(ClassifierSpec(spec, ("x", "y"), 64, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    about = CheckpointInfo(vocdet="0", model=model.spec)
    save_checkpoint(run / "best.safetensors", model, about)
    return model


def test_a_checkpoint_has_the_range_of_deep_images_and_predicts_with_it(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({stem: objects(i) for i, stem in enumerate(STEMS)}, splits=SPLITS, suffix=".png")
    for path in (root / "JPEGImages").iterdir():
        pixels = np.linspace(29_000, 31_000, 80 * 100).astype(np.uint16).reshape(80, 100)
        Image.fromarray(pixels).save(path)
    started, _, finished = train(root, tmp_path / "runs", recipe(epochs=1))
    levels = load_dataset(Source(root)).dataset.levels
    assert levels is not None
    assert read_info(finished.run / "best.safetensors").levels == levels
    assert [finding.code for finding in started.warnings if finding.code == "image.depth"] == ["image.depth"]
    detector = load(finished.run, device="cpu")
    file = root / "JPEGImages" / f"{STEMS[0]}.png"
    from_file = detector(file, score=0)
    from_array = detector(np.asarray(Image.open(file)), score=0)
    assert from_file.boxes.tolist() == from_array.boxes.tolist()
    assert np.asarray(from_file.draw()).min() < 30
    assert (
        evaluate_run(finished.run, Source(root), EvalOptions("test"), detector=DetectorOptions("cpu")).report.images
        == 1
    )


def test_a_run_has_its_recipe_its_metrics_and_its_best_weights(root: Path, tmp_path: Path) -> None:
    started, between, finished = train(root, tmp_path / "runs")
    assert started.run == finished.run == tmp_path / "runs" / "ssd-mb1-0.25-1"
    assert (started.images, started.validation_images, started.labels) == (8, 3, ("cat", "dog"))
    assert started.weights.startswith("from scratch: no backbone run of mb1-0.25")
    assert started.transfer is None
    assert {row.label for row in started.recall} == {"cat", "dog"}
    assert [e.epoch for e in between if isinstance(e, Epoch)] == [1, 2]
    assert {p.name for p in started.run.iterdir() if "tfevents" not in p.name} == {
        "batches.png", "best.safetensors", "curves.png", "dataset.json", "environment.json", "examples.jpg", "labels.csv",
        "last.safetensors", "metrics.csv", "recipe.toml", "report-val.html", "run.json", ".vocdet.json",
        "final-state.safetensors",
    }  # fmt: skip
    assert load_recipe("ssd", str(started.run)).recipe == recipe()
    with (started.run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0].keys() >= {"seconds", "lr", "train_box", "train_class", "val_ap50", "val_ap"}
    model, about = load_checkpoint(started.run / "best.safetensors")
    assert isinstance(model, SsdLite)
    assert (about.labels, about.size) == (("cat", "dog"), (64, 64))
    assert about.model == model.spec
    assert sum(model.spec.anchors.counts) == started.anchor_shapes
    assert about.thresholds is not None
    assert msgspec.convert(about.recipe, SsdRecipe) == recipe()
    assert about.scores.keys() == {"ap50", "ap"}
    dataset = load_dataset(Source(root))
    assert about.dataset == dataset.dataset.subset(dataset.dataset.rows("train")).fingerprint()
    assert finished.summary.best_epoch in (1, 2)
    assert (finished.summary.epochs, finished.summary.interrupted) == (2, False)
    assert finished.report is not None
    assert finished.report.images == 3


def test_it_starts_from_the_newest_backbone_of_the_same_net(root: Path, tmp_path: Path) -> None:
    save_backbone(tmp_path / "runs" / "backbone-mb1-0.5-1", "mb1-0.5")
    backbone = save_backbone(tmp_path / "runs" / "backbone-mb1-0.25-1")
    events = training_events(Source(root), recipe(), RunOptions(runs=tmp_path / "runs", device="cpu"))
    started = next(events)
    assert isinstance(started, DetectorStart)
    assert started.weights == f"the newest backbone run, {tmp_path / 'runs' / 'backbone-mb1-0.25-1'}"
    assert started.transfer is not None
    loaded = {t.name for t in started.transfer.tensors if t.fate == "loaded"}
    assert loaded == {f"backbone.{name}" for name in backbone.backbone.state_dict()}
    list(events)
    about = read_info(started.run / "best.safetensors")
    assert (about.mean, about.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))  # as the backbone was trained


def test_frozen_layers_preserve_their_weights_and_statistics(root: Path, tmp_path: Path) -> None:
    backbone = save_backbone(tmp_path / "runs" / "backbone-mb1-0.25-1").backbone.state_dict()
    started, _, _ = train(root, tmp_path / "runs", recipe(freeze=4))
    found = weights(started.run / "best.safetensors")
    same = {name for name, value in backbone.items() if torch.equal(found[f"backbone.{name}"], value)}
    # the first convolution and three separable ones, of which the next has stride 8
    frozen = {name for name in backbone if int(name.split(".")[1]) < 4}
    assert frozen <= same
    assert all("num_batches" in name for name in same - frozen)


def test_none_is_from_scratch_even_with_a_backbone_run(root: Path, tmp_path: Path) -> None:
    save_backbone(tmp_path / "runs" / "backbone-mb1-0.25-1")
    started = next(
        training_events(Source(root), recipe(weights="none"), RunOptions(runs=tmp_path / "runs", device="cpu"))
    )
    assert isinstance(started, DetectorStart)
    assert (started.weights, started.transfer) == ("from scratch", None)


def test_weights_of_torchvision_are_loaded_from_a_file(root: Path, tmp_path: Path) -> None:
    theirs = MobileNetV3(*_mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.5), num_classes=1000)
    torch.save(theirs.state_dict(), tmp_path / "small.pth")
    requested = recipe(net="mb3-small-0.5", weights=str(tmp_path / "small.pth"))
    started = next(training_events(Source(root), requested, RunOptions(runs=tmp_path / "runs", device="cpu")))
    assert isinstance(started, DetectorStart)
    assert started.transfer is not None
    features = sum(name.startswith("features.") for name in theirs.state_dict())
    assert started.transfer.count("loaded") == features
    assert started.transfer.count("skipped") == len(theirs.state_dict()) - features


def test_weights_of_another_net_leave_no_run_behind(root: Path, tmp_path: Path) -> None:
    save_backbone(tmp_path / "other", "mb1-0.5")
    with pytest.raises(CheckpointError, match=r"only \d+ of 162 tensors of mb1-0.25"):
        next(
            training_events(
                Source(root), recipe(weights=str(tmp_path / "other")), RunOptions(runs=tmp_path / "runs", device="cpu")
            )
        )
    assert not (tmp_path / "runs").exists()


def test_training_on_trainval_validates_nothing_and_saves_the_last_weights(root: Path, tmp_path: Path) -> None:
    started, between, finished = train(root, tmp_path / "runs", recipe(split="trainval", patience=1))
    assert (started.images, started.validation_images) == (11, 0)
    assert (finished.summary.best_epoch, finished.summary.epochs, finished.report) == (0, 2, None)
    assert all(not event.metrics for event in between if isinstance(event, Epoch))
    best, last = started.run / "best.safetensors", started.run / "last.safetensors"
    assert best.read_bytes() == last.read_bytes()
    about = read_info(best)
    assert about.thresholds is not None
    assert about.scores == {}


def stop_after(steps: int) -> tuple[Callable[[], bool], Callable[[Any], None]]:
    seen = 0

    def count(event: object) -> None:
        nonlocal seen
        seen += isinstance(event, Step)

    return lambda: seen >= steps, count


@pytest.mark.parametrize(("steps", "epochs"), [(1, 0), (3, 1)])
def test_an_interrupted_run_has_its_weights_so_far(root: Path, tmp_path: Path, steps: int, epochs: int) -> None:
    stop, count = stop_after(steps)
    events = training_events(
        Source(root), recipe(epochs=50), RunOptions(runs=tmp_path / "runs", device="cpu", stop=stop)
    )
    for event in events:
        count(event)
    assert isinstance(event, DetectorResult)
    assert (event.summary.epochs, event.summary.best_epoch, event.summary.interrupted) == (epochs, epochs, True)
    for name in ("best", "last"):
        model, about = load_checkpoint(event.run / f"{name}.safetensors")
        assert isinstance(model, SsdLite)
        assert about.thresholds is not None


def test_a_run_that_is_killed_has_its_best_weights(root: Path, tmp_path: Path) -> None:
    events = training_events(Source(root), recipe(epochs=50), RunOptions(runs=tmp_path / "runs", device="cpu"))
    started = next(events)
    for event in events:
        if isinstance(event, Epoch):
            break
    with pytest.raises(KeyboardInterrupt):
        events.throw(KeyboardInterrupt)
    assert isinstance(started, DetectorStart)
    assert load_checkpoint(started.run / "best.safetensors")[1].scores


def test_a_run_that_ends_before_its_first_checkpoint_leaves_nothing(root: Path, tmp_path: Path) -> None:
    events = training_events(Source(root), recipe(), RunOptions(runs=tmp_path / "runs", device="cpu"))
    started = next(events)
    assert isinstance(started, DetectorStart)
    assert started.run.is_dir()
    with pytest.raises(KeyboardInterrupt):
        events.throw(KeyboardInterrupt)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_val_split_without_objects_validates_nothing(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": objects(0), "b": []}, splits={"train": ["a"], "val": ["b"]})
    started, _, finished = train(root, tmp_path / "runs", recipe(epochs=1))
    assert (started.validation_images, finished.summary.best_epoch) == (0, 0)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(root: Path, tmp_path: Path) -> None:
    root.joinpath("ImageSets/Main/val.txt").unlink()  # what is validated does not matter here
    runs = [train(root, tmp_path / "runs", recipe(seed=seed, batch=8, epochs=1))[0].run for seed in (3, 3, 4)]
    first, again, other = (weights(run / "last.safetensors") for run in runs)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_last_batch_of_one_image_and_images_without_objects_are_trained_on(make_voc: MakeVoc, tmp_path: Path) -> None:
    annotations: dict[str, Any] = {f"a{i}": [] for i in range(4)} | {"b": objects(0)}
    root = make_voc(annotations, splits={"train": list(annotations)})
    _, between, finished = train(root, tmp_path / "runs", recipe(batch=4, epochs=1))
    assert [event.images for event in between if isinstance(event, Step)] == [4, 5]
    assert all(np.isfinite(list(event.losses.values())).all() for event in between)
    assert all(bool(t.isfinite().all()) for t in weights(finished.run / "best.safetensors").values())


def test_one_label_is_enough(make_voc: MakeVoc, tmp_path: Path) -> None:
    annotations = {f"a{i}": [("dog", (10, 10, 40, 40))] for i in range(4)}
    root = make_voc(annotations, splits={"train": ["a0", "a1", "a2"], "val": ["a3"]})
    assert train(root, tmp_path / "runs", recipe(epochs=1))[0].labels == ("dog",)


def test_anchors_of_torchvision_are_used_on_request(root: Path, tmp_path: Path) -> None:
    started = next(
        training_events(Source(root), recipe(anchors="torchvision"), RunOptions(runs=tmp_path / "runs", device="cpu"))
    )
    assert isinstance(started, DetectorStart)
    assert started.anchor_shapes == sum(torchvision_anchors().counts)


def test_fine_tuning_keeps_the_neck_of_the_weights(root: Path, tmp_path: Path) -> None:
    necked, _, done = train(root, tmp_path / "runs", recipe(neck="pan", neck_channels=16, epochs=1))
    assert necked.anchor_shapes == 0
    assert {row.label for row in necked.recall} == {"cat", "dog"}
    assert done.report is not None
    plain, _, _ = train(root, tmp_path / "runs", recipe(neck="none", epochs=1))
    for first, neck in ((necked, "pan"), (plain, "none")):
        started, _, _ = train(root, tmp_path / "runs", recipe(weights=str(first.run), epochs=1))
        assert f"with their neck {neck}" in started.weights
        spec = load_checkpoint(started.run / "best.safetensors")[1].model
        assert spec == load_checkpoint(first.run / "best.safetensors")[1].model
        assert started.transfer is not None
        assert {row.fate for row in started.transfer.tensors} == {"loaded"}
    layers, _, _ = train(root, tmp_path / "runs", recipe(weights=str(necked.run), extras="plain", epochs=1))
    assert layers.anchor_shapes > 0  # extra layers that were asked for are not replaced by a neck


def test_a_label_file_decides_names_and_order(root: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\nbird\ncat\n")
    started = next(
        training_events(
            Source(root, labels=tmp_path / "labels.txt"),
            recipe(weights="none"),
            RunOptions(runs=tmp_path / "runs", device="cpu"),
        )
    )
    assert isinstance(started, DetectorStart)
    assert started.labels == ("dog", "bird", "cat")
    (tmp_path / "labels.txt").write_text("dog\n")
    with pytest.raises(VocdetError, match="'cat' is not in the label list"):
        next(
            training_events(
                Source(root, labels=tmp_path / "labels.txt"), recipe(), RunOptions(runs=tmp_path / "runs", device="cpu")
            )
        )


def test_a_dataset_without_splits_is_an_error_that_suggests_to_split(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({stem: objects(i) for i, stem in enumerate(STEMS)})
    with pytest.raises(SplitError, match="no split 'train'") as caught:
        next(training_events(Source(root), recipe(), RunOptions(runs=tmp_path / "runs")))
    assert caught.value.hint == "create splits: `vocdet.split(dataset)`"


def test_a_split_without_objects_is_an_error(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [], "b": [], "c": objects(0)}, splits={"train": ["a", "b"], "val": ["c"]})
    with pytest.raises(AnnotationError, match="no objects in the train split"):
        next(training_events(Source(root), recipe(), RunOptions(runs=tmp_path / "runs")))


def test_an_unknown_net_or_device_leaves_no_run_behind(root: Path, tmp_path: Path) -> None:
    with pytest.raises(VocdetError, match="unknown net 'mb7'"):
        next(training_events(Source(root), recipe(net="mb7"), RunOptions(runs=tmp_path / "runs")))
    with pytest.raises(VocdetError, match="device 'tpu' is not available"):
        next(training_events(Source(root), recipe(), RunOptions(runs=tmp_path / "runs", device="tpu")))
    assert not (tmp_path / "runs").exists()


def test_rare_labels_weigh_more_and_the_mean_weight_is_one() -> None:
    labels = np.repeat([0, 1, 3], [900, 90, 10]).astype(np.int32)
    for balance in (0.0, 0.5, 1.0):
        found = np.array(label_weights(labels, 4, balance))
        assert found[labels].mean() == pytest.approx(1)
    assert label_weights(labels, 4, 0.0) == pytest.approx([1] * 4)
    every = np.array(label_weights(labels, 4, 1.0)) * [900, 90, 1, 10]
    assert every[[0, 1, 3]] == pytest.approx([1000 / 3] * 3, rel=0.01)  # all labels count the same


@pytest.fixture
def squares(make_voc: MakeVoc) -> Iterator[Path]:
    """Eight images with a red and a blue square each."""
    rng = np.random.default_rng(0)
    colors = {"red": (220, 30, 30), "blue": (30, 30, 220)}
    annotations: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for stem in STEMS[:8]:
        annotations[stem] = []
        for k, label in enumerate(colors):
            side, x = int(rng.integers(22, 40)), int(rng.integers(0, 56))
            y = 48 * k + int(rng.integers(0, 48 - side))
            annotations[stem].append((label, (x, y, x + side, y + side)))
    root = make_voc(annotations, size=(96, 96), suffix=".png", splits={"train": STEMS[:8]})
    for stem, objects in annotations.items():
        pixels = np.full((96, 96, 3), rng.integers(90, 160), np.uint8)
        for label, (x0, y0, x1, y1) in objects:
            pixels[y0:y1, x0:x1] = colors[label]
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{stem}.png")
    yield root


def test_a_detector_learns_a_few_simple_images(squares: Path, tmp_path: Path) -> None:
    requested = recipe(
        weights="none",
        batch=8,
        epochs=80,
        mosaic=0,
        color=0.0,
        whole=1.0,
        flip=False,
        lr=6e-3,
        weight_decay=0.02,
        average=0.95,
    )
    _, _, finished = train(squares, tmp_path / "runs", requested)
    report = evaluate_run(
        finished.run, Source(squares), EvalOptions(split="train"), detector=DetectorOptions("cpu")
    ).report
    assert report.overall.ap50 is not None
    assert report.overall.ap50 > 0.85
    assert report.overall.f1 is not None
    assert report.overall.f1 > 0.85


def test_the_start_explains_coordinates_only_where_a_format_leaves_a_choice(root: Path, tmp_path: Path) -> None:
    def start(source: Source) -> DetectorStart:
        events = training_events(source, recipe(epochs=1), RunOptions(runs=tmp_path / "runs", device="cpu"))
        event = next(events)
        events.close()
        assert isinstance(event, DetectorStart)
        return event

    assert start(Source(root)).coordinates.startswith("zero-based: ")
    convert(Source(root), tmp_path / "coco", "coco")
    assert start(Source(tmp_path / "coco")).coordinates == ""
