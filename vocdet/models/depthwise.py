"""Depthwise 5x5 convolutions whose weights learn as fast as those of 3x3 ones, on x86 processors.

oneDNN computes the gradient of depthwise weights quickly up to a width of 3. Wider ones it computes for blocks of 16
by 16 channels and discards all but the diagonals. Here the gradient of a 5x5 kernel consists of gradients of kernels
that are 3 wide: the inner columns directly, the others on pairs of neighboring pixels, which in channels-last memory
are single pixels with twice the channels.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor, nn

SIDE, PADDING = 5, 2
_X86 = platform.machine().lower() in ("x86_64", "amd64")


def with_fast_gradients(model: nn.Module) -> None:
    """Replace the depthwise 5x5 convolutions of a model by ones that share their weights and learn faster, in place."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Conv2d and _fits(layer):
                setattr(parent, name, Depthwise5x5(layer))


def _fits(layer: nn.Conv2d) -> bool:
    return (
        layer.groups == layer.in_channels == layer.out_channels > 1
        and (layer.kernel_size, layer.padding, layer.dilation) == ((SIDE, SIDE), (PADDING, PADDING), (1, 1))
        and layer.stride in ((1, 1), (2, 2))
        and layer.padding_mode == "zeros"
    )


class Depthwise5x5(nn.Conv2d):
    """The same convolution as another one, with its parameters."""

    def __init__(self, same: nn.Conv2d) -> None:
        channels, has_bias = same.in_channels, same.bias is not None
        stride = same.stride[0]
        super().__init__(channels, channels, SIDE, stride, PADDING, groups=channels, bias=has_bias, device="meta")
        self.weight, self.bias = same.weight, same.bias

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, H / stride, W / stride)."""
        if self.weight.requires_grad and torch.is_grad_enabled() and _is_fast(x):
            out: Tensor = _Convolution.apply(x, self.weight, self.bias, self.stride[0])
            return out
        return super().forward(x)


def _is_fast(x: Tensor) -> bool:
    return (
        _X86
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[-1] % 2 == 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and not torch.is_autocast_enabled("cpu")
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return torch.conv2d(x, weight, bias, stride, PADDING, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_x, _, of_bias = _gradients(
            gradient, x, weight, (ctx.stride, ctx.stride), (PADDING, PADDING),
            (ctx.needs_input_grad[0], False, ctx.needs_input_grad[2]),
        )  # fmt: skip
        of_weight = (_weight_gradient if ctx.stride == 1 else _weight_gradient_of_stride_2)(gradient, x)
        return of_x, of_weight, of_bias, None


def _weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """(C, 1, 5, 5) from maps of equal size: columns 0, 2 and 4 look at pixels of the same position in a pair."""
    channels = x.shape[1]
    middle = _narrow(gradient, x, (1, 1))
    outer = _narrow(_pairs(gradient), _pairs(x), (1, 1))
    weight = x.new_empty(channels, 1, SIDE, SIDE)
    weight[..., ::2] = outer[:channels] + outer[channels:]
    weight[..., 1::2] = middle[..., ::2]
    return weight


def _weight_gradient_of_stride_2(gradient: Tensor, x: Tensor) -> Tensor:
    """The same for a gradient of half the size: columns 0, 2, 4 look at the first of a pair, 1 and 3 at the second."""
    channels = x.shape[1]
    pairs = _narrow(torch.cat([gradient, gradient], 1), _pairs(x), (2, 1))
    weight = x.new_empty(channels, 1, SIDE, SIDE)
    weight[..., ::2] = pairs[:channels]
    weight[..., 1::2] = pairs[channels:, ..., :2]
    return weight


def _pairs(x: Tensor) -> Tensor:
    """Maps (B, C, H, W) in channels-last memory as (B, 2 * C, H, W / 2), without a copy."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h, w // 2, 2 * c).permute(0, 3, 1, 2)


def _narrow(gradient: Tensor, x: Tensor, stride: tuple[int, int]) -> Tensor:
    """(C, 1, 5, 3) the gradient of a depthwise kernel that is 3 wide."""
    weight = x.new_empty(x.shape[1], 1, SIDE, 3)
    of_weight = _gradients(gradient, x, weight, stride, (PADDING, 1), (False, True, False))[1]
    assert of_weight is not None
    return of_weight


def _gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of a depthwise convolution: those of its input, its weights and its bias that are wanted."""
    channels = len(weight)
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        gradient, x, weight, [channels], stride, padding, (1, 1), False, (0, 0), channels, wanted
    )
