"""The tasks: classify crops, detect objects, segment them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from vocdet.inputs.batches import Batch
from vocdet.inputs.bridge import to_classes
from vocdet.models.classifier import Classifier
from vocdet.models.rcnn.model import MaskRcnn
from vocdet.models.ssd.cell_loss import cell_sums
from vocdet.models.ssd.loss import MIN_NEGATIVES, ssd_sums
from vocdet.models.ssd.model import SsdLite
from vocdet.training.losses import Losses, Share


class DetectTask:
    """SSD's two losses."""

    names = ("box", "class")

    def __init__(
        self, model: SsdLite, *, min_negatives: int = MIN_NEGATIVES, label_weights: Sequence[float] | None = None
    ) -> None:
        self.model = model
        self._min_negatives = min_negatives
        # the weight of the background is never used: it matches no object
        weights = None if label_weights is None else torch.tensor([1.0, *label_weights])
        self._weights = None if weights is None else weights.to(model.grid.device)

    def losses(self, model: SsdLite, batch: Batch) -> Losses:
        """`box` and `class`, each per matched anchor."""
        offsets, logits = model(batch.images.to(model.grid.device, non_blocking=True))
        return self.compare(offsets, logits, batch)

    def compare(self, offsets: Tensor, logits: Tensor, batch: Batch) -> Losses:
        """The losses of the model's outputs for a batch."""
        grid = self.model.grid_of(batch.images.shape[-2:])
        boxes, classes = batch.boxes.to(grid.device), to_classes(batch.labels).to(grid.device)
        crowds = None if batch.crowds is None else batch.crowds.to(grid.device)
        sums = cell_sums if self.model.spec.neck == "pan" else partial(ssd_sums, min_negatives=self._min_negatives)
        totals, count = sums(
            offsets.float(), logits.float(), grid, boxes, classes, weights=self._weights, crowds=crowds
        )
        return {name: Share(totals[name], count) for name in self.names}


class SegmentTask:
    """The losses of Mask R-CNN: those of its proposals and those of its heads.

    Anchors and proposals are sampled at random, by layers that are `Seeded`.
    """

    def __init__(self, model: MaskRcnn) -> None:
        self.model = model
        self.names = model.spec.losses

    def losses(self, model: MaskRcnn, batch: Batch) -> Losses:
        """Each of the names, per sampled anchor or proposal."""
        classes = to_classes(batch.labels)
        losses = model.losses(batch.images, batch.sizes, batch.boxes, classes, batch.masks, batch.crowds)
        return {name: Share(*losses[name]) for name in self.names}


class ClassifyTask:
    """Cross-entropy on crops, with smoothed labels."""

    names = ("class",)

    def __init__(
        self, model: Classifier, mean: tuple[float, float, float], std: tuple[float, float, float], *, smoothing: float
    ) -> None:
        self.model = model
        device = next(model.parameters()).device
        self._mean = 255 * torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = 255 * torch.tensor(std, device=device).view(3, 1, 1)
        self._smoothing = smoothing

    def logits(self, model: torch.nn.Module, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 to (B, labels)."""
        out: Tensor = model((images.to(self._mean.device, self._mean.dtype) - self._mean) / self._std)
        return out

    def losses(self, model: Classifier, batch: Batch) -> Losses:
        """`class`."""
        labels = batch.labels[:, 0].to(self._mean.device)
        logits = self.logits(model, batch.images).float()
        total = F.cross_entropy(logits, labels, label_smoothing=self._smoothing, reduction="sum")
        return {"class": Share(total, len(batch))}
