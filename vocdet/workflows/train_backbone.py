"""Train a classifier on the objects of a dataset: the backbone that a detector starts from."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.data.usable import NOTHING, LeftOut
from vocdet.errors import AnnotationError
from vocdet.formats.image_folder import read_image_folder
from vocdet.formats.scan import Source, other_readings
from vocdet.inference.predictor import choose_device
from vocdet.inputs.batches import EpochPlan, batches
from vocdet.inputs.crop_samples import CropAugmentation, CropSamples
from vocdet.inputs.images import Image
from vocdet.inputs.prefetch import prefetch
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.weights.transfer import Transfer
from vocdet.recipes.length import length_notes, with_length
from vocdet.recipes.schema import BackboneRecipe
from vocdet.runs.image_record import write_image_digests
from vocdet.runs.keeping import FEWEST, TrainingSummary, Verdict, is_surely_better, mean_bounds, share_bounds
from vocdet.runs.left_out import write_left_out
from vocdet.runs.pictures import crop_sheet
from vocdet.runs.prolong import continued
from vocdet.runs.resume import UnfinishedRun, resumed_model
from vocdet.runs.setup import (
    RunOptions,
    blank_batches,
    check_run_folder,
    image_cache,
    run_folder,
    starting_weights,
    with_batch,
)
from vocdet.runs.start import InitialModel, initialize
from vocdet.runs.training_run import Note, TrainingRun
from vocdet.training.distributed import Group, synchronized
from vocdet.training.loop import Epoch, Step, Validation, finite_loss
from vocdet.training.tasks import ClassifyTask
from vocdet.workflows.load import Loaded, load_dataset
from vocdet.workflows.training_data import TrainingData

EXAMPLE_CROPS = 24  # validation crops in the journal's picture
CROPS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class BackboneStart:
    """The start of a training: its data, weights and recipe."""

    run: Path
    crops: int
    validation_crops: int  # 0: none
    labels: tuple[str, ...]
    weights: str  # their origin, for people
    transfer: Transfer | None  # tensor by tensor; None: from scratch
    warnings: tuple[Finding, ...]
    recipe: BackboneRecipe  # with the batch that fits, if it left the batch open
    notes: tuple[str, ...] = ()  # about the data, for people
    left_out: LeftOut = NOTHING  # of the dataset, on request, because of errors
    weights_warning: str = ""  # from scratch because no weights were found, and how to change that


@dataclass(frozen=True, slots=True, eq=False)
class BackboneResult:
    """The result of a training."""

    run: Path
    summary: TrainingSummary
    confusion: NDArray[np.int64] | None  # (L, L) validation crops of label i classified as j by the best checkpoint
    left_out: LeftOut = NOTHING  # as at the start
    weights_warning: str = ""  # as at the start


def backbone_events(
    source: Source | Loaded,
    recipe: BackboneRecipe,
    options: RunOptions | None = None,
    *,
    folder: bool = False,
) -> Generator[BackboneStart | Step | Epoch | Note | BackboneResult, None, None]:
    """Train a classifier and yield its start, every step, every epoch and its result.

    It trains on the objects of the recipe's split and validates on those of `val`. With `folder`, the source is an
    image folder. When `options.stop()` is true, training ends after the step and saves its state.
    `options.resume` continues an interrupted run as if it had not been interrupted; recipe and data must be unchanged.
    It continues a finished run with a new schedule, whose length `options.given` names; see `prolong`.
    In a group of processes each trains on its share of every batch, and only the first one writes.
    """
    options = options or RunOptions()
    check_run_folder(options)
    group, origin = options.group, source.record() | {"folder": folder}
    if folder:
        dataset = read_image_folder(source.path, seed=recipe.train.seed)
        warnings: tuple[Finding, ...] = ()
        readings: tuple[str, ...] = ()
        left_out = NOTHING
    else:
        loaded = load_dataset(source, split=recipe.data.split)
        dataset, warnings, left_out = loaded.dataset, loaded.warnings, loaded.left_out
        readings = other_readings(loaded.scan)
    data = TrainingData.of(dataset, recipe.data.split)
    _check_labels(data, source.path, folder=folder)
    train, val = data.train, data.val
    asked, splits = recipe, {"train": train, "val": val}
    unfinished: UnfinishedRun | None = None
    if options.resume:
        unfinished, recipe = continued(options.resume, "backbone", recipe, options.given, dataset.labels, splits)
        initial = resumed_model(unfinished, Classifier)
    else:
        adjusted = with_length(recipe, len(train.objects), options.given)
        readings += length_notes(recipe, adjusted, len(train.objects))
        recipe = adjusted
        initial = _create(recipe, options, dataset, context=0.0 if folder else recipe.data.context)
    model = initial.model
    model.to(choose_device(options.device)).to(memory_format=torch.channels_last)
    if recipe.train.sync_norm:
        synchronized(model)  # its layers are replaced in place
    task = ClassifyTask(model, initial.info.mean, initial.info.std, smoothing=recipe.train.smoothing)
    recipe = with_batch(recipe, task, blank_batches(initial.info.size), len(train.objects), group)
    info = msgspec.structs.replace(initial.info, recipe=asdict(recipe))
    crops = _crops(recipe, train, model.spec, augmented=True)
    validator = ClassifierValidator(
        task, _crops(recipe, val, model.spec, augmented=False), info, group, recipe.train.best
    )
    with run_folder(options, "backbone", info.backbone.name, unfinished) as run:
        yield BackboneStart(
            run, len(crops), validator.images, dataset.labels, initial.weights, initial.transfer, warnings, recipe,
            (*readings, *data.notes(validates=validator.images > 0), *initial.notes),
            left_out, initial.warning,
        )  # fmt: skip
        training = TrainingRun(run, recipe, task, info, origin, options, unfinished, asked=asked)
        if group.first and not unfinished:
            write_image_digests(run, dataset.labels, splits)
            write_left_out(run, left_out)
        best: NDArray[np.int64] | None = None
        for event in training.events(crops, validator, data.record()):
            if isinstance(event, Epoch) and event.best and validator.confusion is not None:
                best = validator.confusion
                if group.first:
                    _write_confusion(training, dataset, best)
            yield event
        if validator.kept is not None:
            best = validator.kept
            if group.first:
                _write_confusion(training, dataset, best)
        yield BackboneResult(run, training.summary, best, left_out, initial.warning)


def _check_labels(data: TrainingData, place: Path, *, folder: bool) -> None:
    """Raise if the training split has objects of fewer than two labels."""
    if len(data.labels) > 1:
        return
    if not data.labels:
        hint = "put images into the folders of train" if folder else "choose other splits with `vocdet.split(dataset)`"
        raise data.no_objects(place, hint=hint)
    where = f"in {data.split}, " if len(data.train.labels) > 1 else ""
    problem = f"{where}all {'images' if folder else 'objects'} are {data.labels[0]}: a classifier needs two labels"
    hint = "make a folder for every label" if folder else "continue with `vocdet.train_detector(dataset)`"
    raise AnnotationError(problem, place=place, hint=hint)


def _create(recipe: BackboneRecipe, run: RunOptions, dataset: Dataset, *, context: float) -> InitialModel[Classifier]:
    options = recipe.model
    torch.manual_seed(recipe.train.seed)  # for the initial weights; samples and dropout have other seeds
    spec = parse_net(options.net, reduced_tail=options.reduced_tail)
    start = starting_weights(options.weights, spec, run, "backbone")
    model = Classifier(ClassifierSpec(start.backbone, dataset.labels, options.size, *start.normalization, context))
    return initialize(model, start, dataset, recipe)


def _crops(recipe: BackboneRecipe, dataset: Dataset, spec: ClassifierSpec, *, augmented: bool) -> CropSamples:
    augment = recipe.augment
    return CropSamples(
        dataset, spec.size, context=spec.context, cache=image_cache(recipe.data),
        augmentation=CropAugmentation(augment.flip, augment.rotate, augment.color) if augmented else None,
    )  # fmt: skip


class ClassifierValidator:
    """Validates on crops, and holds the newest confusion matrix, and that of the weights that a run keeps."""

    def __init__(self, task: ClassifyTask, val: CropSamples, info: CheckpointInfo, group: Group, best: str) -> None:
        """`info` describes the model before any validation; `best` is the metric that ranks epochs."""
        self.images = len(val)
        self.confusion: NDArray[np.int64] | None = None
        self.kept: NDArray[np.int64] | None = None  # once the last weights were weighed against the best epoch
        self._task, self._val, self._info = task, val, info
        self._group, self._best = group, best
        self._examples: list[tuple[Tensor, int, int]] = []  # some crops, their labels and predicted labels
        self._scores: dict[str, float] = {}
        self._losses = self._correct = np.empty(0)  # (N,) of every crop in the newest validation

    @torch.inference_mode()
    def validate(self, model: nn.Module) -> Validation:
        """Accuracy over crops, its mean over labels, and the loss; ranked by the recipe's metric, then by the loss."""
        count = len(self._info.labels)
        sums = torch.zeros(count * count, dtype=torch.float64)  # confusion matrix (label, predicted)
        losses, true = torch.zeros(2, self.images, dtype=torch.float64)
        rank, world = self._group.rank, self._group.world
        self._examples = []
        at, every = 0, max(1, self.images // EXAMPLE_CROPS)
        plan = EpochPlan(CROPS_AT_ONCE, seed=0, epoch=0, rank=rank, world=world)
        for batch in prefetch(lambda: batches(self._val, plan)):
            if not len(batch):
                continue
            logits = self._task.logits(model, batch.images).float().cpu()
            labels = batch.labels[:, 0]
            predicted = logits.argmax(1)
            losses[list(batch.rows)] = F.cross_entropy(logits, labels, reduction="none").double()
            true[list(batch.rows)] = (predicted == labels).double()
            sums += torch.bincount(labels * count + predicted, minlength=count * count)
            self._examples += [
                (batch.images[i].clone(), int(labels[i]), int(predicted[i]))
                for i in range(len(batch)) if (at + i) % every == 0
            ]  # fmt: skip
            at += len(batch)
        for each in (sums, losses, true):
            self._group.sum_(each)
        self._losses, self._correct = losses.numpy(), true.numpy()
        self.confusion = sums.reshape(count, count).long().numpy()
        correct, total = np.diag(self.confusion), self.confusion.sum(1)
        present = total > 0
        self._scores = {
            "accuracy": float(correct.sum() / total.sum()),
            "mean_label_accuracy": float((correct[present] / total[present]).mean()),
            "loss": finite_loss(float(losses.mean())),
        }
        metric = -self._scores["loss"] if self._best == "loss" else self._scores[self._best]
        return Validation(self._scores, (metric, -self._scores["loss"]))

    def weigh(self, best: nn.Module | None) -> Verdict:
        """The newest validation beside the weights of the best epoch; None if that is the newest one."""
        values, correct, kept = self._values(), self._correct, self.confusion
        gain, keeps_best = None, False
        if best is not None:
            newest = self.confusion, self._scores, self._examples
            self.validate(best)
            gain = mean_bounds(self._values() - values)
            if keeps_best := is_surely_better(self.images, gain):
                correct, kept = self._correct, self.confusion
            self.confusion, self._scores, self._examples = newest
        self.kept = kept
        bounds = share_bounds(float(correct.sum()), self.images) if self.images >= FEWEST else None
        return Verdict(keeps_best, gain, "accuracy", float(correct.mean()), bounds, self.images, "crop", 0)

    def _values(self) -> NDArray[np.float64]:
        """(N,) of every crop, whose mean is the metric that ranks epochs; the higher, the better."""
        if self._best == "loss":
            return -self._losses
        if self._best == "accuracy":
            return self._correct
        counts = np.bincount(self._val.labels)
        return self._correct * (self.images / np.count_nonzero(counts)) / counts[self._val.labels]

    def describe(self) -> CheckpointInfo:
        """The model with the scores of its newest validation."""
        return self._info.with_(scores=self._scores)

    def describe_unvalidated(self, model: nn.Module) -> CheckpointInfo:  # noqa: ARG002
        """The model without scores."""
        return self._info

    def per_label(self) -> dict[str, float | None]:
        """The accuracy of every label in the newest validation; None for a label without crops."""
        if self.confusion is None:
            return {}
        correct, total = np.diag(self.confusion).tolist(), self.confusion.sum(1).tolist()
        return {label: c / n if n else None for label, c, n in zip(self._info.labels, correct, total, strict=True)}

    def pictures(self) -> Image:
        """Some crops with their labels and the labels that the newest validation predicted."""
        images, labels, predicted = zip(*self._examples, strict=True)
        return crop_sheet(torch.stack(images), labels, predicted, self._info.labels)


def _write_confusion(training: TrainingRun, dataset: Dataset, confusion: NDArray[np.int64]) -> None:
    rows = [[label, *counts] for label, counts in zip(dataset.labels, confusion.tolist(), strict=True)]
    training.journal.table("confusion.csv", ["label", *dataset.labels], rows)
