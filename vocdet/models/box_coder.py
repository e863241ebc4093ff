"""Boxes as offsets from other boxes. Girshick et al. 2014, appendix C."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = tuple[float, float, float, float]  # what offsets of x, y, width and height are multiplied by

MOST_GROWTH = math.log(1000.0 / 16)  # of a side, as its logarithm; torchvision's


def encode(boxes: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """Boxes (..., 4) as offsets from their references (..., 4), times the weights."""
    size, reference_size = boxes[..., 2:] - boxes[..., :2], references[..., 2:] - references[..., :2]
    centre, reference_centre = boxes[..., :2] + size / 2, references[..., :2] + reference_size / 2
    moved = (centre - reference_centre) / reference_size
    return torch.cat([moved, torch.log(size / reference_size)], dim=-1) * boxes.new_tensor(weights)


def decode(offsets: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """The inverse of `encode`; a side grows by a factor of 62.5 at most, as in torchvision."""
    offsets = offsets / offsets.new_tensor(weights)
    size = references[..., 2:] - references[..., :2]
    centre = offsets[..., :2] * size + references[..., :2] + size / 2
    half = torch.exp(offsets[..., 2:].clamp(max=MOST_GROWTH)) * size / 2
    return torch.cat([centre - half, centre + half], dim=-1)
