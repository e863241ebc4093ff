"""Training a classifier on objects or on image folders."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vocdet.errors import AnnotationError, SplitError, VocdetError
from vocdet.formats.scan import Source
from vocdet.models.checkpoint import load_checkpoint
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.recipes.load import load_recipe
from vocdet.recipes.schema import BackboneRecipe, changed
from vocdet.runs.setup import RunOptions
from vocdet.training.loop import Epoch, Step, Validation
from vocdet.workflows import train_backbone
from vocdet.workflows.train_backbone import BackboneResult, BackboneStart, ClassifierValidator, backbone_events

MakeVoc = Callable[..., Path]
STEMS = [f"img{i:02}" for i in range(12)]
SPLITS = {"train": STEMS[:8], "val": STEMS[8:11], "test": STEMS[11:]}
BOTH = [("cat", (5.0, 5.0, 40.0, 50.0)), ("dog", (50.0, 10.0, 90.0, 70.0))]


@pytest.fixture(autouse=True)
def one_run_has_curves(request: pytest.FixtureRequest) -> None:
    """Curves are drawn in the first test alone: they take longer than these trainings."""
    if request.function is not test_a_run_has_its_recipe_its_metrics_and_its_best_weights:
        request.getfixturevalue("no_curves")


def recipe(**requested: Any) -> BackboneRecipe:
    usual: dict[str, Any] = {"net": "mb1-0.25", "size": 32, "batch": 8, "epochs": 2}
    return changed(BackboneRecipe(), **(usual | requested))


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc(dict.fromkeys(STEMS, BOTH), splits=SPLITS)


def train(
    root: Path, runs: Path, requested: BackboneRecipe | None = None, **more: Any
) -> tuple[BackboneStart, list[Any], BackboneResult]:
    """What a run started from, its steps and epochs, and what it ended with."""
    started, *between, finished = backbone_events(
        Source(root), requested or recipe(), RunOptions(runs=runs, device="cpu"), **more
    )
    assert isinstance(started, BackboneStart)
    assert isinstance(finished, BackboneResult)
    return started, between, finished


def read_table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_run_has_its_recipe_its_metrics_and_its_best_weights(root: Path, tmp_path: Path) -> None:
    started, between, finished = train(root, tmp_path / "runs")
    assert started.run == tmp_path / "runs" / "backbone-mb1-0.25-1"
    assert (started.crops, started.validation_crops, started.labels) == (16, 6, ("cat", "dog"))
    assert (started.weights, started.transfer) == ("from scratch: no weights are published for mb1-0.25", None)
    epochs = [event for event in between if isinstance(event, Epoch)]
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert epochs[0].metrics.keys() == {"accuracy", "mean_label_accuracy", "loss"}
    assert {p.name for p in started.run.iterdir() if "tfevents" not in p.name} == {
        "batches.png", "best.safetensors", "confusion.csv", "curves.png", "dataset.json", "environment.json", "examples.jpg", "labels.csv",
        "last.safetensors", "metrics.csv", "recipe.toml", "run.json", ".vocdet.json", "final-state.safetensors",
    }  # fmt: skip
    assert load_recipe("backbone", str(started.run)).recipe == recipe()
    model, about = load_checkpoint(started.run / "best.safetensors")
    assert isinstance(model, Classifier)
    assert (about.task, about.labels, about.size) == ("backbone", ("cat", "dog"), (32, 32))
    assert (model.spec, model.spec.context) == (about.model, 0.15)
    best = epochs[finished.summary.best_epoch - 1]
    assert about.scores == pytest.approx(best.metrics)
    confusion = finished.confusion
    assert confusion is not None
    assert confusion.sum(axis=1).tolist() == [3, 3]  # labels in rows: three cats and three dogs in val
    assert best.metrics["accuracy"] == pytest.approx(confusion.trace() / 6)
    assert read_table(started.run / "confusion.csv") == [
        ["label", "cat", "dog"], ["cat", *map(str, confusion[0])], ["dog", *map(str, confusion[1])],
    ]  # fmt: skip


def test_without_a_val_split_the_last_epoch_is_the_best(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc(dict.fromkeys(STEMS, BOTH), splits={"train": STEMS})
    started, _, finished = train(root, tmp_path / "runs")
    assert (started.validation_crops, finished.summary.best_epoch, finished.confusion) == (0, 0, None)
    best, last = (started.run / f"{name}.safetensors" for name in ("best", "last"))
    assert best.read_bytes() == last.read_bytes()
    assert load_checkpoint(best)[1].scores == {}


def test_a_label_missing_from_val_does_not_give_nan(make_voc: MakeVoc, tmp_path: Path) -> None:
    scenes = dict.fromkeys(STEMS, BOTH) | {STEMS[0]: [*BOTH, ("owl", (1.0, 1.0, 9.0, 9.0))]}
    _, between, finished = train(make_voc(scenes, splits=SPLITS), tmp_path / "runs")
    assert all(np.isfinite(list(e.metrics.values())).all() for e in between if isinstance(e, Epoch))
    assert finished.confusion is not None
    assert finished.confusion.sum(axis=1).tolist() == [3, 3, 0]


@pytest.mark.parametrize(("steps", "epochs"), [(1, 0), (3, 1)])
def test_an_interrupted_run_has_its_weights_so_far(root: Path, tmp_path: Path, steps: int, epochs: int) -> None:
    done: list[Step] = []
    for event in backbone_events(
        Source(root),
        recipe(epochs=50),
        RunOptions(runs=tmp_path / "runs", device="cpu", stop=lambda: len(done) >= steps),
    ):
        if isinstance(event, Step):
            done.append(event)
    assert isinstance(event, BackboneResult)
    assert (event.summary.epochs, event.summary.best_epoch, event.summary.interrupted) == (epochs, epochs, True)
    assert all(isinstance(load_checkpoint(event.run / f"{n}.safetensors")[0], Classifier) for n in ("best", "last"))


def test_a_resumed_training_reports_a_best_epoch_from_before_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_backbone, "is_surely_better", lambda samples, gain: True)
    real, ranks = ClassifierValidator.validate, iter([(9.0,), (1.0,), (2.0,), (0.0,)])
    monkeypatch.setattr(
        ClassifierValidator, "validate", lambda self, model: Validation(real(self, model).metrics, next(ranks))
    )
    seen: list[Step] = []
    options = RunOptions(runs=tmp_path, device="cpu", stop=lambda: len(seen) >= 3)  # of two steps an epoch
    for event in backbone_events(Source(root), recipe(epochs=3), options):
        if isinstance(event, Step):
            seen.append(event)
    assert isinstance(event, BackboneResult)
    assert event.summary.interrupted
    *_, done = backbone_events(
        Source(root), recipe(epochs=3), RunOptions(runs=tmp_path, device="cpu", resume=event.run)
    )
    assert isinstance(done, BackboneResult)
    assert done.summary.best_epoch == 1
    assert done.confusion is not None
    scores = load_checkpoint(done.run / "best.safetensors")[1].scores
    assert scores["accuracy"] == pytest.approx(done.confusion.trace() / 6)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(root: Path, tmp_path: Path) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        run = train(root, tmp_path / "runs", recipe(seed=seed, batch=16, epochs=1))[0].run
        return load_checkpoint(run / "last.safetensors")[0].state_dict()

    first, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_last_batch_of_one_crop_is_trained_on(root: Path, tmp_path: Path) -> None:
    _, between, _ = train(root, tmp_path / "runs", recipe(batch=15, epochs=1))
    assert [event.images for event in between if isinstance(event, Step)] == [15, 16]


def test_a_backbone_can_start_from_an_earlier_one(root: Path, tmp_path: Path) -> None:
    first = train(root, tmp_path / "runs", recipe(epochs=1))[0].run
    options = RunOptions(runs=tmp_path / "runs", device="cpu")
    started = next(backbone_events(Source(root), recipe(weights=str(first)), options))
    assert isinstance(started, BackboneStart)
    assert started.weights == f"the run {first}"
    assert started.transfer is not None
    assert {t.fate for t in started.transfer.tensors} == {"loaded"}


def test_an_image_folder_is_trained_on_whole_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, color in (("blue", (40, 40, 200)), ("red", (200, 40, 40))):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(np.array(color) + rng.normal(0, 25, (32, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{i}.png")
    requested = recipe(epochs=25, average=0.9, patience=0, color=0.0)  # the labels differ by color
    started, _, finished = train(tmp_path / "set", tmp_path / "runs", requested, folder=True)
    assert (started.crops, started.validation_crops, started.labels) == (36, 4, ("blue", "red"))
    assert finished.confusion is not None
    assert finished.confusion.tolist() == [[2, 0], [0, 2]]
    spec = load_checkpoint(started.run / "best.safetensors")[1].model
    assert isinstance(spec, ClassifierSpec)
    assert spec.context == 0.0


def test_one_label_is_an_error(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [("dog", (1.0, 2.0, 30.0, 40.0))]}, splits={"train": ["a"]})
    with pytest.raises(AnnotationError, match="all objects are dog: a classifier needs two labels") as caught:
        next(backbone_events(Source(root), recipe(), RunOptions(runs=tmp_path / "runs")))
    assert caught.value.hint == "continue with `vocdet.train_detector(dataset)`"


def test_a_split_without_objects_is_an_error(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [], "b": BOTH}, splits={"train": ["a"], "val": ["b"]})
    with pytest.raises(AnnotationError, match="no objects in the train split") as caught:
        next(backbone_events(Source(root), recipe(), RunOptions(runs=tmp_path / "runs")))
    assert caught.value.hint == "choose other splits with `vocdet.split(dataset)`"


def test_a_dataset_without_splits_is_an_error_that_suggests_to_split(make_voc: MakeVoc, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="no split 'train'") as caught:
        next(
            backbone_events(Source(make_voc(dict.fromkeys(STEMS, BOTH))), recipe(), RunOptions(runs=tmp_path / "runs"))
        )
    assert caught.value.hint == "create splits: `vocdet.split(dataset)`"


def test_errors_leave_no_run_behind(root: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(VocdetError, match="unknown net 'vgg'"):
        next(backbone_events(Source(root), recipe(net="vgg"), RunOptions(runs=runs)))
    with pytest.raises(VocdetError, match="no such file of weights"):
        next(backbone_events(Source(root), recipe(weights="nothing.pth"), RunOptions(runs=runs)))
    with pytest.raises(VocdetError, match="device 'tpu' is not available"):
        next(backbone_events(Source(root), recipe(), RunOptions(runs=runs, device="tpu")))
    with pytest.raises(VocdetError, match=r"mb1-0\.25 has no reduced tail"):
        next(backbone_events(Source(root), recipe(reduced_tail=True), RunOptions(runs=runs)))
    assert not runs.exists()
