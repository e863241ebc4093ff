"""An SSD as a graph of fixed shapes from a prepared image, for programs that resize before it and select after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vocdet.exporting.ssd import selected
from vocdet.models.ssd.cells import BINS
from vocdet.models.ssd.loss import decode
from vocdet.models.ssd.model import SsdLite


class PreparedGraph(nn.Module):
    """The boxes and scores of all anchors: what follows them is `templates/export/decode.py`."""

    sides: Tensor
    steps: Tensor
    center: Tensor
    reach: Tensor

    def __init__(self, model: SsdLite) -> None:
        super().__init__()
        self.model = model
        height, width = model.spec.size
        sides = torch.tensor([width, height, width, height], dtype=torch.float32)
        low, high = model.grid[:, :2], model.grid[:, 2:]
        self.register_buffer("sides", sides)
        self.register_buffer("steps", torch.arange(BINS, dtype=torch.float32))
        self.register_buffer("center", ((low + high) / 2).repeat(1, 2) / sides)  # (A, 4)
        self.register_buffer("reach", torch.cat([low - high, high - low], dim=1) / sides)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """An image (1, 3, H, W), RGB in [0, 1], to boxes (1, A, 4) in shares of its sides, and scores (1, A, L)."""
        offsets, logits = self.model(images * 255)
        if self.model.spec.neck == "pan":  # `decode_distances` without slices, which not every program has
            distances = (offsets.reshape(1, -1, 4, BINS).softmax(-1) * self.steps).sum(-1)
            boxes = distances * self.reach + self.center
        else:
            boxes = decode(offsets, self.model.grid) / self.sides
        return boxes.clamp(0, 1), logits.softmax(-1)[..., 1:]


class SelectedGraph(PreparedGraph):
    """The detections of an image; those that NMS removes have score 0, so that the shapes are fixed."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """An image (1, 3, H, W), RGB in [0, 1], to boxes (1, N, 4) in shares, scores (1, N) and labels (1, N)."""
        boxes, every = super().forward(images)
        chosen, best, labels = selected(boxes[0], every[0], average=self.model.spec.neck == "pan", fixed=True)
        return chosen[None], best[None], labels[None]


class LabelingGraph(SelectedGraph):
    """As X-AnyLabeling runs a model of type `rtdetrv2`."""

    def forward(self, images: Tensor, orig_target_sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        """The same with the width and height of the image (1, 2): labels, boxes in pixels of the image, scores."""
        assert orig_target_sizes is not None
        boxes, scores, labels = super().forward(images)
        return labels, boxes * orig_target_sizes.repeat(1, 2)[:, None], scores
