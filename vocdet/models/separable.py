"""Depthwise-separable convolutions of the mobile pyramid and heads."""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.ops.misc import Conv2dNormActivation

NORM = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.1)


def depthwise(channels: int, *, padding: int = 1) -> nn.Sequential:
    """A depthwise 3x3 convolution, a batch norm and ReLU."""
    layer: nn.Sequential = Conv2dNormActivation(
        channels, channels, padding=padding, groups=channels, norm_layer=NORM, activation_layer=nn.ReLU
    )
    return layer


def pointwise(inputs: int, out: int, *, linear: bool = False) -> nn.Sequential:
    """A 1x1 convolution and a batch norm, then ReLU unless `linear`."""
    activation = None if linear else nn.ReLU
    layer: nn.Sequential = Conv2dNormActivation(
        inputs, out, kernel_size=1, norm_layer=NORM, activation_layer=activation
    )
    return layer


def separable(inputs: int, out: int, *, padding: int = 1, linear: bool = False) -> nn.Sequential:
    """`depthwise`, then `pointwise`."""
    return nn.Sequential(depthwise(inputs, padding=padding), pointwise(inputs, out, linear=linear))
