"""Training on few images: how often an epoch uses them, which weights are kept, and what is said about them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from vocdet.formats.scan import Source
from vocdet.models.checkpoint import load_checkpoint, read_info
from vocdet.recipes import length
from vocdet.recipes.schema import SsdRecipe, changed
from vocdet.runs import validation
from vocdet.runs.setup import RunOptions
from vocdet.runs.validation import DetectorValidator
from vocdet.training.loop import Epoch, Step, Validation
from vocdet.workflows.train_detector import DetectorResult, DetectorStart, training_events

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
STEMS = [f"img{i:02}" for i in range(11)]
CAT = [("cat", (5.0, 5.0, 60.0, 50.0))]
TINY = changed(SsdRecipe(), net="mb1-0.25", size=64, batch=4, mosaic=0.0, weights="none", lr=0.003)


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc(dict.fromkeys(STEMS, CAT), splits={"train": STEMS[:8], "val": STEMS[8:]})


@pytest.fixture
def peak_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations whose first rank is the highest."""
    real, ranks = DetectorValidator.validate, iter([(9.0,), (1.0,), (2.0,)] * 9)

    def ranked(self: DetectorValidator, model: nn.Module) -> Validation:
        return Validation(real(self, model).metrics, next(ranks))

    monkeypatch.setattr(DetectorValidator, "validate", ranked)


def events(root: Path, recipe: SsdRecipe, **options: Any) -> Iterator[Any]:
    return training_events(Source(root), recipe, RunOptions(runs=root.parent / "runs", device="cpu", **options))


def result(root: Path, recipe: SsdRecipe, **options: Any) -> DetectorResult:
    *_, last = events(root, recipe, **options)
    assert isinstance(last, DetectorResult)
    return last


def marked(run: Path) -> list[str]:
    with (run / "metrics.csv").open(newline="") as file:
        return [row["best"] for row in csv.DictReader(file)]


@pytest.mark.usefixtures("peak_at_first")
def test_the_last_weights_are_kept_where_three_images_prefer_an_earlier_epoch(root: Path) -> None:
    done = result(root, changed(TINY, epochs=3))
    assert (done.summary.peak_epoch, done.summary.best_epoch) == (1, 3)
    best, last = ((done.run / f"{name}.safetensors").read_bytes() for name in ("best", "last"))
    assert best == last
    assert marked(done.run)[-1] == "1"
    assert done.report is not None
    assert read_info(done.run / "best.safetensors").scores["ap"] == done.report.overall.ap
    status = msgspec.json.decode((done.run / "run.json").read_bytes())
    assert status["summary"]["verdict"]["samples"] == 3
    assert status["summary"]["remarks"] == list(done.summary.remarks())
    assert "3 validation images with 3 objects cannot tell" in done.summary.remarks()[1]


@pytest.mark.usefixtures("peak_at_first")
def test_the_best_epoch_is_kept_where_the_validation_shows_that_it_is_better(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "is_surely_better", lambda samples, gain: True)
    kept: list[dict[str, torch.Tensor]] = []
    for event in events(root, changed(TINY, epochs=3)):
        if isinstance(event, DetectorStart):
            run = event.run
        if isinstance(event, Epoch) and event.epoch == 1:
            kept.append(load_checkpoint(run / "best.safetensors")[0].state_dict())
    assert (event.summary.peak_epoch, event.summary.best_epoch) == (1, 1)
    assert marked(run) == ["1", "0", "0"]
    best = load_checkpoint(run / "best.safetensors")[0].state_dict()
    assert all(torch.equal(best[name], value) for name, value in kept[0].items())


@pytest.mark.usefixtures("peak_at_first")
def test_a_resumed_training_reports_a_best_epoch_from_before_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "is_surely_better", lambda samples, gain: True)
    recipe = changed(TINY, epochs=3)
    seen: list[Step] = []
    for event in events(root, recipe, stop=lambda: len(seen) >= 3):  # of two steps an epoch
        if isinstance(event, Step):
            seen.append(event)
    assert event.summary.interrupted
    page = event.run / "report-val.html"
    page.unlink()
    done = result(root, recipe, resume=event.run)
    assert done.summary.best_epoch == 1
    assert done.report is not None
    assert read_info(done.run / "best.safetensors").scores["ap"] == done.report.overall.ap
    assert page.is_file()


@pytest.mark.usefixtures("peak_at_first")
def test_a_training_with_frozen_norms_compares_its_best_epoch_too(root: Path) -> None:
    start = result(root, changed(TINY, epochs=3)).run
    done = result(root, changed(TINY, weights=str(start), freeze_norm=True, epochs=3))
    assert done.summary.peak_epoch < done.summary.best_epoch == 3
    assert done.summary.verdict is not None


def test_while_nothing_is_detected_the_loss_ranks_epochs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = []
    real = DetectorValidator.validate

    def recorded(self: DetectorValidator, model: nn.Module) -> Validation:
        done = real(self, model)
        ranks.append((done.rank, done.metrics))
        return done

    monkeypatch.setattr(DetectorValidator, "validate", recorded)
    result(root, changed(TINY, epochs=2))
    for rank, metrics in ranks:
        assert rank == (metrics["ap50"], metrics["ap"], 0.0, -metrics["loss"])


def test_an_epoch_of_few_images_has_several_passes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length, "FEWEST_STEPS", 400)  # four steps an epoch: two passes over eight images
    start, first, *_ = islice(events(root, TINY), 2)
    assert isinstance(start, DetectorStart)
    assert isinstance(first, Step)
    assert (start.recipe.data.repeat, first.of) == (2, 16)
    assert any("2 passes" in note for note in start.notes)


def test_an_interruption_between_two_passes_changes_nothing(root: Path) -> None:
    recipe = changed(TINY, epochs=2, repeat=2)
    seen: list[Step] = []
    whole = result(root, recipe)
    half = events(root, recipe, stop=lambda: len(seen) >= 3)  # of four steps an epoch
    for event in half:
        if isinstance(event, Step):
            seen.append(event)
    assert (len(seen), event.summary.interrupted) == (3, True)
    resumed = result(root, recipe, resume=event.run)
    assert resumed.summary.remarks() == whole.summary.remarks()
    one, other = (load_checkpoint(done.run / "best.safetensors")[0].state_dict() for done in (whole, resumed))
    assert all(torch.equal(other[name], value) for name, value in one.items())
