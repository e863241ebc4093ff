"""SSD on a MobileNet: the two last maps of the backbone, four extra maps, and heads on all six.

The default is SSD-lite, with depthwise-separable extra layers and heads (Sandler et al. 2018, section 6.2), and for V3
the taps of Howard et al. 2019, section 6.3. Parameter shapes, initialization and raw outputs are those of torchvision's
`ssdlite320_mobilenet_v3_large`. "Plain" is the SSD of Howard et al. 2017, table 13, and of chuanqi305's MobileNet-SSD
for Caffe: full 3x3 convolutions of stride 2 in the extra layers, and heads of one 1x1 convolution. (The SSD on VGG16,
and pytorch-ssd, have 3x3 heads: nine times the work.) A last map by global average pooling follows the Keras ports of
SSD: as many channels as the map before it, and no weights.

With the neck "pan" it has no anchors and no extra maps: see `vocdet.models.ssd.pan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
import torch
from torch import Tensor, nn
from torchvision.ops.misc import Conv2dNormActivation

from vocdet.models.backbones.backbone import Backbone, BackboneSpec
from vocdet.models.backbones.mobilenets import Norm
from vocdet.models.flat import flat
from vocdet.models.limits import check_input
from vocdet.models.ssd import pan
from vocdet.models.ssd.anchors import Anchors, map_sizes
from vocdet.models.ssd.cells import cell_grid
from vocdet.recipes.schema import FEWEST_CHANNELS, Extras, LastMap, Neck

EXTRAS = (512, 256, 256, 128)  # channels of the extra feature maps
MAPS = 2 + len(EXTRAS)
WIDEST_NECK = 512  # channels of a neck


class SsdSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="task", tag="ssd"):
    """Everything needed to build an SSD and to prepare its input."""

    backbone: BackboneSpec
    labels: tuple[str, ...]  # without background
    size: tuple[int, int]  # (height, width) of the input, pixels
    anchors: Anchors  # without shapes if there is a neck
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of RGB in [0, 1]
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    extras: Extras = "separable"  # and so the heads
    last_map: LastMap = "conv"
    neck: Neck = "none"  # "pan": no anchors, no extra maps
    channels: int = 0  # of the neck

    def __post_init__(self) -> None:
        check_input(self.labels, self.size, self.std)
        maps = MAPS if self.neck == "none" else 0
        if len(self.anchors.shapes) != maps:
            raise ValueError(f"anchors for {len(self.anchors.shapes)} feature maps, not {maps}")
        if not (FEWEST_CHANNELS <= self.channels <= WIDEST_NECK if self.neck == "pan" else self.channels == 0):
            raise ValueError(f"a neck {self.neck} of {self.channels} channels")

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.size

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of every feature map, finest first."""
        if self.neck == "pan":
            return map_sizes(self.size, pan.PAN_MAPS, finest=pan.FINEST)
        return map_sizes(self.size, last_map=self.last_map)

    def grid(self) -> Tensor:
        """(A, 4) the cells or anchors of all maps, pixels of the input."""
        if self.neck == "pan":
            return torch.from_numpy(cell_grid(self.maps, pan.FINEST))
        height, width = self.size
        return torch.from_numpy(self.anchors.grid(self.maps)) * torch.tensor([width, height, width, height])


class SsdLite(nn.Module):
    """An SSD that takes RGB in 0 to 255 and normalizes it."""

    mean: Tensor
    std: Tensor
    grid: Tensor

    def __init__(self, spec: SsdSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = Backbone(spec.backbone)
        if spec.neck == "pan":
            self.head = pan.PanHead(self.backbone.pyramid_channels[1:], spec.channels, len(spec.labels))
        else:
            self._add_extras(spec)
        self.register_buffer("grid", spec.grid(), persistent=False)  # (A, 4) pixels
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1), persistent=False)

    def _add_extras(self, spec: SsdSpec) -> None:
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
        extras, channels = [], list(self.backbone.channels)
        for out in EXTRAS:
            extras.append(_extra_map(channels[-1], out, norm, spec.extras))
            channels.append(out)
        if spec.last_map == "pool":
            extras[-1], channels[-1] = nn.AdaptiveAvgPool2d(1), channels[-2]
        self.extras = nn.ModuleList(extras)
        head = _head if spec.extras == "separable" else _plain_head
        shapes = list(zip(channels, spec.anchors.counts, strict=True))
        self.class_head = nn.ModuleList(head(c, n * (len(spec.labels) + 1), norm) for c, n in shapes)
        self.box_head = nn.ModuleList(head(c, n * 4, norm) for c, n in shapes)
        for module in (self.extras, self.class_head, self.box_head):
            _initialize(module)

    def grid_of(self, size: Sequence[int]) -> Tensor:
        """(A, 4) the cells or anchors for images of this (height, width), pixels."""
        height, width = size
        if (height, width) == self.spec.size:
            return self.grid
        return msgspec.structs.replace(self.spec, size=(height, width)).grid().to(self.grid)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) to offsets (B, A, 4) and logits (B, A, 1 + labels); class 0 is background.

        With a neck the offsets are outputs (B, A, 4 * BINS) of distances.
        """
        if self.training and len(images) == 1:
            # a map can be one pixel: batch norm needs two values for a variance
            offsets, logits = self(images.expand(2, -1, -1, -1))
            return offsets[:1], logits[:1]
        x = (images.to(self.mean.dtype) / 255).sub_(self.mean).div_(self.std)  # the rounding of torchvision
        if self.spec.neck == "pan":
            outputs: tuple[Tensor, Tensor] = self.head(self.backbone.pyramid(x)[1:])
            return outputs
        maps = list(self.backbone(x))
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        offsets = [flat(head(m), 4) for head, m in zip(self.box_head, maps, strict=True)]
        classes = len(self.spec.labels) + 1
        logits = [flat(head(m), classes) for head, m in zip(self.class_head, maps, strict=True)]
        return torch.cat(offsets, 1), torch.cat(logits, 1)


def _extra_map(inputs: int, out: int, norm: Norm, kind: Extras) -> nn.Module:
    conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    half = out // 2
    narrow = conv(inputs, half, kernel_size=1)
    if kind == "plain":
        return nn.Sequential(narrow, conv(half, out, kernel_size=3, stride=2))
    return nn.Sequential(narrow, conv(half, half, kernel_size=3, stride=2, groups=half), conv(half, out, kernel_size=1))


def _head(inputs: int, out: int, norm: Norm) -> nn.Module:
    depthwise = Conv2dNormActivation(
        inputs, inputs, kernel_size=3, groups=inputs, norm_layer=norm, activation_layer=nn.ReLU6
    )
    return nn.Sequential(depthwise, nn.Conv2d(inputs, out, 1))


def _plain_head(inputs: int, out: int, _: Norm) -> nn.Module:
    return nn.Conv2d(inputs, out, 1)


def _initialize(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0, 0.03)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
