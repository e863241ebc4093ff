"""Boxes encoded as offsets from reference boxes. Girshick et al. 2014, appendix C."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Factors = tuple[float, float, float, float]  # for the offsets of x, y, width and height

MAX_LOG_GROWTH = math.log(1000.0 / 16)  # of a side; torchvision's


def encode(boxes: Tensor, references: Tensor, factors: Factors) -> Tensor:
    """Boxes (..., 4) as offsets (..., 4) from their references (..., 4), times `factors`."""
    size, reference_size = boxes[..., 2:] - boxes[..., :2], references[..., 2:] - references[..., :2]
    center, reference_center = boxes[..., :2] + size / 2, references[..., :2] + reference_size / 2
    moved = (center - reference_center) / reference_size
    return torch.cat([moved, torch.log(size / reference_size)], dim=-1) * boxes.new_tensor(factors)


def decode(offsets: Tensor, references: Tensor, factors: Factors) -> Tensor:
    """The inverse of `encode`; sides grow at most by a factor of 62.5, as in torchvision."""
    offsets = offsets / offsets.new_tensor(factors)
    size = references[..., 2:] - references[..., :2]
    center = offsets[..., :2] * size + references[..., :2] + size / 2
    half = torch.exp(offsets[..., 2:].clamp(max=MAX_LOG_GROWTH)) * size / 2
    return torch.cat([center - half, center + half], dim=-1)
