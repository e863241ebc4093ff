"""Paste the masks of boxes into their image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vocdet.masks import MASK_THRESHOLD, placed, rle_json


def pasted(masks: Tensor, boxes: Tensor, height: int, width: int) -> list[bytes]:
    """The compressed RLE, as JSON, of every mask in an image of this size.

    `masks` (N, m, m) are probabilities inside `boxes` (N, 4), pixels of the image. They are resized as by
    torchvision's `paste_masks_in_image`, one at a time to save memory.
    """
    side = masks.shape[-1]
    framed = F.pad(masks.float().cpu(), (1, 1, 1, 1))  # a border of 0, so that a mask can end inside its box
    corners = _widened(boxes.float().cpu(), (side + 2) / side).to(torch.int64).numpy()
    return [rle_json(_in_image(mask, box, height, width)) for mask, box in zip(framed, corners, strict=True)]


def _widened(boxes: Tensor, factor: float) -> Tensor:
    center, half = (boxes[:, 2:] + boxes[:, :2]) * 0.5, (boxes[:, 2:] - boxes[:, :2]) * 0.5 * factor
    return torch.cat([center - half, center + half], dim=1)


def _in_image(mask: Tensor, box: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box.tolist()
    size = (max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1))
    large = F.interpolate(mask[None, None], size=size, mode="bilinear", align_corners=False)[0, 0] > MASK_THRESHOLD
    return placed(large.numpy(), x0, y0, height, width)
