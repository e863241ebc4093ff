"""Train a classifier on the objects of a dataset: the backbone that a detector starts from."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from vocdet import __version__
from vocdet.data.checks import Finding
from vocdet.data.dataset import Dataset
from vocdet.errors import AnnotationError
from vocdet.formats.coordinates import Asked
from vocdet.formats.image_folder import read_image_folder
from vocdet.inference.predictor import choose_device
from vocdet.inputs.samples import Crops, ahead, batches
from vocdet.models.backbone import Classifier, parse_net
from vocdet.models.checkpoint import About
from vocdet.models.transfer import Transfer, transfer
from vocdet.recipes.schema import BackboneRecipe
from vocdet.training.loop import Epoch, Step, Validation
from vocdet.training.tasks import ClassifyTask
from vocdet.workflows.prepare import load_dataset
from vocdet.workflows.runs import new_run
from vocdet.workflows.training_run import Reached, TrainingRun
from vocdet.workflows.weights import find_start


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


@dataclass(frozen=True, slots=True, eq=False)
class BackboneFinished:
    """What a run ended with."""

    run: Path
    reached: Reached
    confusion: NDArray[np.int64] | None  # (L, L) validation crops of label i taken for label j, by the best checkpoint


def train_backbone(
    root: Path,
    recipe: BackboneRecipe,
    *,
    folder: bool = False,
    runs: Path = Path("runs"),
    labels: Path | None = None,
    coordinates: Asked = "auto",
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
) -> Generator[BackboneStarted | Step | Epoch | BackboneFinished, None, None]:
    """Train, and say what happens: what it starts from, every step, every epoch, what it ended with.

    Learns from the objects of the part `train` and validates on those of `val`; with `folder`, `root` is an image
    folder instead. Of the same accuracy, the epoch of lower loss is the better. `weights` is `none`, `imagenet`, a
    run or a file. When `stop()` is true training ends after the step, with all that was reached kept.
    """
    if folder:
        dataset, parts = read_image_folder(root, seed=recipe.train.seed)
        warnings: tuple[Finding, ...] = ()
    else:
        loaded = load_dataset(root, labels=labels, coordinates=coordinates, part="train")
        dataset, parts, warnings = loaded.dataset, loaded.parts, loaded.warnings
    if len(dataset.labels) < 2:
        raise AnnotationError(
            f"all {'images' if folder else 'objects'} are {dataset.labels[0]}: there is nothing to tell apart",
            place=root,
            hint="there must be a folder for every label" if folder else "go straight on with vocdet train-ssd",
        )
    torch.manual_seed(recipe.train.seed)  # draws initial weights and dropout; samples have seeds of their own
    spec = parse_net(recipe.model.net, reduced_tail=recipe.model.reduced_tail)
    start = find_start(recipe.model.weights, spec, runs)
    model = Classifier(spec, len(dataset.labels))
    moved = transfer(model, start.tensors, spec, source=start.source) if start.tensors else None
    mean, std = start.normalisation
    context = 0.0 if folder else recipe.data.context
    crops, val = (
        Crops(
            dataset.subset(parts.get(name, np.zeros(0, np.int64))),
            recipe.model.size,
            context=context,
            augmented=augmented,
            flip=recipe.augment.flip,
            turns=recipe.augment.turns,
        )
        for name, augmented in (("train", True), ("val", False))
    )
    if not len(crops):
        hint = "run vocdet split --force" if not folder else "there must be images in the folders of train"
        raise AnnotationError("no objects in the part train", place=root, hint=hint)
    model.to(choose_device(device)).to(memory_format=torch.channels_last)
    task = ClassifyTask(model, mean, std, smoothing=recipe.train.smoothing)
    about = About(
        vocdet=__version__, task="backbone", backbone=spec, labels=dataset.labels,
        size=(recipe.model.size, recipe.model.size), mean=mean, std=std, context=context,
        dataset=dataset.fingerprint(), recipe=asdict(recipe),
    )  # fmt: skip
    measure = _Measure(task, val, len(dataset.labels))
    with new_run(runs, "backbone", spec.name) as run:
        yield BackboneStarted(run, len(crops), len(val), dataset.labels, start.text, moved, warnings)
        training = TrainingRun(run, recipe, task)
        best: NDArray[np.int64] | None = None
        for event in training.go(
            crops,
            validate=measure.validate if len(val) else None,
            describe=lambda: about.with_(scores=measure.scores),
            finish=lambda: about,
            stop=stop,
        ):
            if isinstance(event, Epoch) and event.best and measure.confusion is not None:
                best = measure.confusion
                _write_confusion(training, dataset, best)
            yield event
        yield BackboneFinished(run, training.reached, best)


class _Measure:
    """Validates on crops, and remembers the newest confusions."""

    def __init__(self, task: ClassifyTask, val: Crops, labels: int) -> None:
        self._task, self._val, self._labels = task, val, labels
        self.confusion: NDArray[np.int64] | None = None
        self.scores: dict[str, float] = {}

    @torch.inference_mode()
    def validate(self, model: nn.Module) -> Validation:
        """Accuracy over crops, its mean over labels, and loss; ranked by accuracy, then by loss."""
        confusion = np.zeros((self._labels, self._labels), np.int64)
        loss = 0.0
        for batch in ahead(lambda: batches(self._val, 64, seed=0, epoch=0, shuffle=False)):
            logits = self._task.logits(model, batch.images).float().cpu()
            truth = batch.labels[:, 0]
            loss += float(F.cross_entropy(logits, truth, reduction="sum"))
            np.add.at(confusion, (truth.numpy(), logits.argmax(1).numpy()), 1)
        right, of = np.diag(confusion), confusion.sum(1)
        present = of > 0
        self.confusion = confusion
        self.scores = {
            "accuracy": float(right.sum() / of.sum()),
            "mean_label_accuracy": float((right[present] / of[present]).mean()),
            "loss": loss / int(of.sum()),
        }
        return Validation(self.scores, (self.scores["accuracy"], -self.scores["loss"]))


def _write_confusion(training: TrainingRun, dataset: Dataset, confusion: NDArray[np.int64]) -> None:
    rows = [[label, *counts] for label, counts in zip(dataset.labels, confusion.tolist(), strict=True)]
    training.journal.table("confusion.csv", ["truth", *dataset.labels], rows)
