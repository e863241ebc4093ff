"""What a model is taught: to classify crops, to detect objects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vocdet.inputs.bridge import classes_of
from vocdet.inputs.samples import Batch
from vocdet.models.backbone import Classifier
from vocdet.models.ssd_loss import MIN_NEGATIVES, ssd_loss
from vocdet.models.ssdlite import SsdLite


class DetectTask:
    """SSD's two losses on scenes."""

    def __init__(
        self, model: SsdLite, *, min_negatives: int = MIN_NEGATIVES, label_weights: Sequence[float] | None = None
    ) -> None:
        self.model = model
        self._min_negatives = min_negatives
        # the weight of background is never used: it matches no object
        weights = None if label_weights is None else torch.tensor([1.0, *label_weights])
        self._weights = None if weights is None else weights.to(model.grid.device)

    def losses(self, model: SsdLite, batch: Batch) -> dict[str, Tensor]:
        """`box` and `class`, each per matched anchor."""
        device = model.grid.device
        offsets, logits = model(batch.images.to(device))
        boxes, classes = batch.boxes.to(device), classes_of(batch.labels).to(device)
        return ssd_loss(
            offsets, logits, model.grid, boxes, classes, min_negatives=self._min_negatives, weights=self._weights
        )


class ClassifyTask:
    """Cross-entropy on crops, with smoothed labels."""

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

    def losses(self, model: Classifier, batch: Batch) -> dict[str, Tensor]:
        """`class`."""
        labels = batch.labels[:, 0].to(self._mean.device)
        return {"class": F.cross_entropy(self.logits(model, batch.images), labels, label_smoothing=self._smoothing)}
