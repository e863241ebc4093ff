"""Training: a dataset, a recipe, and values that override the recipe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

from vocdet.api.dataset import Data, as_loaded
from vocdet.api.run import Run
from vocdet.errors import RecipeError
from vocdet.fetching.weights_files import Downloads
from vocdet.formats.scan import Source
from vocdet.models.checkpoint import read_info
from vocdet.outputs import BEST
from vocdet.recipes.load import load_recipe, task_of
from vocdet.recipes.schema import DETECTORS, TASKS, BackboneRecipe, Recipe, changed
from vocdet.runs.journal import RECIPE
from vocdet.runs.resume import CHOICES
from vocdet.runs.setup import RunOptions, never
from vocdet.runs.tracking import Service
from vocdet.runs.training_run import Note
from vocdet.training.loop import Epoch, Step
from vocdet.wording import did_you_mean, listed
from vocdet.workflows import train_backbone as backbones
from vocdet.workflows import train_detector as detectors
from vocdet.workflows.load import Loaded

# The name of a bundled recipe, a .toml file, a run's folder, or the recipe itself.
RecipeChoice: TypeAlias = "str | Path | Recipe"
_LOG = logging.getLogger("vocdet")
DEFAULT_DETECTOR = "ssdlite-mb3-small"
DEFAULT_BACKBONE = changed(BackboneRecipe(), net="mb3-small")  # unlike the recipe of this name, it never stops early


def train_detector(
    dataset: Data,
    recipe: RecipeChoice = DEFAULT_DETECTOR,
    *,
    runs: str | Path = "runs",
    device: str = "auto",
    resume: Run | str | Path | None = None,
    track: Service | None = None,
    stop: Callable[[], bool] = never,
    **values: Any,
) -> Run:
    """Train a detector to the end, and return its run: a new folder in `runs`.

    `recipe` is the name of a bundled recipe, a .toml file, or a run folder, whose recipe is used again. `values` are
    any of its values by name: `minutes=10`, `net="mb3-large"`, `weights=run`, `flip=False`. It trains on the split
    `train` and keeps the last averaged weights, or the epoch that is best on `val` if `val` shows that it is better.
    `resume` is an interrupted run, which continues with the same
    dataset and its own recipe, or a finished one, which continues with a new schedule: `epochs=200` in all, or
    `minutes=30` more. `track` also logs the run to a service: "wandb" or "mlflow". When `stop()` is true, training
    ends after the step.

    By default it starts from the newest backbone run of the net, else from published weights, which it may download.
    The logger `vocdet` warns of a download before, and of a start from scratch.

    Training on a CPU is faster when `prepare_cpu` is called before anything else.

    >>> run = vocdet.train_detector("shelf", net="mb1-0.25", size=64, batch=4, epochs=1, runs="runs")
    >>> run
    <run runs/ssd-mb1-0.25-..., epochs: 1, best: 1, ap50 ..., ap ...>
    """
    return _last_event(
        training_events(dataset, recipe, runs=runs, device=device, resume=resume, track=track, stop=stop, **values)
    )


def train_backbone(
    dataset: Data,
    recipe: RecipeChoice = DEFAULT_BACKBONE,
    *,
    runs: str | Path = "runs",
    device: str = "auto",
    resume: Run | str | Path | None = None,
    track: Service | None = None,
    stop: Callable[[], bool] = never,
    **values: Any,
) -> Run:
    """Train a classifier on the objects of a dataset to the end: the backbone that a detector starts from.

    The arguments are those of `train_detector`. By default it does not stop early, like the command; the recipe
    `"backbone"` does, after 20 epochs without improvement.

    >>> run = vocdet.train_backbone("shelf", net="mb1-0.25", size=32, epochs=1)
    >>> sorted(run.metrics)
    ['accuracy', 'loss', 'mean_label_accuracy']
    """
    resolved = resolved_recipe(_own_recipe(resume, recipe, DEFAULT_BACKBONE), ("backbone",), values)
    options = _run_options(runs, device, resume, track, stop, values)
    return _last_event(backbones.backbone_events(_source_of(dataset), resolved, options))


def training_events(
    dataset: Data,
    recipe: RecipeChoice = DEFAULT_DETECTOR,
    *,
    runs: str | Path = "runs",
    device: str = "auto",
    resume: Run | str | Path | None = None,
    track: Service | None = None,
    stop: Callable[[], bool] = never,
    **values: Any,
) -> Iterator[detectors.DetectorStart | Step | Epoch | Note | detectors.DetectorResult]:
    """Train a detector, and yield what happens.

    First a `DetectorStart`, then a `Step` for every step and an `Epoch` for every epoch, at the end a
    `DetectorResult`.

    The arguments are those of `train_detector`. Closing the iterator interrupts the training.

    >>> for event in vocdet.training_events("shelf", net="mb1-0.25", size=64, batch=4, epochs=1, runs="runs"):
    ...     if isinstance(event, vocdet.Epoch):
    ...         print(event.epoch, sorted(event.metrics))
    1 ['ap', 'ap50', 'f1', 'loss']
    """
    resolved = resolved_recipe(_own_recipe(resume, recipe, DEFAULT_DETECTOR), DETECTORS, values)
    options = _run_options(runs, device, resume, track, stop, values)
    return detectors.training_events(_source_of(dataset), resolved, options)


def _source_of(dataset: Data) -> Source | Loaded:
    """A path is read when training starts; a dataset in memory is used directly."""
    return Source(Path(dataset)) if isinstance(dataset, str | Path) else as_loaded(dataset)


def _last_event(events: Iterable[Any]) -> Run:
    """Train to the end; a start from scratch for lack of weights is logged."""
    result: Any = None
    for result in events:  # the last event is the result
        if isinstance(result, backbones.BackboneStart | detectors.DetectorStart) and result.weights_warning:
            _LOG.warning(result.weights_warning)
    return as_run(result)


def as_run(result: backbones.BackboneResult | detectors.DetectorResult) -> Run:
    """The run of a training that ended."""
    run, summary = result.run, result.summary
    scores = dict(read_info(run / BEST).scores)
    return Run(run, scores, summary.best_epoch, summary.epochs, summary.interrupted, summary.remarks())


def resolved_recipe(recipe: RecipeChoice, tasks: tuple[str, ...], values: dict[str, Any]) -> Any:
    """The recipe with the values on top. `RecipeError` for one of another task, and for values it does not have."""
    if isinstance(recipe, str | Path):
        task = task_of(str(recipe))
    else:
        task = next(name for name, kind in TASKS.items() if isinstance(recipe, kind))
    if task not in tasks:
        other = "`vocdet.train_backbone(dataset)`" if task == "backbone" else "`vocdet.train_detector(dataset)`"
        raise RecipeError(f"{recipe} is a recipe of task {task}", hint=f"use {other}")
    plain = plain_values(task, values)
    if isinstance(recipe, str | Path):
        return load_recipe(task, str(recipe), values=plain).recipe
    base: Any = recipe
    return changed(base, **plain)


def plain_values(task: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe by name, with paths in place of runs; a `RecipeError` for a name that it does not have."""
    known = [value.name for section in fields(TASKS[task]()) for value in fields(getattr(TASKS[task](), section.name))]
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known) or f"it has {listed(known)}"
            raise RecipeError(f"a recipe of task {task} has no {name!r}", hint=hint)
    return {name: str(value.path if isinstance(value, Run) else value) if isinstance(value, Run | Path) else value
            for name, value in values.items()}  # fmt: skip


def _own_recipe(resume: Run | str | Path | None, recipe: RecipeChoice, default: RecipeChoice) -> RecipeChoice:
    """The recipe of the run to resume, unless another than the default is given."""
    run = _path_of(resume)
    return run if run and recipe == default and (run / RECIPE).is_file() else recipe


def _run_options(
    runs: str | Path,
    device: str,
    resume: Run | str | Path | None,
    track: Service | None,
    stop: Callable[[], bool],
    values: Mapping[str, object],
) -> RunOptions:
    return RunOptions(
        runs=Path(runs), device=device, resume=_path_of(resume), given=CHOICES.intersection(values), track=track,
        stop=stop, downloads=Downloads(_LOG.warning),
    )  # fmt: skip


def _path_of(run: Run | str | Path | None) -> Path | None:
    return None if run is None else Path(run)
