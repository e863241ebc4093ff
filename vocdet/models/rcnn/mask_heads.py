"""Mask heads and their targets. He et al. 2017, section 3."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import roi_align
from torchvision.ops.misc import Conv2dNormActivation

from vocdet.mask_crops import MaskCrops
from vocdet.models.separable import separable

DEPTH = 4  # convolutions before upsampling


def standard_mask_head(channels: int) -> nn.Sequential:
    """Four 3x3 convolutions, as in the paper; parameter names are torchvision's."""
    return nn.Sequential(
        *(_initialized(Conv2dNormActivation(channels, channels, kernel_size=3, norm_layer=None)) for _ in range(DEPTH))
    )


def mobile_mask_head(channels: int) -> nn.Sequential:
    """Four depthwise-separable convolutions."""
    return nn.Sequential(*(separable(channels, channels) for _ in range(DEPTH)))


def mask_predictor(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    """Upsampling by two, and one mask for every class; parameter names are torchvision's."""
    layers = OrderedDict[str, nn.Module](
        conv5_mask=nn.ConvTranspose2d(inputs, hidden, 2, 2),
        relu=nn.ReLU(inplace=True),
        mask_fcn_logits=nn.Conv2d(hidden, classes, 1),
    )
    return _initialized(nn.Sequential(layers))


def _initialized(module: nn.Sequential) -> nn.Sequential:
    """The module with the initialization of He et al."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return module


def mask_targets(
    masks: MaskCrops, rows: NDArray[np.int64], boxes: Tensor, sizes: NDArray[np.int64], side: int
) -> Tensor:
    """Targets (P, side, side) in [0, 1], on the CPU: the masks of objects in the grid of boxes.

    `rows` (P,) of `masks` in `boxes` (P, 4), in images of `sizes` (P, 2), height and width. They equal RoIAlign on the
    mask of the whole image, as in torchvision, without creating it.
    """
    boxes = boxes.detach().float().cpu()
    targets = torch.zeros(len(rows), 1, side, side)
    order = np.argsort(rows, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(rows[order])) + 1):
        if not len(group):
            continue
        row = int(rows[group[0]])
        x0, y0, x1, y1 = masks.where[row].tolist()
        height, width = sizes[group[0]].tolist()
        # outside a crop the mask is 0: a margin of one pixel; outside the image the last pixel repeats
        margin = ((int(y0 > 0), int(y1 < height)), (int(x0 > 0), int(x1 < width)))
        crop = torch.from_numpy(np.pad(masks.crop(row), margin).astype(np.float32))
        left, top = x0 - margin[1][0], y0 - margin[0][0]
        at = torch.from_numpy(group)
        moved = boxes[at] - torch.tensor([left, top, left, top], dtype=torch.float32)
        targets[at] = roi_align(crop[None, None], [moved], side)
    return targets[:, 0]
