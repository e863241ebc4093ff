"""The layers of MobileNet V1, V2 and V3, with torchvision's parameter names where torchvision has the network.

V1: Howard et al. 2017, table 1. V2: Sandler et al. 2018, table 2. V3: Howard et al. 2019, tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import starmap
from typing import NamedTuple

from torch import Tensor, nn
from torchvision.ops.misc import Conv2dNormActivation, SqueezeExcitation

Norm = Callable[[int], nn.Module]


class V3Block(NamedTuple):
    """A row of V3's tables."""

    kernel: int  # of the depthwise convolution
    expansion: int  # channels
    out: int  # channels
    squeeze: bool  # squeeze-excite
    hswish: bool  # or ReLU
    stride: int


V3_LARGE = (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
)  # fmt: skip
V3_SMALL = (
    (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
)  # fmt: skip
V3_LARGE_C4, V3_SMALL_C4 = 12, 8  # rows whose expansion is the stride-16 tap; the tail is halved from their output on
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at least 90 % of `channels`, as in TensorFlow slim."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter depthwise, squeeze-excite, project by 1x1; with a shortcut where shapes allow."""

    def __init__(self, inputs: int, block: V3Block, norm: Norm) -> None:
        super().__init__()
        kernel, expansion, out, squeeze, hswish, stride = block
        # in-place h-swish copies its input for the backward pass; ReLU saves its output instead
        activation = partial(nn.Hardswish, inplace=False) if hswish else nn.ReLU
        inplace = None if hswish else True
        conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=activation, inplace=inplace)
        layers: list[nn.Module] = []
        if expansion != inputs:
            layers.append(conv(inputs, expansion, kernel_size=1))
        layers.append(conv(expansion, expansion, kernel_size=kernel, stride=stride, groups=expansion))
        if squeeze:
            layers.append(SqueezeExcitation(expansion, rounded(expansion // 4), scale_activation=nn.Hardsigmoid))
        layers.append(Conv2dNormActivation(expansion, out, kernel_size=1, norm_layer=norm, activation_layer=None))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == out

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, out, H/stride, W/stride)."""
        y: Tensor = self.block(x)
        return y.add_(x) if self.shortcut else y


class LinearBottleneck(nn.Module):
    """MobileNetV2's inverted residual, with torchvision's parameter names (`conv`)."""

    def __init__(self, inputs: int, ratio: int, out: int, stride: int, norm: Norm) -> None:
        super().__init__()
        hidden = inputs * ratio
        conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
        expand = [conv(inputs, hidden, kernel_size=1)] if ratio != 1 else []
        filter_ = conv(hidden, hidden, stride=stride, groups=hidden)
        self.conv = nn.Sequential(*expand, filter_, nn.Conv2d(hidden, out, 1, bias=False), norm(out))
        self.shortcut = stride == 1 and inputs == out

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, out, H/stride, W/stride)."""
        y: Tensor = self.conv(x)
        return y.add_(x) if self.shortcut else y


def v3_features(kind: str, width: float, reduced_tail: bool, norm: Norm) -> nn.Sequential:
    """MobileNetV3's feature layers; `reduced_tail` halves the channels from C4's output on."""
    rows, c4 = (V3_LARGE, V3_LARGE_C4) if kind == "mb3-large" else (V3_SMALL, V3_SMALL_C4)
    conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.Hardswish, inplace=None)
    inputs = rounded(16 * width)
    layers: list[nn.Module] = [conv(3, inputs, kernel_size=3, stride=2)]
    for i, block in enumerate(starmap(V3Block, rows)):
        expansion, out = block.expansion, block.out
        if reduced_tail and i >= c4:
            expansion, out = (expansion if i == c4 else expansion // 2), out // 2
        block = block._replace(expansion=rounded(expansion * width), out=rounded(out * width))
        layers.append(InvertedResidual(inputs, block, norm))
        inputs = block.out
    layers.append(conv(inputs, 6 * inputs, kernel_size=1))
    return nn.Sequential(*layers)


def v2_features(width: float, norm: Norm) -> nn.Sequential:
    """MobileNetV2's feature layers."""
    conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    inputs = rounded(32 * width)
    layers: list[nn.Module] = [conv(3, inputs, stride=2)]
    for ratio, channels, repeats, first_stride in V2:
        for repeat in range(repeats):
            out = rounded(channels * width)
            layers.append(LinearBottleneck(inputs, ratio, out, first_stride if repeat == 0 else 1, norm))
            inputs = out
    layers.append(conv(inputs, rounded(1280 * max(1.0, width)), kernel_size=1))
    return nn.Sequential(*layers)


def v1_features(width: float, norm: Norm) -> nn.Sequential:
    """MobileNetV1's feature layers: a convolution and 13 depthwise-separable ones."""
    conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    inputs = max(8, int(32 * width))
    layers: list[nn.Module] = [conv(3, inputs, stride=2)]
    for channels, stride in V1:
        out = max(8, int(channels * width))
        layers.append(
            nn.Sequential(conv(inputs, inputs, stride=stride, groups=inputs), conv(inputs, out, kernel_size=1))
        )
        inputs = out
    return nn.Sequential(*layers)
