"""Train Mask R-CNN, or without masks Faster R-CNN, on a dataset."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vocdet import __version__
from vocdet.data.dataset import Dataset
from vocdet.errors import AnnotationError, CheckpointError
from vocdet.formats.source import Source
from vocdet.inference.rcnn import RcnnPredictor
from vocdet.inputs.image_cache import Keep
from vocdet.inputs.images import fit_size
from vocdet.inputs.object_masks import mask_table
from vocdet.inputs.samples import Batch, Scenes, ahead, batches
from vocdet.inputs.scenes import Fit
from vocdet.mask_crops import MaskCrops
from vocdet.models.anchor_recall import AnchorRecall
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.rcnn.anchor_fit import fit_pyramid, pyramid_recall
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.models.weights.transfer import transfer
from vocdet.recipes.schema import MaskRcnnRecipe, RcnnModel
from vocdet.runs.resume import Begun
from vocdet.runs.start import find_start
from vocdet.runs.tracking import Service
from vocdet.runs.training_run import Note
from vocdet.training.distributed import Group
from vocdet.training.loop import Epoch, Step
from vocdet.training.losses import Task
from vocdet.training.tasks import SegmentTask
from vocdet.wording import counted
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

TRIED_OBJECTS = 8  # of an image that an automatic batch is tried with


def train_maskrcnn(
    source: Source | Loaded,
    recipe: MaskRcnnRecipe,
    *,
    runs: Path = Path("runs"),
    device: str = "auto",
    resume: Path | None = None,
    group: Group | None = None,
    track: Service | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[DetectorStarted | Step | Epoch | Note | DetectorFinished, None, None]:
    """Train, and say what happens: what it starts from, every step, every epoch, what it ended with.

    Images without any mask are an `AnnotationError`, unless the recipe wants none; where some objects have none, their
    boxes teach. A validation finds the AP of boxes and of masks; it has no loss, as what that would be is drawn at
    random and takes as long again. All else is as `train_detector` says.
    """
    return train_detector(
        Segmenting(), source, recipe, runs=runs, device=device, resume=resume,
        group=group, track=track, stop=stop,
    )  # fmt: skip


class Segmenting:
    """Mask R-CNN among the detectors."""

    task = "maskrcnn"
    model = MaskRcnn

    def check(self, train: Dataset, recipe: MaskRcnnRecipe) -> tuple[str, ...]:
        """How many objects have no mask; that none has one is an `AnnotationError`."""
        if not recipe.model.masks:
            return ()
        objects = ~train.objects.crowd
        without, of = int((objects & ~mask_table(train)).sum()), int(objects.sum())
        if without == of:
            raise AnnotationError(
                f"no object of the part {recipe.data.split} has a mask",
                place=train.root,
                hint="draw polygons or masks, or learn from the boxes alone by --no-masks",
            )
        if not without:
            return ()
        return (f"{without} of {counted(of, 'object')} have no mask that can be used: their boxes teach all the same",)

    def begin(self, recipe: MaskRcnnRecipe, runs: Path, train: Dataset, shapes: Shapes) -> Begun[MaskRcnn]:
        """A new Mask R-CNN on the backbone that the recipe names."""
        asked = recipe.model
        torch.manual_seed(recipe.train.seed)  # draws the initial weights; all else that is random has seeds of its own
        net = parse_net(asked.net, reduced_tail=asked.reduced_tail)
        if asked.weights == "coco" and asked.heads != "standard":
            hint = "use --net resnet50 --heads standard, or --weights imagenet for the backbone alone"
            raise CheckpointError("the COCO weights are of standard heads", hint=hint)
        start = find_start(asked.weights, net, runs, task=self.task)
        if asked.anchors == "standard":
            anchors = PyramidAnchors()
        elif asked.anchors == "auto" and isinstance(start.anchors, PyramidAnchors):
            anchors = start.anchors
        else:
            anchors = fit_pyramid(_pixels(shapes, *_limits(asked)), shapes.labels)
        mean, std = start.normalization
        spec = RcnnSpec(
            start.backbone, train.labels, *_limits(asked), anchors, mean, std, asked.heads, asked.masks, asked.channels
        )
        model = MaskRcnn(spec)
        moved = None
        if start.tensors:
            moved = transfer(model, start.tensors, start.backbone, source=start.source, heads=start.heads)
        about = CheckpointInfo(vocdet=__version__, model=spec, dataset=train.fingerprint(), recipe=asdict(recipe))
        text = start.text + (", and their anchors" if anchors is start.anchors else "")
        return Begun(model, about, text, moved)

    def learn(self, model: MaskRcnn, recipe: MaskRcnnRecipe, shapes: Shapes) -> SegmentTask:  # noqa: ARG002
        """Its four losses, or five."""
        return SegmentTask(model)

    def recall(self, model: MaskRcnn, shapes: Shapes) -> tuple[int, tuple[AnchorRecall, ...]]:
        """How well its anchors fit."""
        spec = model.spec
        boxes = _pixels(shapes, spec.size, spec.longest)
        return spec.anchors.count * len(spec.anchors.sides), pyramid_recall(
            spec.anchors, boxes, shapes.labels, spec.labels
        )

    def example(self, model: MaskRcnn, recipe: MaskRcnnRecipe) -> Callable[[int], Batch]:
        """Black images as large as they come, with some objects each."""
        fit = _fit(model, recipe)
        height, width = fit.canvas(np.array([fit.largest(model.spec.longest, model.spec.size)], np.int64))

        def batch_of(n: int) -> Batch:
            images = torch.zeros((n, 3, height, width), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
            boxes = torch.tensor([[0.0, 0.0, width / 2, height / 2]]).expand(n, TRIED_OBJECTS, 4)
            labels = torch.zeros((n, TRIED_OBJECTS), dtype=torch.int64)
            mask = np.ones((height // 2, width // 2), np.uint8)
            masks = MaskCrops.of([(0, 0, mask)] * (n * TRIED_OBJECTS)) if model.spec.masks else None
            return Batch(images, boxes, labels, masks=masks)

        return batch_of

    def scenes(
        self, model: MaskRcnn, dataset: Dataset, recipe: MaskRcnnRecipe | None, keep: Keep | None = None
    ) -> Scenes:
        """Images of their own shapes, with masks to learn from."""
        if recipe is None:
            return Scenes(dataset, Fit(model.spec.size, model.spec.longest), None, keep=keep)
        fit, masks = _fit(model, recipe), model.spec.masks
        augmented = augmentation(recipe.augment, copy_paste=recipe.augment.copy_paste if masks else 0.0)
        return Scenes(dataset, fit, augmented, keep=keep, masks=masks)

    def look(self, model: MaskRcnn, dataset: Dataset, scenes: Scenes, task: Task[MaskRcnn] | None = None) -> Looked:  # noqa: ARG002
        """What it finds, one image after another as a predictor does it."""
        predictor = RcnnPredictor(model)
        loaded = ahead(lambda: batches(scenes, 1, seed=0, epoch=0, shuffle=False))
        found = [
            predictor.detect_fitted(batch.images, batch.sizes, [side])[0]
            for batch, side in zip(loaded, sides_of(dataset), strict=True)
        ]
        return Looked(found)


def _limits(asked: RcnnModel) -> tuple[int, int]:
    """The input's shorter side, and its longer at most."""
    return asked.size, max(asked.size, asked.longest)


def _fit(model: MaskRcnn, recipe: MaskRcnnRecipe) -> Fit:
    """How large the images are that are learned from."""
    low, high = recipe.augment.scales
    return Fit(model.spec.size, model.spec.longest, None if low == high == 1 else (low, high))


def _pixels(shapes: Shapes, size: int, longest: int) -> NDArray[np.float64]:
    """Boxes (N, 4) in pixels of the input."""
    fitted = [fit_size(int(width), int(height), size, longest)[::-1] for width, height in shapes.sides]
    return shapes.boxes * np.tile(np.array(fitted, np.float64), 2)[shapes.images]
