"""One training run: what both trainings share around the loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vocdet.inference.predictor import BEST
from vocdet.inputs.samples import Samples, batches
from vocdet.models.checkpoint import SUFFIX, About, save_checkpoint
from vocdet.recipes.schema import Recipe
from vocdet.training.loop import Epoch, Limits, Step, Task, Validation, fit
from vocdet.training.optim import MovingAverage, make_optimizer
from vocdet.training.shards import shard_count
from vocdet.workflows.runs import Journal

LAST = f"last{SUFFIX}"
ENDLESS = 1 << 31  # epochs
KEEP_EVERY = 20.0  # seconds: epochs of a second are not each worth a wait for the disk


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a run came."""

    best_epoch: int  # 0: none was validated
    epochs: int
    interrupted: bool


class TrainingRun:
    """Trains, and keeps recipe, metrics and checkpoints of the averaged weights in a run folder."""

    def __init__(self, run: Path, recipe: Recipe, task: Task[Any], *, backbone_lr: float = 1.0) -> None:
        self.journal = Journal(run)
        self.journal.json("recipe.json", asdict(recipe))
        self.average = MovingAverage(task.model, copy.deepcopy(task.model), decay=recipe.train.average)
        self.reached = Reached(0, 0, False)
        self._recipe, self._task = recipe, task
        self._on_cpu = next(task.model.parameters()).device.type == "cpu"
        self._optimizer = make_optimizer(
            task.model,
            name=recipe.train.optimizer,
            lr=recipe.train.lr,
            weight_decay=recipe.train.weight_decay,
            backbone_lr=backbone_lr,
        )

    def go(
        self,
        samples: Samples,
        *,
        validate: Callable[[nn.Module], Validation] | None,
        describe: Callable[[], About],
        finish: Callable[[], About],
        stop: Callable[[], bool],
    ) -> Iterator[Step | Epoch]:
        """Train to the end. `last` is written every 20 seconds and at the end, `best` whenever it is the best so far.

        `describe()` tells what the model is after its newest validation. Where nothing could be validated, because
        there is no validation or because it was interrupted before the first, `best` is the last, and `finish()`
        tells of it what a validation would have told.
        """
        recipe, epochs, best, kept = self._recipe, 0, 0, 0.0
        events = fit(
            self._task,
            lambda epoch: batches(samples, recipe.train.batch, seed=recipe.train.seed, epoch=epoch, shuffle=True),
            len(samples),
            shards=shard_count(recipe.train.batch, torch.get_num_threads()) if self._on_cpu else 1,
            optimizer=self._optimizer,
            average=self.average,
            limits=_limits(recipe),
            validate=validate,
            stop=stop,
        )
        for event in events:
            if isinstance(event, Epoch):
                epochs = event.epoch
                self._log(event)
                if event.seconds - kept >= KEEP_EVERY:
                    kept = event.seconds
                    self.save(LAST, describe())
                if event.best and validate is not None:
                    best = epochs
                    self.save(BEST, describe())
            yield event
        about = describe() if best else finish()
        self.save(LAST, about)
        if best == 0:
            self.save(BEST, about)
        self.reached = Reached(best, epochs, stop())

    def save(self, name: str, about: About) -> None:
        """Write the averaged weights."""
        save_checkpoint(self.journal.run / name, self.average.model, about)

    def _log(self, epoch: Epoch) -> None:
        row: dict[str, float | int] = {"epoch": epoch.epoch, "seconds": epoch.seconds, "lr": epoch.rate}
        row |= {f"train_{name}": value for name, value in epoch.losses.items()}
        self.journal.epoch(row | {f"val_{name}": value for name, value in epoch.metrics.items()})


def _limits(recipe: Recipe) -> Limits:
    """A time to train for stands in place of epochs."""
    if recipe.train.minutes:
        return Limits(ENDLESS, 60 * recipe.train.minutes)
    return Limits(recipe.train.epochs, patience=recipe.train.patience)
