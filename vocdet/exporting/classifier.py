"""A classifier as a graph from a crop of any size to the probabilities of its labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vocdet.exporting.resizing import resized
from vocdet.models.classifier import Classifier


class ClassifierGraph(nn.Module):
    """The probabilities of one crop."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Classifier, *, raw: bool = False) -> None:
        super().__init__()
        self.model, self.raw = model, raw
        self.register_buffer("mean", 255 * torch.tensor(model.spec.mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(model.spec.std).view(3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """A crop (H, W, 3) uint8, RGB, to the probability of every label (L,); raw: their logits."""
        x = (resized(image, self.model.spec.input_size)[None] - self.mean) / self.std
        logits = self.model(x)[0]
        return (logits if self.raw else logits.softmax(-1),)
