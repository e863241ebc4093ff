"""What the families of detectors have in common, and what each must provide for its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.inputs.batches import Batch
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.image_cache import CacheOptions
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.inputs.transforms import Augmentation
from vocdet.models.anchor_recall import AnchorRecall
from vocdet.recipes.schema import DetectorAugment, MaskRcnnRecipe, RcnnAugment, SsdAugment, SsdRecipe
from vocdet.runs.setup import RunOptions
from vocdet.runs.start import InitialModel, M
from vocdet.training.losses import Task

R = TypeVar("R", SsdRecipe, MaskRcnnRecipe)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTable:
    """The objects that anchors are fitted to; crowds are left out."""

    boxes: NDArray[np.float64]  # (N, 4) as fractions of the image sides
    labels: NDArray[np.int32]  # (N,)
    images: NDArray[np.int32]  # (N,) row of the image table
    sides: NDArray[np.float64]  # (images, 2) width, height; pixels

    @classmethod
    def of(cls, dataset: Dataset) -> ObjectTable:
        """The objects of a dataset."""
        objects = dataset.objects.take(~dataset.objects.crowd)
        sides = np.column_stack([dataset.images.widths, dataset.images.heights]).astype(np.float64)
        return cls(objects.box / np.tile(sides, 2)[objects.image], objects.label, objects.image, sides)


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The detections of a model in every image of a dataset."""

    detections: list[Detections]
    loss: Tensor | None = None  # (2,) float64: the sum of the losses and its divisor; None: not computed


@dataclass(frozen=True, slots=True)
class DetectorTraining(Generic[M, R]):
    """What differs between the trainings of two families of detectors."""

    task: str  # of its recipes and its runs
    model: type[M]
    check: Callable[[Dataset, R], tuple[str, ...]]  # notes about the training images; raises if they are unusable
    create: Callable[[R, RunOptions, Dataset, ObjectTable], InitialModel[M]]  # with the weights to start from
    make_task: Callable[[M, R, ObjectTable], Task[M]]
    anchor_recall: Callable[[M, ObjectTable], tuple[int, tuple[AnchorRecall, ...]]]  # number of anchor shapes, rows
    recall_at: Callable[[M, ObjectTable, int], tuple[AnchorRecall, ...]]  # with anchors fitted to an input of this size
    blank_batches: Callable[[M, R], Callable[[int], Batch]]  # batches of the training's size, to measure memory with
    resizing: Callable[[M, R | None], tuple[int, int] | ResizeShortestEdge]  # of images, for training with a recipe
    predict: Callable[
        [M, Dataset, DetectionSamples, Task[M] | None], Predictions
    ]  # in eval mode; with a task, the loss, too

    def samples(
        self, model: M, dataset: Dataset, recipe: R | None = None, cache: CacheOptions | None = None
    ) -> DetectionSamples:
        """A dataset as input of the model; for training with a recipe, augmented and with masks if it predicts them."""
        size = self.resizing(model, recipe)
        if recipe is None:
            return DetectionSamples(dataset, size, None, cache=cache)
        masks = getattr(model.spec, "masks", False)
        return DetectionSamples(dataset, size, augmentation(recipe.augment, masks=masks), cache=cache, masks=masks)


def augmentation(augment: DetectorAugment, *, masks: bool) -> Augmentation:
    """The augmentation of a recipe; without masks, nothing is copied and pasted."""
    return Augmentation(
        whole=augment.whole, zoom_out=augment.zoom_out, largest_canvas=augment.largest_canvas,
        smallest_crop=augment.smallest_crop, flip=0.5 if augment.flip else 0.0, color=augment.color,
        mosaic=augment.mosaic, rotate=augment.rotate, mixup=augment.mixup if isinstance(augment, SsdAugment) else 0.0,
        copy_paste=augment.copy_paste if masks and isinstance(augment, RcnnAugment) else 0.0,
    )  # fmt: skip


def image_sizes(dataset: Dataset) -> Sequence[tuple[int, int]]:
    """(width, height) of every image, pixels."""
    return list(zip(dataset.images.widths.tolist(), dataset.images.heights.tolist(), strict=True))
