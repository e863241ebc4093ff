"""Train a classifier on the objects of a dataset: the backbone that a detector starts from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vocdet import __version__
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.errors import AnnotationError
from vocdet.formats.image_folder import read_image_folder
from vocdet.formats.source import Source
from vocdet.inference.predictor import choose_device
from vocdet.inputs.images import Image
from vocdet.inputs.samples import Crops, ahead, batches
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.weights.transfer import Transfer, transfer
from vocdet.recipes.schema import BackboneRecipe
from vocdet.runs.pictures import crop_sheet
from vocdet.runs.resume import Begun, check_unchanged, go_on, open_run, write_images
from vocdet.runs.setup import kept, plain_batches, run_folder, with_batch
from vocdet.runs.start import find_start
from vocdet.runs.tracking import Service
from vocdet.runs.training_run import Note, Reached, TrainingRun
from vocdet.training.distributed import Group, alone, synchronized
from vocdet.training.loop import Epoch, Step, Validation
from vocdet.training.tasks import ClassifyTask
from vocdet.workflows.load import Loaded, load_dataset

EXAMPLES = 24  # crops of the validation to show


@dataclass(frozen=True, slots=True)
class BackboneStarted:
    """What a run starts from."""

    run: Path
    crops: int
    validated_on: int  # crops; 0: none
    labels: tuple[str, ...]
    start: str  # where the weights come from, for people
    transfer: Transfer | None  # tensor by tensor; None: from scratch
    warnings: tuple[Finding, ...]
    recipe: BackboneRecipe  # with the batch that fits, where that was left open


@dataclass(frozen=True, slots=True, eq=False)
class BackboneFinished:
    """What a run ended with."""

    run: Path
    reached: Reached
    confusion: NDArray[np.int64] | None  # (L, L) validation crops of label i taken for label j, by the best checkpoint


def train_backbone(
    source: Source | Loaded,
    recipe: BackboneRecipe,
    *,
    folder: bool = False,
    runs: Path = Path("runs"),
    device: str = "auto",
    resume: Path | None = None,
    group: Group | None = None,
    track: Service | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[BackboneStarted | Step | Epoch | Note | BackboneFinished, None, None]:
    """Train, and say what happens: what it starts from, every step, every epoch, what it ended with.

    Learns from the objects of the part `train` and validates on those of `val`; with `folder`, `source` is an image
    folder instead. When `stop()` is true training ends after the step, with all that was reached kept. `resume` is
    the folder of a run that was interrupted: it goes on as if it had not been, if recipe and data are what they were.
    In a `group` of processes each learns its part of every batch, and the first one alone writes. `track` is a
    service that is told what the run's journal is.
    """
    group = group or alone()
    if folder:
        dataset, splits = read_image_folder(source.path, seed=recipe.train.seed)
        warnings: tuple[Finding, ...] = ()
    else:
        loaded = load_dataset(source, split=recipe.data.split)
        dataset, splits, warnings = loaded.dataset, loaded.splits, loaded.warnings
    if len(dataset.labels) < 2:
        raise AnnotationError(
            f"all {'images' if folder else 'objects'} are {dataset.labels[0]}: there is nothing to tell apart",
            place=source.path,
            hint="there must be a folder for every label" if folder else "go straight on with vocdet train-ssd",
        )
    train, val = _parts(dataset, splits, recipe.data.split)
    if not (~train.objects.crowd).any():
        hint = "run vocdet split --force" if not folder else "there must be images in the folders of train"
        raise AnnotationError(f"no objects in the part {recipe.data.split}", place=source.path, hint=hint)
    resumed = open_run(resume, "backbone") if resume else None
    if resumed:
        check_unchanged(resumed, recipe, dataset.labels, {"train": train, "val": val})
        begun = go_on(resumed, Classifier)
    else:
        begun = _begin(recipe, runs, dataset, context=0.0 if folder else recipe.data.context)
    model, about = begun.model, begun.about
    model.to(choose_device(device)).to(memory_format=torch.channels_last)
    if recipe.train.sync_norm:
        synchronized(model)  # its layers are replaced in place
    task = ClassifyTask(model, about.mean, about.std, smoothing=recipe.train.smoothing)
    recipe = with_batch(recipe, task, plain_batches(about.size), len(train.objects), group)
    about = msgspec.structs.replace(about, recipe=asdict(recipe))
    crops = _crops(recipe, train, model.spec, augmented=True)
    measure = _Measure(task, _crops(recipe, val, model.spec, augmented=False), dataset.labels, group, recipe.train.best)
    given = source.record() | {"folder": folder}
    with run_folder(runs, "backbone", about.backbone.name, group, resumed) as run:
        yield BackboneStarted(
            run, len(crops), measure.of, dataset.labels, begun.start, begun.transfer, warnings, recipe
        )
        training = TrainingRun(
            run, recipe, task, about, group, given=given, resumed=resumed, track=track,
            learned_from={"fingerprint": about.dataset, "root": str(source.path.absolute()),
                          "labels": list(dataset.labels), "images": len(crops), "validated_on": measure.of},
        )  # fmt: skip
        if group.first and not resumed:
            write_images(run, dataset.labels, {"train": train, "val": val})
        best: NDArray[np.int64] | None = None
        for event in training.go(
            crops,
            validate=measure.validate if measure.of else None,
            describe=lambda: about.with_(scores=measure.scores),
            finish=lambda: about,
            per_label=measure.per_label,
            pictures=measure.pictures if measure.of else None,
            stop=stop,
        ):
            if isinstance(event, Epoch) and event.best and measure.confusion is not None:
                best = measure.confusion
                if group.first:
                    _write_confusion(training, dataset, best)
            yield event
        yield BackboneFinished(run, training.reached, best)


def _begin(recipe: BackboneRecipe, runs: Path, dataset: Dataset, *, context: float) -> Begun[Classifier]:
    asked = recipe.model
    torch.manual_seed(recipe.train.seed)  # draws the initial weights; samples and dropout have seeds of their own
    spec = parse_net(asked.net, reduced_tail=asked.reduced_tail)
    start = find_start(asked.weights, spec, runs, task="backbone")
    model = Classifier(ClassifierSpec(start.backbone, dataset.labels, asked.size, *start.normalization, context))
    moved = None
    if start.tensors:
        moved = transfer(model, start.tensors, start.backbone, source=start.source, heads=start.heads)
    about = CheckpointInfo(vocdet=__version__, model=model.spec, dataset=dataset.fingerprint(), recipe=asdict(recipe))
    return Begun(model, about, start.text, moved)


def _parts(dataset: Dataset, splits: Mapping[str, NDArray[np.int64]], split: str) -> tuple[Dataset, Dataset]:
    """The images to learn from, and those to validate on: `val`, as far as none of it is learned from."""
    nothing = np.zeros(0, np.int64)
    rows = splits.get(split, nothing)
    return dataset.subset(rows), dataset.subset(np.setdiff1d(splits.get("val", nothing), rows))


def _crops(recipe: BackboneRecipe, dataset: Dataset, spec: ClassifierSpec, *, augmented: bool) -> Crops:
    asked = recipe.augment
    return Crops(
        dataset, spec.size, context=spec.context, augmented=augmented, flip=asked.flip, turns=asked.turns,
        color=asked.color, keep=kept(recipe.data),
    )  # fmt: skip


class _Measure:
    """Validates on crops, and remembers the newest confusions."""

    def __init__(self, task: ClassifyTask, val: Crops, labels: Sequence[str], group: Group, best: str) -> None:
        self._task, self._val, self._labels = task, val, labels
        self._group, self._best = group, best
        self.of = len(val)
        self.confusion: NDArray[np.int64] | None = None
        self._seen: list[tuple[Tensor, int, int]] = []  # some crops, their label and what they were taken for
        self.scores: dict[str, float] = {}

    @torch.inference_mode()
    def validate(self, model: nn.Module) -> Validation:
        """Accuracy over crops, its mean over labels, and loss; ranked by the one that was asked for, then by loss."""
        count = len(self._labels)
        sums = torch.zeros(count * count + 1, dtype=torch.float64)  # confusions (truth, found), loss
        rank, world = self._group.rank, self._group.world
        self._seen = []
        at, every = 0, max(1, self.of // EXAMPLES)
        for batch in ahead(lambda: batches(self._val, 64, seed=0, epoch=0, shuffle=False, rank=rank, world=world)):
            if not len(batch):
                continue
            logits = self._task.logits(model, batch.images).float().cpu()
            truth = batch.labels[:, 0]
            sums[-1] += F.cross_entropy(logits, truth, reduction="sum")
            found = logits.argmax(1)
            sums[:-1] += torch.bincount(truth * count + found, minlength=count * count)
            self._seen += [
                (batch.images[i].clone(), int(truth[i]), int(found[i]))
                for i in range(len(batch)) if (at + i) % every == 0
            ]  # fmt: skip
            at += len(batch)
        self._group.sum_(sums)
        confusion = sums[:-1].reshape(count, count).long().numpy()
        right, of = np.diag(confusion), confusion.sum(1)
        present = of > 0
        self.confusion = confusion
        self.scores = {
            "accuracy": float(right.sum() / of.sum()),
            "mean_label_accuracy": float((right[present] / of[present]).mean()),
            "loss": float(sums[-1]) / int(of.sum()),
        }
        chosen = -self.scores["loss"] if self._best == "loss" else self.scores[self._best]
        return Validation(self.scores, (chosen, -self.scores["loss"]))

    def pictures(self) -> Image:
        """Some crops with their labels and what the newest validation took them for."""
        images, truth, found = zip(*self._seen, strict=True)
        return crop_sheet(torch.stack(images), truth, found, self._labels)

    def per_label(self) -> dict[str, float | None]:
        """The share of every label's crops that the newest validation took for it; None where there are none."""
        if self.confusion is None:
            return {}
        right, of = np.diag(self.confusion).tolist(), self.confusion.sum(1).tolist()
        return {label: r / n if n else None for label, r, n in zip(self._labels, right, of, strict=True)}


def _write_confusion(training: TrainingRun, dataset: Dataset, confusion: NDArray[np.int64]) -> None:
    rows = [[label, *counts] for label, counts in zip(dataset.labels, confusion.tolist(), strict=True)]
    training.journal.table("confusion.csv", ["truth", *dataset.labels], rows)
