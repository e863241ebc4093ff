"""Boxes as offsets from other boxes. Girshick et al. 2014, appendix C."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = tuple[float, float, float, float]  # what offsets of x, y, width and height are multiplied by

MOST_GROWTH = math.log(1000.0 / 16)  # of a side, as its logarithm; torchvision's


def encode(boxes: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """Boxes (N, 4) as offsets (N, 4) from as many references, times the weights."""
    size, reference = boxes[:, 2:] - boxes[:, :2], references[:, 2:] - references[:, :2]
    moved = (boxes[:, :2] + 0.5 * size - references[:, :2] - 0.5 * reference) / reference
    return torch.cat([moved, torch.log(size / reference)], dim=1) * boxes.new_tensor(weights)


def decode(offsets: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """The inverse of `encode`, for any leading shape; a side grows by a factor of 62.5 at most, as in torchvision."""
    offsets = offsets / offsets.new_tensor(weights)
    size = references[..., 2:] - references[..., :2]
    centre = references[..., :2] + 0.5 * size + offsets[..., :2] * size
    half = torch.exp(offsets[..., 2:].clamp(max=MOST_GROWTH)) * size * 0.5
    return torch.cat([centre - half, centre + half], dim=-1)
