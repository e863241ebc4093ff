"""Feature pyramids: maps of strides 4 to 64 with the same number of channels. Lin et al. 2017, section 3."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from vocdet.models.separable import pointwise, separable


class Fpn(nn.Module):
    """A pyramid of five maps from four; parameter names are those of torchvision's FeaturePyramidNetwork."""

    def __init__(self, inner: Sequence[nn.Module], layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(inner)
        self.layer_blocks = nn.ModuleList(layers)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_i, H_i, W_i), finest first, to (B, channels, H_i, W_i) and a fifth map of half the size."""
        x = self.inner_blocks[-1](maps[-1])
        out = [self.layer_blocks[-1](x)]
        for i in range(len(maps) - 2, -1, -1):
            lateral = self.inner_blocks[i](maps[i])
            x = lateral + F.interpolate(x, size=lateral.shape[-2:], mode="nearest")
            out.insert(0, self.layer_blocks[i](x))
        return [*out, out[-1][:, :, ::2, ::2]]


def standard_fpn(inputs: Sequence[int], channels: int) -> Fpn:
    """The pyramid of the paper: plain 1x1 and 3x3 convolutions without norms."""
    fpn = Fpn(
        [nn.Sequential(nn.Conv2d(c, channels, 1)) for c in inputs],
        [nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)) for _ in inputs],
    )
    for layer in fpn.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return fpn


def mobile_fpn(inputs: Sequence[int], channels: int) -> Fpn:
    """A pyramid of depthwise-separable convolutions with batch norms."""
    inner = [pointwise(c, channels, linear=True) for c in inputs]
    return Fpn(inner, [separable(channels, channels, linear=True) for _ in inputs])
