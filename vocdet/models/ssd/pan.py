"""The neck and the heads of an SSD without anchors, after PicoDet (Yu et al. 2021, section 2.2).

Maps of stride 8, 16 and 32 exchange what they know, from coarse to fine and back (PAN; Liu et al. 2018), and a map of
stride 64 is added. All have the same number of channels, and every convolution that is not 1x1 is a depthwise 5x5 one,
whose reach costs little. Each map has one tower for labels and one for boxes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops.misc import Conv2dNormActivation

from vocdet.models.backbones.backbone import BackboneSpec, initialize
from vocdet.models.backbones.mobilenets import rounded
from vocdet.models.flat import flat
from vocdet.models.ssd.cells import BINS

FINEST = 8  # stride of the first map
PAN_MAPS = 4
CHANNELS, LARGER = 96, 128  # for mb3-small, for the larger nets
RARE = 0.01  # initial score of all labels together in every cell
_conv = partial(
    Conv2dNormActivation,
    norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03), activation_layer=nn.Hardswish, inplace=None,
)  # fmt: skip


def pan_channels(tensors: Mapping[str, Tensor], backbone: BackboneSpec) -> int:
    """The channels of the neck among the tensors, or the default for a backbone."""
    known = tensors.get("head.lateral.0.0.weight")
    if known is not None:
        return len(known)
    return rounded(CHANNELS * backbone.width) if backbone.kind == "mb3-small" else rounded(LARGER * backbone.width)


def _separable(channels: int, *, stride: int = 1) -> nn.Sequential:
    """A depthwise 5x5 convolution and a 1x1 convolution, each with norm and h-swish."""
    return nn.Sequential(
        _conv(channels, channels, kernel_size=5, stride=stride, groups=channels),
        _conv(channels, channels, kernel_size=1),
    )


class PanHead(nn.Module):
    """From maps of stride 8, 16 and 32 with `inputs` channels to box outputs and label logits of every cell."""

    def __init__(self, inputs: Sequence[int], channels: int, labels: int) -> None:
        super().__init__()
        self.classes = labels + 1
        self.lateral = nn.ModuleList(_conv(c, channels, kernel_size=1) for c in inputs)
        self.coarsest = _separable(channels, stride=2)
        self.top_down = nn.ModuleList(_separable(channels) for _ in inputs[:-1])
        self.bottom_up = nn.ModuleList(_separable(channels, stride=2) for _ in inputs)
        self.class_tower = nn.ModuleList(_separable(channels) for _ in range(PAN_MAPS))
        self.box_tower = nn.ModuleList(_separable(channels) for _ in range(PAN_MAPS))
        self.class_out = nn.ModuleList(nn.Conv2d(channels, self.classes, 1) for _ in range(PAN_MAPS))
        self.box_out = nn.ModuleList(nn.Conv2d(channels, 4 * BINS, 1) for _ in range(PAN_MAPS))
        initialize(self)
        for layer in (*self.class_out.modules(), *self.box_out.modules()):
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, 0, 0.01)
        for name, bias in self.class_out.named_parameters():
            if name.endswith("bias"):
                nn.init.constant_(bias[:1], math.log((1 / RARE - 1) * labels))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps (B, inputs[i], H, W) to box outputs (B, A, 4 * BINS) and logits (B, A, 1 + labels), finest cells first.

        Class 0 is background.
        """
        levels = [layer(m) for layer, m in zip(self.lateral, maps, strict=True)]
        coarsest = self.coarsest(levels[-1])
        for i in reversed(range(len(levels) - 1)):
            finer = levels[i]
            above = F.interpolate(levels[i + 1], size=finer.shape[-2:], mode="nearest")
            levels[i] = self.top_down[i](finer + above)
        levels.append(coarsest)
        for i, down in enumerate(self.bottom_up):
            levels[i + 1] = levels[i + 1] + down(levels[i])
        boxes = [
            flat(out(tower(x)), 4 * BINS) for tower, out, x in zip(self.box_tower, self.box_out, levels, strict=True)
        ]
        logits = [
            flat(out(tower(x)), self.classes)
            for tower, out, x in zip(self.class_tower, self.class_out, levels, strict=True)
        ]
        return torch.cat(boxes, 1), torch.cat(logits, 1)
