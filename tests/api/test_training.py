"""Training from Python: the recipe, its values, the run, and what cannot be trained."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vocdet
from vocdet.recipes.load import load_recipe
from vocdet.recipes.schema import SsdRecipe, changed

TINY: dict[str, Any] = {"net": "mb1-0.25", "size": 64, "batch": 4, "epochs": 1, "mosaic": 0.0}


@pytest.fixture(autouse=True)
def _quick(no_curves: None) -> None:
    """Curves take longer than these trainings."""


def test_a_run_says_how_good_it_is(trained: tuple[Path, vocdet.Run]) -> None:
    run = trained[1]
    assert run.path.name == "ssd-mb1-0.25-1"
    assert run.metrics.keys() == {"ap50", "ap"}
    assert (run.epochs, run.interrupted) == (8, False)
    assert 1 <= run.best_epoch <= 8
    assert (Path(run) / "best.safetensors").is_file()
    assert repr(run).startswith(f"<run {run.path}, epochs: 8, best: {run.best_epoch}, ap50 ")


def test_splits_in_memory_are_trained_on(shelf: Path, tmp_path: Path) -> None:
    dataset = vocdet.split(vocdet.read(shelf), trainval=0.5, train=0.5, seed=4)
    start, *_, result = vocdet.training_events(dataset, runs=tmp_path / "runs", device="cpu", **TINY)
    assert isinstance(start, vocdet.DetectorStart)
    assert isinstance(result, vocdet.DetectorResult)
    assert start.images == len(dataset.splits["train"]) == 3
    assert result.run == tmp_path / "runs" / "ssd-mb1-0.25-1"


def test_a_path_and_the_dataset_read_from_it_train_the_same(shelf: Path, tmp_path: Path) -> None:
    runs = [
        vocdet.train_detector(data, runs=tmp_path / name, device="cpu", **TINY)
        for name, data in (("path", str(shelf)), ("memory", vocdet.read(shelf)))
    ]
    assert runs[0].metrics == runs[1].metrics
    first, second = ((run.path / "best.safetensors").read_bytes() for run in runs)
    assert first == second


def test_a_recipe_is_a_name_a_file_a_run_or_an_object(shelf: Path, tmp_path: Path) -> None:
    run = vocdet.train_detector(shelf, changed(SsdRecipe(), **TINY), runs=tmp_path / "runs", device="cpu")
    again = vocdet.train_detector(shelf, run.path, seed=7, runs=tmp_path / "runs", device="cpu")
    recipe = load_recipe("ssd", str(again.path)).recipe
    assert (recipe.model.net, recipe.train.epochs, recipe.train.seed) == ("mb1-0.25", 1, 7)


def test_a_backbone_stops_early_only_on_request_like_its_command() -> None:
    default = signature(vocdet.train_backbone).parameters["recipe"].default
    assert default == load_recipe("backbone", None, values={"net": "mb3-small"}).recipe
    assert (default.train.patience, load_recipe("backbone", "backbone").recipe.train.patience) == (0, 20)


def test_a_detector_starts_from_a_backbone_run(shelf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backbone = vocdet.train_backbone(
        shelf, net="mb1-0.25", size=32, epochs=1, batch=8, runs=tmp_path / "runs", device="cpu"
    )
    assert backbone.metrics.keys() == {"accuracy", "mean_label_accuracy", "loss"}
    (warning,) = caplog.messages
    assert warning.startswith("mb1-0.25 starts from scratch, without pretrained weights")
    run = vocdet.train_detector(shelf, weights=backbone, runs=tmp_path / "runs", device="cpu", **TINY)
    assert load_recipe("ssd", str(run.path)).recipe.model.weights == str(backbone.path)
    assert caplog.messages == [warning]
    with pytest.raises(vocdet.CheckpointError):
        vocdet.load(backbone)


def test_an_interrupted_training_resumes(shelf: Path, tmp_path: Path) -> None:
    values = TINY | {"epochs": 2}
    whole = vocdet.train_detector(shelf, runs=tmp_path / "whole", device="cpu", **values)
    steps = iter(range(10))
    half = vocdet.train_detector(shelf, runs=tmp_path / "half", device="cpu", stop=lambda: next(steps) >= 1, **values)
    assert half.interrupted
    done = vocdet.train_detector(shelf, runs=tmp_path / "half", device="cpu", resume=half, **values)
    assert (done.path, done.interrupted, done.epochs) == (half.path, False, 2)
    assert (done.path / "last.safetensors").read_bytes() == (whole.path / "last.safetensors").read_bytes()


def test_events_come_as_they_happen(shelf: Path, tmp_path: Path) -> None:
    events: Iterator[Any] = vocdet.training_events(shelf, runs=tmp_path / "runs", device="cpu", **TINY)
    assert next(events).labels == ("circle", "square")
    epochs = [event for event in events if isinstance(event, vocdet.Epoch)]
    assert [epoch.epoch for epoch in epochs] == [1]


@pytest.mark.parametrize(
    ("recipe", "values", "problem", "hint"),
    [
        ("ssdlite-mb3-small", {"epoch": 3}, "no 'epoch'", "'epochs'"),
        ("ssdlite-mb3-small", {"epochs": 0}, "epochs is 0", "from 1 to"),
        ("ssdlite-mb3-tiny", {}, "unknown recipe 'ssdlite-mb3-tiny'", "ssdlite-mb"),
        ("backbone", {}, "is a recipe of task backbone", "vocdet.train_backbone"),
    ],
)
def test_a_wrong_recipe_or_value_is_an_error(
    recipe: str, values: dict[str, Any], problem: str, hint: str, shelf: Path
) -> None:
    with pytest.raises(vocdet.VocdetError, match=problem) as caught:
        vocdet.train_detector(shelf, recipe, **values)
    assert hint in caught.value.hint


def test_a_backbone_is_not_trained_with_a_detectors_recipe(shelf: Path) -> None:
    with pytest.raises(vocdet.RecipeError, match="task ssd") as caught:
        vocdet.train_backbone(shelf, "ssdlite-mb3-small")
    assert "vocdet.train_detector" in caught.value.hint


def test_a_dataset_made_in_memory_without_a_train_split_cannot_be_trained_on(shelf: Path) -> None:
    dataset = vocdet.read(shelf)
    bare = vocdet.Dataset(dataset.root, dataset.labels, dataset.images, dataset.objects, dataset.poses)
    with pytest.raises(vocdet.SplitError):
        vocdet.train_detector(bare, **TINY)
    assert np.array_equal(bare.objects.box, dataset.objects.box)


def test_the_recipe_selects_the_kind_of_detector(shelf: Path, tmp_path: Path) -> None:
    values = TINY | {"longest": 96, "masks": False, "weights": "none", "channels": 16}
    run = vocdet.train_detector(shelf, "maskrcnn-mb3-small", runs=tmp_path / "runs", device="cpu", **values)
    assert run.path.name == "maskrcnn-mb1-0.25-1"
    found = vocdet.load(run, device="cpu")(shelf / "JPEGImages" / "img00.jpg", score=0.0)
    assert found.masks is None
    assert found.boxes.shape == (len(found), 4)


def test_a_finished_training_continues_with_more_epochs(shelf: Path, tmp_path: Path) -> None:
    run = vocdet.train_detector(shelf, runs=tmp_path / "runs", device="cpu", **TINY)
    with pytest.raises(vocdet.RunError, match="this training is finished, after 1 epoch") as caught:
        vocdet.train_detector(shelf, runs=tmp_path / "runs", device="cpu", resume=run)
    assert caught.value.hint == "continue it with a new schedule: `epochs=2` in all, or `minutes=30` more"
    longer = vocdet.train_detector(shelf, runs=tmp_path / "runs", device="cpu", resume=run, epochs=2)
    assert (longer.path, longer.epochs, longer.interrupted) == (run.path, 2, False)
