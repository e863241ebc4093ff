"""One training run: the loop with its journal, its checkpoints and its saved state."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vocdet import __version__
from vocdet.errors import CheckpointError, NotFiniteError
from vocdet.files import delete_partial_files
from vocdet.inputs.batches import Batch, EpochPlan
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.images import Image
from vocdet.inputs.loader import Loader
from vocdet.inputs.prefetch import prefetch
from vocdet.inputs.samples import Samples
from vocdet.inputs.sampling import LabeledSamples, epoch_order, group_by_orientation
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vocdet.outputs import BEST, LAST
from vocdet.recipes.load import dump_recipe
from vocdet.recipes.scaling import scaled
from vocdet.recipes.schema import DetectorTrain, MaskRcnnRecipe, Recipe
from vocdet.runs.folders import NOT_FINITE_FILE
from vocdet.runs.journal import Journal
from vocdet.runs.keeping import TrainingSummary, Verdict
from vocdet.runs.resume import UnfinishedRun
from vocdet.runs.setup import RunOptions
from vocdet.training.distributed import Group
from vocdet.training.growth import growth_of
from vocdet.training.learner import Learner
from vocdet.training.loop import Epoch, Limits, Progress, Step, TrainingPlan, Validation, fit
from vocdet.training.losses import Task
from vocdet.training.optim import MovingAverage, make_optimizer, make_schedule
from vocdet.training.precision import choose_precision, make_scaler
from vocdet.training.shards import OF_REGIONS, SMALLEST, Shards, shard_count
from vocdet.training.state import FINAL_STATE, STATE, Record, save_state

UNLIMITED = 1 << 31  # epochs
NO_FACTS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Note:
    """A message about the journal that does not stop the training."""

    text: str


class TrainingSamples(Samples, LabeledSamples, Protocol):
    """Samples to train on."""


class Validator(Protocol):
    """Validates a model between epochs, and describes it for its checkpoint and the journal."""

    @property
    def images(self) -> int:
        """The number of validation samples; 0: no validation."""
        ...

    def validate(self, model: nn.Module) -> Validation:
        """The metrics of a model on the validation samples."""
        ...

    def weigh(self, best: nn.Module | None) -> Verdict:
        """The newest validation beside the weights of the best epoch; None if that is the newest one."""
        ...

    def describe(self) -> CheckpointInfo:
        """The model with the scores of its newest validation."""
        ...

    def describe_unvalidated(self, model: nn.Module) -> CheckpointInfo:
        """The model of a run that was never validated, with the metadata that validation would have supplied."""
        ...

    def per_label(self) -> Mapping[str, float | None]:
        """A metric of every label in the newest validation."""
        ...

    def pictures(self) -> Image:
        """Examples of the newest validation."""
        ...


class TrainingRun:
    """Trains, and writes the recipe, the metrics, checkpoints of the averaged weights and the state to a run folder."""

    def __init__(
        self,
        run: Path,
        recipe: Recipe,
        task: Task[Any],
        info: CheckpointInfo,
        source: Mapping[str, Any],
        options: RunOptions,
        unfinished: UnfinishedRun | None = None,
        *,
        asked: Recipe,
    ) -> None:
        """`info` describes the model before any validation; `source` names the dataset and is saved with the state.

        `asked` is the recipe before it was adjusted to the data and the machine.
        """
        record, group = unfinished.record if unfinished else None, options.group
        self.run, self.summary = run, TrainingSummary(0, 0, interrupted=False)
        self._recipe, self._source, self._group, self._stop = recipe, dict(source), group, options.stop
        self._reasons = options.reasons
        self._info = record.about if record else info
        self._asked = record.asked if record else asdict(asked)
        self._best = record.best_epoch if record else 0
        self._at = record.progress if record else Progress()
        self._plan = _plan(recipe, task.model)
        self._repeat = recipe.data.repeat or 1  # passes over the samples in an epoch
        self._schedules = record.schedules if record else ()
        # the first step of a schedule is saved at once, so that a kill soon after it loses nothing that was there
        self._saved = 0.0 if self._at.steps == self._at.earlier_steps else self._at.elapsed
        self.journal = Journal(run, record.rows if record else (), track=options.track if group.first else None)
        group.broadcast_(list(task.model.state_dict().values()))
        self.average = MovingAverage(task.model, copy.deepcopy(task.model), decay=recipe.train.average)
        self._on_cpu = next(task.model.parameters()).device.type == "cpu"
        self._learner = self._make_learner(task, record.shards if record else None)
        if unfinished:
            self._restore(unfinished)
            for name in (STATE, FINAL_STATE, LAST, BEST) if group.first else ():
                delete_partial_files(run / name)
            self.journal.notes += _machine_changes(unfinished.record, group)

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

    def _restore(self, unfinished: UnfinishedRun) -> None:
        try:
            self._learner.restore(unfinished.tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            problem = f"does not fit the network it describes ({error})"
            raise CheckpointError(problem, place=unfinished.run / STATE, hint="the file is damaged") from error

    def events(
        self, samples: TrainingSamples, validator: Validator, facts: Mapping[str, object] = NO_FACTS
    ) -> Iterator[Step | Epoch | Note]:
        """Train to the end. `facts` about the dataset are recorded with its name and size.

        `last` and the whole state are written after the first step, soon after it, and then every `save_every` seconds,
        `best` after every best epoch. At the end `best` becomes the last checkpoint, unless the validation shows that
        the best epoch is better; also without any validation, for lack of a validation split or after an early
        interruption. The last state is that from which a finished run is prolonged.
        """
        train = self._recipe.train
        # on a CPU the training itself keeps all cores busy
        threads = 1 if self._on_cpu else min(4, os.cpu_count() or 1)
        loader = Loader(samples, workers=self._recipe.data.workers, threads=threads)
        events = fit(
            self._learner, partial(self._load, loader, samples), len(samples) * self._repeat, plan=self._plan,
            validate=validator.validate if validator.images else None, start=self._at, stop=self._stop,
        )  # fmt: skip
        with loader, self._open_journal(loader, samples, validator, facts):
            try:
                for event in events:
                    if event.at.grows and not self._at.grows and self._plan.growth:
                        self.journal.notes.append(self._plan.growth.note())
                    self._at = event.at
                    if isinstance(event, Epoch):
                        self._end_epoch(event, validator)
                    due = self._at.elapsed - self._saved >= min(train.save_every, self._saved)
                    if due and not self._at.finished:
                        self._save_all()
                    yield from self._notes()
                    yield event
            except NotFiniteError as error:
                raise self._with_files(error, samples) from error
            self._finish(validator)
        yield from self._notes()

    def _load(self, loader: Loader, samples: TrainingSamples, epoch: int, skip: int) -> Iterator[Batch]:
        """This process's shares of the batches of an epoch, from batch `skip` on."""
        train, group = self._recipe.train, self._group
        order = self._order(samples, epoch)
        remainder = len(order) % train.batch
        if train.sync_norm and remainder < group.world:
            # every process takes part in every norm: a last batch with fewer images than processes is skipped
            order = order[: len(order) - remainder]
        plan = EpochPlan(
            train.batch, seed=train.seed, epoch=epoch, order=order, skip=skip, rank=group.rank, world=group.world
        )
        return prefetch(lambda: loader.batches(plan))

    def _order(self, samples: TrainingSamples, epoch: int) -> NDArray[np.int64]:
        """The samples of an epoch; samples that keep their aspect ratios are grouped by shape."""
        train, sampling = self._recipe.train, self._recipe.data.sampling
        passes = ((epoch - 1) * self._repeat + i for i in range(1, self._repeat + 1))
        order = np.concatenate([epoch_order(samples, seed=train.seed, epoch=i, sampling=sampling) for i in passes])
        if isinstance(samples, DetectionSamples) and samples.resizing is not None:
            return group_by_orientation(order, samples.is_landscape(), train.batch)
        return order

    def _notes(self) -> Iterator[Note]:
        while self.journal.notes:
            yield Note(self.journal.notes.pop(0))

    @contextmanager
    def _open_journal(
        self, loader: Loader, samples: TrainingSamples, validator: Validator, facts: Mapping[str, object]
    ) -> Iterator[None]:
        """The journal of the first process; it ends with the block."""
        if not self._group.first:
            yield
            return
        with self.journal as journal:
            recipe, info, train = self._recipe, self._info, self._recipe.train
            start = msgspec.structs.asdict(info.start) if info.start else None
            source = {name: value for name, value in self._source.items() if value and name != "labels"}
            dataset = {
                "root": "", **source, "label_list": self._source.get("labels"),
                "fingerprint": info.dataset, "labels": list(info.labels),
                "images": len(samples), "validation_images": validator.images,
                **facts,
            }  # fmt: skip
            journal.start(
                dump_recipe(recipe, info.task, start=start, reasons=self._reasons), asdict(recipe), task=info.task,
                dataset=dataset,
                label_metric="accuracy" if info.task == "backbone" else "AP50", schedules=self._schedules,
            )  # fmt: skip
            if not self._at.steps:
                order = self._order(samples, 1)[: 2 * train.batch]
                first = loader.batches(EpochPlan(train.batch, seed=train.seed, epoch=1, order=order))
                journal.batches(list(first), info.labels)
            yield
            if not self._at.finished:
                journal.close("interrupted")

    def _end_epoch(self, epoch: Epoch, validator: Validator) -> None:
        row: dict[str, float | int] = {"epoch": epoch.epoch, "seconds": epoch.seconds, "lr": epoch.rate}
        row["images_per_second"] = epoch.at.learned / max(1e-9, epoch.at.elapsed - epoch.at.paused)
        row |= {f"train_{name}": value for name, value in epoch.losses.items()}
        row |= {f"val_{name}": value for name, value in epoch.metrics.items()}
        validated = bool(epoch.metrics)
        best = validated and epoch.best
        if validated:
            self._info = validator.describe()
        if best:
            self._best = epoch.epoch
        if self._group.first:
            labels, pictures = (validator.per_label(), validator.pictures) if validated else (None, None)
            self.journal.epoch(row, labels, best=best, pictures=pictures)
            if best:
                self.save(BEST, self._info)

    def _finish(self, validator: Validator) -> None:
        interrupted, last, peak = not self._at.finished, self._at.epoch - 1, self._best
        verdict = validator.weigh(self._model_of_best() if peak < last else None) if peak and not interrupted else None
        keeps_last = peak == 0 or (verdict is not None and peak < last and not verdict.keeps_best)
        info = self._info if peak else validator.describe_unvalidated(self.average.model)
        if verdict is not None and keeps_last:
            self._best, self._at = last, msgspec.structs.replace(self._at, best=self._at.newest)
        train = self._recipe.train
        self.summary = TrainingSummary(
            self._best, last, interrupted, self._at.ended, train.patience, train.best, peak, verdict,
            nothing_found=verdict is not None and not any(row.get("val_ap50", 1.0) for row in self.journal.rows),
            validated=validator.images,
        )  # fmt: skip
        if self._group.first:
            self.save(LAST, info)
            if keeps_last:
                self.save(BEST, info)
            self.journal.end(self.summary.as_dict(), best=self._best)
            self._save_state()

    def _model_of_best(self) -> nn.Module:
        """The model of the best epoch, which only the first process has on its disk.

        It has all batch norms, which are folded in a model that trains with frozen ones.
        """
        model = load_checkpoint(self.run / BEST)[0] if self._group.first else build(self._info.model).eval()
        model.to(next(self.average.model.parameters()).device)
        self._group.broadcast_(list(model.state_dict().values()))
        return model

    def _save_all(self) -> None:
        self._saved = self._at.elapsed
        if self._group.first:
            self._save_state()
            self.save(LAST, self._info)

    def _save_state(self) -> None:
        record = Record(
            vocdet=__version__, about=self._info, recipe=asdict(self._recipe), asked=self._asked, given=self._source,
            progress=self._at, best_epoch=self._best, rows=tuple(self.journal.rows), shards=self._shards,
            threads=torch.get_num_threads(), processes=self._group.world, schedules=self._schedules,
        )  # fmt: skip
        name, other = (FINAL_STATE, STATE) if self._at.finished else (STATE, FINAL_STATE)
        save_state(self.run / name, self._learner.tensors(), record)
        (self.run / other).unlink(missing_ok=True)

    def save(self, name: str, info: CheckpointInfo) -> None:
        """Write the averaged weights."""
        save_checkpoint(self.run / name, self.average.model, info)

    def _with_files(self, error: NotFiniteError, samples: Samples) -> NotFiniteError:
        """The error with the file names of the batch, which are also written to the run folder."""
        path = self.run / NOT_FINITE_FILE
        if self._group.first:
            names = [samples.name(row) for row in error.rows]
            self.journal.json(NOT_FINITE_FILE, {"step": self._at.steps, "files": names})
        error.hint = f"check the images of this step, listed in {path}, or {error.hint}"
        return error


def _machine_changes(record: Record, group: Group) -> list[str]:
    """Notes about a different number of processes or threads, which changes the order of sums."""
    threads = torch.get_num_threads()
    return [
        f"this run started with {before} {what} and continues with {now}: its weights will differ slightly"
        for what, before, now in (("processes", record.processes, group.world), ("threads", record.threads, threads))
        if before != now
    ]


def _plan(recipe: Recipe, model: nn.Module) -> TrainingPlan:
    train = recipe.train
    schedule = make_schedule(train.schedule, steps=train.steps)
    return TrainingPlan(_limits(recipe), schedule, train.warm, train.accumulate, growth_of(recipe, model))


def _limits(recipe: Recipe) -> Limits:
    """The limits of a training: a time or a number of steps replaces the number of epochs."""
    train, steps = recipe.train, scaled(recipe.train).max_steps
    if train.minutes:
        return Limits(UNLIMITED, 60 * train.minutes, steps=steps)
    return Limits(UNLIMITED if steps else train.epochs, patience=train.patience, steps=steps)
