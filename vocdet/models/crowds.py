"""Crowds: regions of an image in which nothing counts as an object or as background."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def in_crowds(references: Tensor, crowds: Tensor, share: float) -> Tensor:
    """(B, N) whether at least `share` of the area of each reference is inside one crowd of its image.

    References are (B, N, 4), or (1, N, 4) for all images; `crowds` (B, K, 4) are padded with empty boxes. The share is
    COCO's overlap with a crowd, and at least as high as the IoU.
    """
    x1, y1, x2, y2 = references.unbind(-1)  # (B, N)
    least = share * (x2 - x1) * (y2 - y1)
    inside = torch.zeros(len(crowds), references.shape[1], dtype=torch.bool, device=references.device)
    for crowd in crowds.unbind(1):  # (B, 4): one after another, as their product with all anchors takes much memory
        left, top, right, bottom = crowd[:, None].unbind(-1)  # (B, 1)
        width = (torch.minimum(x2, right) - torch.maximum(x1, left)).clamp_(min=0)
        shared = width.mul_((torch.minimum(y2, bottom) - torch.maximum(y1, top)).clamp_(min=0))
        inside |= (shared >= least) & (shared > 0)
    return inside
