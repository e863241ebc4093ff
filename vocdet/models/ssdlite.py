"""SSD-lite: MobileNet's two last maps, four extra ones, and depthwise-separable heads on all six.

Sandler et al. 2018 (SSDLite), section 6.2; the taps for V3 as Howard et al. 2019, section 6.3. Parameter shapes,
initialisation and raw outputs are those of torchvision's `ssdlite320_mobilenet_v3_large`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops.misc import Conv2dNormActivation

from vocdet.models.anchors import Anchors, map_sizes
from vocdet.models.backbone import Backbone, BackboneSpec
from vocdet.models.mobilenets import Norm

EXTRAS = (512, 256, 256, 128)


@dataclass(frozen=True, slots=True)
class SsdSpec:
    """Which detector: enough to build it again."""

    backbone: BackboneSpec
    labels: tuple[str, ...]  # without background
    size: tuple[int, int]  # (height, width) of the input, pixels
    anchors: Anchors
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of RGB in [0, 1]
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


class SsdLite(nn.Module):
    """A detector; takes uint8 RGB, normalises it itself."""

    mean: Tensor
    std: Tensor
    grid: Tensor

    def __init__(self, spec: SsdSpec) -> None:
        super().__init__()
        self.spec = spec
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
        self.backbone = Backbone(spec.backbone)
        extras, channels = [], list(self.backbone.channels)
        for out in EXTRAS:
            extras.append(_extra(channels[-1], out, norm))
            channels.append(out)
        self.extras = nn.ModuleList(extras)
        counts = spec.anchors.counts
        classes = len(spec.labels) + 1
        self.class_head = nn.ModuleList(_head(c, n * classes, norm) for c, n in zip(channels, counts, strict=True))
        self.box_head = nn.ModuleList(_head(c, n * 4, norm) for c, n in zip(channels, counts, strict=True))
        for module in (self.extras, self.class_head, self.box_head):
            _initialise(module)
        height, width = spec.size
        grid = torch.from_numpy(spec.anchors.grid(map_sizes(spec.size))) * torch.tensor([width, height, width, height])
        self.register_buffer("grid", grid, persistent=False)  # (A, 4) pixels
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) RGB in 0 to 255 to offsets (B, A, 4) and logits (B, A, 1 + labels); class 0 is background."""
        if self.training and len(images) == 1:
            # the last map is one pixel, of which batch norm could not tell a spread: let the image stand twice
            offsets, logits = self(images.expand(2, -1, -1, -1))
            return offsets[:1], logits[:1]
        x = (images.to(self.mean.dtype) / 255 - self.mean) / self.std  # rounded as torchvision rounds
        maps = list(self.backbone(x))
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        offsets = [_flat(head(m), 4) for head, m in zip(self.box_head, maps, strict=True)]
        classes = len(self.spec.labels) + 1
        logits = [_flat(head(m), classes) for head, m in zip(self.class_head, maps, strict=True)]
        return torch.cat(offsets, 1), torch.cat(logits, 1)


def _flat(x: Tensor, values: int) -> Tensor:
    """(B, shapes * values, H, W) to (B, H * W * shapes, values); no copy when x is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, values)


def _extra(inputs: int, out: int, norm: Norm) -> nn.Sequential:
    conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    half = out // 2
    return nn.Sequential(
        conv(inputs, half, kernel_size=1),
        conv(half, half, kernel_size=3, stride=2, groups=half),
        conv(half, out, kernel_size=1),
    )


def _head(inputs: int, out: int, norm: Norm) -> nn.Sequential:
    depthwise = Conv2dNormActivation(
        inputs, inputs, kernel_size=3, groups=inputs, norm_layer=norm, activation_layer=nn.ReLU6
    )
    return nn.Sequential(depthwise, nn.Conv2d(inputs, out, 1))


def _initialise(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0, 0.03)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
