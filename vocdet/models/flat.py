"""Outputs of a convolution as rows, one for each place and each box there."""

from __future__ import annotations

from torch import Tensor


def flat(x: Tensor, values: int) -> Tensor:
    """(B, boxes * values, H, W) to (B, H * W * boxes, values); no copy when x is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, values)
