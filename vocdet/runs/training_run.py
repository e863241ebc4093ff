"""One training run: what all trainings share around the loop."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vocdet import __version__
from vocdet.errors import CheckpointError
from vocdet.files import clear_left
from vocdet.inference.predictor import BEST
from vocdet.inputs.images import Image
from vocdet.inputs.loader import Loader
from vocdet.inputs.samples import Batch, Samples, Scenes, ahead
from vocdet.inputs.sampling import Labeled, by_shape, epoch_order
from vocdet.models.checkpoint import SUFFIX, CheckpointInfo, save_checkpoint
from vocdet.recipes.load import dump_recipe
from vocdet.recipes.scaling import scaled
from vocdet.recipes.schema import DetectorTrain, MaskRcnnRecipe, Recipe
from vocdet.runs.journal import Journal
from vocdet.runs.resume import Resumed
from vocdet.runs.tracking import Service
from vocdet.training.distributed import Group
from vocdet.training.learner import Learner, NotFinite
from vocdet.training.loop import Epoch, Limits, Progress, Step, Validation, fit
from vocdet.training.losses import Task
from vocdet.training.optim import MovingAverage, make_optimizer, make_schedule
from vocdet.training.precision import choose_precision, make_scaler
from vocdet.training.shards import OF_REGIONS, SMALLEST, Shards, shard_count
from vocdet.training.state import STATE, Record, save_state

LAST = f"last{SUFFIX}"
NOT_FINITE = "not-finite.json"
ENDLESS = 1 << 31  # epochs


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a run came."""

    best_epoch: int  # 0: none was validated
    epochs: int
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the journal that is worth telling and no reason to stop."""

    text: str


class Learned(Samples, Labeled, Protocol):
    """Samples to learn from."""


class TrainingRun:
    """Trains, and keeps recipe, metrics, checkpoints of the averaged weights and the whole state in a run folder."""

    def __init__(
        self,
        run: Path,
        recipe: Recipe,
        task: Task[Any],
        about: CheckpointInfo,
        group: Group,
        *,
        given: dict[str, Any],
        learned_from: Mapping[str, object],
        resumed: Resumed | None = None,
        track: Service | None = None,
    ) -> None:
        """`about` is what the model is before any validation; `given` is kept in the state beside the recipe.

        `learned_from` tells the journal of the dataset; `track` is a service that is told what the journal is.
        """
        record = resumed.record if resumed else None
        self.run, self.reached = run, Reached(0, 0, False)
        self._recipe, self._given, self._group = recipe, given, group
        self._about = record.about if record else about
        self._best = record.best_epoch if record else 0
        self._at = record.progress if record else Progress()
        self._saved = self._at.elapsed
        self._learned_from = learned_from
        self.journal = Journal(run, record.rows if record else (), track=track if group.first else None)
        group.broadcast_(list(task.model.state_dict().values()))
        self.average = MovingAverage(task.model, copy.deepcopy(task.model), decay=recipe.train.average)
        self._on_cpu = next(task.model.parameters()).device.type == "cpu"
        self._learner = self._make_learner(task, record.shards if record else None)
        if resumed:
            self._restore(resumed)
            for name in (STATE, LAST, BEST) if group.first else ():
                clear_left(run / name)
            self.journal.notes += _another_machine(resumed.record, group)

    def _make_learner(self, task: Task[Any], shards: int | None) -> Learner:
        train, device = self._recipe.train, next(task.model.parameters()).device
        precision = choose_precision(train.precision, device)
        if shards is None:
            each = train.batch // self._group.world
            smallest = OF_REGIONS if isinstance(self._recipe, MaskRcnnRecipe) else SMALLEST
            shards = shard_count(each, torch.get_num_threads(), smallest=smallest) if self._on_cpu else 1
        self._shards = shards
        optimizer = make_optimizer(
            task.model, name=train.optimizer, lr=scaled(train).lr, weight_decay=train.weight_decay,
            backbone_lr=train.backbone_lr if isinstance(train, DetectorTrain) else 1.0,
        )  # fmt: skip
        return Learner(
            Shards(task, shards, self._group, precision=precision), optimizer, self.average, self._group,
            clip=train.clip, seed=train.seed, scaler=make_scaler(precision, device),
        )  # fmt: skip

    def _restore(self, resumed: Resumed) -> None:
        try:
            self._learner.restore(resumed.tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            problem = f"does not fit the network it claims to be of ({error})"
            raise CheckpointError(problem, place=resumed.run / STATE, hint="the file is damaged") from error

    def go(
        self,
        samples: Learned,
        *,
        validate: Callable[[nn.Module], Validation] | None,
        describe: Callable[[], CheckpointInfo],
        finish: Callable[[], CheckpointInfo],
        per_label: Callable[[], Mapping[str, float | None]],
        pictures: Callable[[], Image] | None,
        stop: Callable[[], bool],
    ) -> Iterator[Step | Epoch | Note]:
        """Train to the end. `last` and the whole state are written every `save_every` seconds, `best` when it is.

        `describe()` tells what the model is after its newest validation. Where nothing could be validated, because
        there is no validation or because it was interrupted before the first, `best` is the last, and `finish()`
        tells of it what a validation would have told. `per_label()` and `pictures()` are what the newest validation
        found, for the journal. The state is kept as long as there is something to go on with.
        """
        train = self._recipe.train
        # on a CPU training itself keeps all cores busy
        threads = 1 if self._on_cpu else min(4, os.cpu_count() or 1)
        loader = Loader(samples, workers=self._recipe.data.workers, threads=threads)
        events = fit(
            self._learner, partial(self._load, loader, samples), len(samples), limits=_limits(self._recipe),
            schedule=make_schedule(train.schedule, steps=train.steps), warm=train.warm, validate=validate,
            accumulate=train.accumulate, start=self._at, stop=stop,
        )  # fmt: skip
        with loader, self._journal_open(loader, samples):
            try:
                for event in events:
                    self._at = event.at
                    if isinstance(event, Epoch):
                        self._end_epoch(event, describe if event.metrics else None, per_label, pictures)
                    if self._at.elapsed - self._saved >= train.save_every:
                        self._save_all()
                    yield from self._notes()
                    yield event
            except NotFinite as error:
                raise self._named(error, samples) from error
            self._finish(finish)
        yield from self._notes()

    def _load(self, loader: Loader, samples: Learned, epoch: int, skip: int) -> Iterator[Batch]:
        """This process's parts of the batches of an epoch, from batch `skip` on."""
        train, group = self._recipe.train, self._group
        order = self._order(samples, epoch)
        rest = len(order) % train.batch
        if train.sync_norm and rest < group.world:
            # every process takes part in every norm: a rest of fewer images than processes is left out
            order = order[: len(order) - rest]
        make = partial(loader.batches, train.batch, seed=train.seed, epoch=epoch, order=order)
        return ahead(lambda: make(skip=skip, rank=group.rank, world=group.world))

    def _order(self, samples: Learned, epoch: int) -> NDArray[np.int64]:
        """The samples of an epoch; those that keep their shapes come with others of about the same shape."""
        train = self._recipe.train
        order = epoch_order(samples, seed=train.seed, epoch=epoch, sampling=self._recipe.data.sampling)
        if isinstance(samples, Scenes) and samples.fit is not None:
            return by_shape(order, samples.lying(), train.batch)
        return order

    def _notes(self) -> Iterator[Note]:
        while self.journal.notes:
            yield Note(self.journal.notes.pop(0))

    @contextmanager
    def _journal_open(self, loader: Loader, samples: Learned) -> Iterator[None]:
        """The journal of the first process; it ends as the block does."""
        if not self._group.first:
            yield
            return
        with self.journal as journal:
            recipe, task, train = self._recipe, self._about.task, self._recipe.train
            journal.start(
                dump_recipe(recipe, task), asdict(recipe), task=task, dataset=self._learned_from,
                figure_of_labels="accuracy" if task == "backbone" else "AP50",
            )  # fmt: skip
            if not self._at.steps:
                begin = loader.batches(
                    train.batch, seed=train.seed, epoch=1, order=self._order(samples, 1)[: 2 * train.batch]
                )
                journal.batches(list(begin), self._about.labels)
            yield
            if not self._at.finished:
                journal.close("interrupted")

    def _end_epoch(
        self,
        epoch: Epoch,
        describe: Callable[[], CheckpointInfo] | None,
        per_label: Callable[[], Mapping[str, float | None]],
        pictures: Callable[[], Image] | None,
    ) -> None:
        row: dict[str, float | int] = {"epoch": epoch.epoch, "seconds": epoch.seconds, "lr": epoch.rate}
        row["images_per_second"] = epoch.at.learned / max(1e-9, epoch.at.elapsed - epoch.at.paused)
        row |= {f"train_{name}": value for name, value in epoch.losses.items()}
        row |= {f"val_{name}": value for name, value in epoch.metrics.items()}
        if describe:
            self._about = describe()
        if describe and epoch.best:
            self._best = epoch.epoch
        if self._group.first:
            labels = per_label() if describe else None
            self.journal.epoch(row, labels, best=bool(describe and epoch.best), pictures=describe and pictures)
            if describe and epoch.best:
                self.save(BEST, self._about)

    def _finish(self, finish: Callable[[], CheckpointInfo]) -> None:
        interrupted = not self._at.finished
        about = self._about if self._best else finish()
        if self._group.first:
            self.save(LAST, about)
            if self._best == 0:
                self.save(BEST, about)
            if interrupted:
                self._save_state()
            else:
                (self.run / STATE).unlink(missing_ok=True)
        epochs = self._at.epoch - 1
        self.reached = Reached(self._best, epochs, interrupted)

    def _save_all(self) -> None:
        self._saved = self._at.elapsed
        if self._group.first:
            self._save_state()
            self.save(LAST, self._about)

    def _save_state(self) -> None:
        record = Record(
            vocdet=__version__, about=self._about, recipe=asdict(self._recipe), given=self._given, progress=self._at,
            best_epoch=self._best, rows=tuple(self.journal.rows), shards=self._shards,
            threads=torch.get_num_threads(), processes=self._group.world,
        )  # fmt: skip
        save_state(self.run / STATE, self._learner.tensors(), record)

    def save(self, name: str, about: CheckpointInfo) -> None:
        """Write the averaged weights."""
        save_checkpoint(self.run / name, self.average.model, about)

    def _named(self, error: NotFinite, samples: Samples) -> NotFinite:
        """The error with the names of the batch's files, which are also written down."""
        names = [samples.name(row) for row in error.rows]
        path = self.run / NOT_FINITE
        if self._group.first:
            self.journal.json(NOT_FINITE, {"step": self._at.steps, "files": names})
        error.hint = f"the images of this step are named in {path}: look at them, or {error.hint}"
        return error


def _another_machine(record: Record, group: Group) -> list[str]:
    """What is not as it was when a run began, and lets the same sums be made in another order."""
    threads = torch.get_num_threads()
    return [
        f"this run was begun with {was} {what}, and goes on with {now}: its weights will differ a little"
        for what, was, now in (("processes", record.processes, group.world), ("threads", record.threads, threads))
        if was != now
    ]


def _limits(recipe: Recipe) -> Limits:
    """A time to train for, or a number of steps, stands in place of epochs."""
    train, steps = recipe.train, scaled(recipe.train).max_steps
    if train.minutes:
        return Limits(ENDLESS, 60 * train.minutes, steps=steps)
    return Limits(ENDLESS if steps else train.epochs, patience=train.patience, steps=steps)
