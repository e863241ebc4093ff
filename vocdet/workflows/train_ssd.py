"""Train SSD-lite on a dataset."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vocdet import __version__
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.formats.source import Source
from vocdet.inference.ssd import SsdPredictor
from vocdet.inputs.image_cache import Keep
from vocdet.inputs.samples import Batch, Scenes, ahead, batches
from vocdet.models.anchor_recall import AnchorRecall
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.ssd.anchor_fit import anchor_recall, fit_anchors
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.weights.transfer import transfer
from vocdet.recipes.schema import SsdRecipe
from vocdet.runs.resume import Begun
from vocdet.runs.setup import plain_batches
from vocdet.runs.start import find_start
from vocdet.runs.tracking import Service
from vocdet.runs.training_run import Note
from vocdet.training.distributed import Group
from vocdet.training.loop import Epoch, Step
from vocdet.training.losses import Task
from vocdet.training.tasks import DetectTask
from vocdet.workflows.load import Loaded
from vocdet.workflows.train_detector import (
    DetectorFinished,
    DetectorStarted,
    Looked,
    Shapes,
    augmentation,
    sides_of,
    train_detector,
)


def train_ssd(
    source: Source | Loaded,
    recipe: SsdRecipe,
    *,
    runs: Path = Path("runs"),
    device: str = "auto",
    resume: Path | None = None,
    group: Group | None = None,
    track: Service | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[DetectorStarted | Step | Epoch | Note | DetectorFinished, None, None]:
    """Train, and say what happens: what it starts from, every step, every epoch, what it ended with.

    All else is as `train_detector` says.
    """
    return train_detector(
        Ssd(), source, recipe, runs=runs, device=device, resume=resume,
        group=group, track=track, stop=stop,
    )  # fmt: skip


class Ssd:
    """The SSD among the detectors."""

    task = "ssd"
    model = SsdLite

    def check(self, train: Dataset, recipe: SsdRecipe) -> tuple[str, ...]:  # noqa: ARG002
        """Boxes are all it needs."""
        return ()

    def begin(self, recipe: SsdRecipe, runs: Path, train: Dataset, shapes: Shapes) -> Begun[SsdLite]:
        """A new SSD on the backbone that the recipe names."""
        asked = recipe.model
        torch.manual_seed(recipe.train.seed)  # draws the initial weights; samples and dropout have seeds of their own
        spec = parse_net(asked.net, reduced_tail=asked.reduced_tail)
        start = find_start(asked.weights, spec, runs, task="ssd")
        spec, size = start.backbone, (asked.size, asked.size)
        if asked.anchors == "torchvision":
            anchors = torchvision_anchors()
        elif asked.anchors == "auto" and isinstance(start.anchors, Anchors):
            anchors = start.anchors
        else:
            anchors = fit_anchors(shapes.boxes, shapes.labels, size, last_map=asked.last_map)
        description = SsdSpec(spec, train.labels, size, anchors, *start.normalization, asked.extras, asked.last_map)
        model = SsdLite(description)
        moved = transfer(model, start.tensors, spec, source=start.source, heads=start.heads) if start.tensors else None
        about = CheckpointInfo(
            vocdet=__version__, model=description, dataset=train.fingerprint(), recipe=asdict(recipe)
        )
        text = start.text + (", and their anchors" if anchors is start.anchors else "")
        return Begun(model, about, text, moved)

    def learn(self, model: SsdLite, recipe: SsdRecipe, shapes: Shapes) -> DetectTask:
        """Its two losses; rare labels count more."""
        balanced = label_weights(shapes.labels, len(model.spec.labels), recipe.train.balance)
        return DetectTask(model, min_negatives=recipe.train.min_negatives, label_weights=balanced)

    def recall(self, model: SsdLite, shapes: Shapes) -> tuple[int, tuple[AnchorRecall, ...]]:
        """How well its anchors fit."""
        spec = model.spec
        rows = anchor_recall(spec.anchors, shapes.boxes, shapes.labels, spec.labels, spec.size, last_map=spec.last_map)
        return sum(spec.anchors.counts), rows

    def example(self, model: SsdLite, recipe: SsdRecipe) -> Callable[[int], Batch]:  # noqa: ARG002
        """Black images with one object each."""
        return plain_batches(model.spec.size)

    def scenes(self, model: SsdLite, dataset: Dataset, recipe: SsdRecipe | None, keep: Keep | None = None) -> Scenes:
        """Images at the input's size."""
        augmented = None if recipe is None else augmentation(recipe.augment, mixup=recipe.augment.mixup)
        return Scenes(dataset, model.spec.size, augmented, keep=keep)

    @torch.inference_mode()
    def look(self, model: SsdLite, dataset: Dataset, scenes: Scenes, task: Task[SsdLite] | None = None) -> Looked:
        """What it finds, and with a task the loss."""
        predictor, sides = SsdPredictor(model), sides_of(dataset)
        found: list[Detections] = []
        loss = torch.zeros(2, dtype=torch.float64) if isinstance(task, DetectTask) else None
        for batch in ahead(lambda: batches(scenes, 16, seed=0, epoch=0, shuffle=False)):
            offsets, logits = model(batch.images.to(model.grid.device))
            if loss is not None and isinstance(task, DetectTask):
                shares = task.compare(offsets, logits, batch)
                loss += torch.tensor([float(sum(share.total for share in shares.values())), float(shares["box"].count)])
            found += predictor.detections(offsets, logits, sides[len(found) : len(found) + len(batch)])
        return Looked(found, loss)


def label_weights(labels: NDArray[np.int32], count: int, balance: float) -> list[float]:
    """What an object of each label counts: its number to the power of -`balance`, 1 in the mean over objects."""
    numbers = np.bincount(labels, minlength=count).astype(np.float64)
    weights = np.maximum(numbers, 1) ** -balance
    return [float(w) for w in weights * (numbers.sum() / (numbers @ weights))]
