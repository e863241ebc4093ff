"""Build backbones: classifiers and detectors share the same module, key for key."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn

from vocdet.errors import ArgumentError, RecipeError
from vocdet.models.backbones.mobilenets import (
    V3_LARGE_C4,
    V3_SMALL_C4,
    Norm,
    v1_features,
    v2_features,
    v3_features,
)
from vocdet.recipes.nets import MOBILE, NARROWEST, REGISTERED, RESNET, WIDEST, any_net_fault, mobile_names

NETWORKS = MOBILE
Layers = Callable[[float, Norm], nn.Sequential]  # of a width multiplier and a norm: from the image to stride 32
LAYERS: dict[str, Layers] = {"mb1": v1_features, "mb2": v2_features}  # mb3 has a reduced tail, too: `Backbone`
C4_LAYER = {"mb1": 11, "mb2": 14, "mb3-small": 1 + V3_SMALL_C4, "mb3-large": 1 + V3_LARGE_C4}
FREEZABLE = 16  # the highest stride of frozen layers
LEVELS = (4, 8, 16, 32)  # strides of a pyramid's maps


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """Everything needed to build a backbone."""

    kind: str  # one of KINDS, or RESNET
    width: float = 1.0  # the paper's width multiplier
    reduced_tail: bool = False  # V3 only: half the channels from C4's output on, as torchvision's SSD-lite

    def __post_init__(self) -> None:
        if self.kind not in (*mobile_names(), RESNET):
            raise ValueError(f"there is no net {self.kind!r}; add your own with register_backbone first")
        if not NARROWEST <= self.width <= WIDEST or (self.kind == RESNET and self.width != 1):
            raise ValueError(f"a width of {self.width}")
        if self.reduced_tail and not self.kind.startswith("mb3"):
            raise ValueError(f"{self.kind} has no reduced tail")

    @property
    def name(self) -> str:
        """The name in recipes and on the command line: mb3-large, mb1-0.25."""
        return self.kind if self.width == 1 else f"{self.kind}-{self.width:g}"


def parse_net(name: str, *, reduced_tail: bool = False) -> BackboneSpec:
    """The spec of `mb3-large`, or with a width multiplier of `mb1-0.25`; a `RecipeError` for an unknown name."""
    error = any_net_fault(name)
    if error:
        raise error
    kind, width = re.fullmatch(r"(.+?)(?:-([0-9.]+))?", name).groups()  # type: ignore[union-attr]  # the name is valid
    if reduced_tail and not kind.startswith("mb3"):
        raise RecipeError(f"{name} has no reduced tail", hint="only mb3-small and mb3-large have one")
    return BackboneSpec(kind, float(width or 1), reduced_tail)


def check_mobile(spec: BackboneSpec) -> None:
    """Raise `RecipeError` for ResNet, which only Mask R-CNN supports."""
    if spec.kind == RESNET:
        raise RecipeError(f"only Mask R-CNN supports {RESNET}", hint=f"use {', '.join(mobile_names())}")


def register_backbone(name: str, layers: Layers, *, c4: int) -> None:
    """Add a backbone of your own, so that every recipe can name it: `net="shop-net"`.

    `layers(width, norm)` returns an `nn.Sequential` from the image to stride 32. Every layer holds a convolution, the
    strides 4, 8, 16 and 32 all occur, and `norm(channels)` makes its batch norms. `c4` is the index of the layer
    whose output is the map of stride 16; a layer with a `block` or `conv` gives the output of its first module instead.
    A checkpoint with this backbone loads where the backbone is registered. Registering a name again replaces it.

    Raises `ArgumentError` for a name that a net or a width multiplier has, and for layers that do not fit.

    >>> from torch import nn
    >>> def stage(before, after, norm):
    ...     return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), norm(after), nn.ReLU())
    >>> def layers(width, norm):  # strides 2, 4, 8, 16 and 32
    ...     channels = [3, *(int(width * c) for c in (16, 24, 32, 64, 96))]
    ...     return nn.Sequential(*(stage(*pair, norm) for pair in zip(channels, channels[1:])))
    >>> vocdet.register_backbone("shop-net", layers, c4=3)
    """
    if name in (*MOBILE, RESNET) or not re.fullmatch(r"[a-z][a-z0-9_]*(-[a-z][a-z0-9_]*)*", name):
        hint = "use lower-case words with hyphens, each with a letter first, and no built-in name: shop-net"
        raise ArgumentError(f"{name!r} cannot name a backbone", hint=hint)
    with torch.device("meta"):  # nothing is allocated
        features = layers(1.0, nn.BatchNorm2d)
    if not all(any(isinstance(m, nn.Conv2d) for m in layer.modules()) for layer in features):
        raise ArgumentError(f"a layer of {name} holds no convolution", hint="put the pooling into a layer that has one")
    strides = layer_strides(features)
    if not set(LEVELS) <= set(strides) or strides[-1] != LEVELS[-1]:
        hint = "strides 4, 8, 16 and 32 must occur, and 32 must be the last"
        raise ArgumentError(f"the layers of {name} have the strides {strides}", hint=hint)
    if not 0 <= c4 < len(features) or tapped_stride(features, c4) != 16:
        hint = f"give the index of a layer with stride 16; the layers have the strides {strides}"
        raise ArgumentError(f"layer {c4} of {name} does not give a map of stride 16", hint=hint)
    LAYERS[name], C4_LAYER[name] = layers, c4
    if name not in REGISTERED:
        REGISTERED.append(name)


def layer_strides(features: nn.Sequential) -> list[int]:
    """The stride from the input to the output of every layer."""
    each = [max(m.stride[0] for m in layer.modules() if isinstance(m, nn.Conv2d)) for layer in features]
    return list(accumulate(each, operator.mul))


def tapped_modules(layer: nn.Module) -> list[nn.Module]:
    """The modules of the tapped layer: the output of the first is C4."""
    inner = getattr(layer, "block", getattr(layer, "conv", None))
    return list(inner) if isinstance(inner, nn.Sequential) else [layer]


def tapped_stride(features: nn.Sequential, c4: int) -> int:
    """The stride of the map that layer `c4` provides."""
    first = tapped_modules(features[c4])[0]
    return layer_strides(nn.Sequential(*features[:c4], first))[-1]


class Backbone(nn.Module):
    """A MobileNet or a registered net without its classifier; `RecipeError` for ResNet.

    `features` has torchvision's parameter names. `channels` are those of the two taps: C4 at stride 16 (for V2
    and V3 the expansion of the first block at stride 32, before its stride) and C5, the last convolution.
    `pyramid_channels` are those of the four maps that `pyramid` gives.
    """

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        check_mobile(spec)
        # eps as the published weights were trained: TensorFlow's 1e-3, PyTorch's 1e-5 for V2
        norm = partial(nn.BatchNorm2d, eps=1e-5 if spec.kind == "mb2" else 1e-3, momentum=0.03)
        if spec.kind in LAYERS:
            self.features = LAYERS[spec.kind](spec.width, norm)
        else:
            self.features = v3_features(spec.kind, spec.width, spec.reduced_tail, norm)
        self.spec = spec
        self.tap = C4_LAYER[spec.kind]
        self.frozen = 0  # number of frozen layers
        initialize(self)
        self.channels = (_out_channels(tapped_modules(self.features[self.tap])[0]), _out_channels(self.features[-1]))
        strides = layer_strides(self.features)
        self.levels = tuple(max(i for i, seen in enumerate(strides) if seen == stride) for stride in LEVELS)
        self.pyramid_channels = tuple(_out_channels(self.features[i]) for i in self.levels)

    def freeze(self, stride: int) -> None:
        """Freeze the layers up to this stride, at most 16, and the statistics of their batch norms.

        The layer that outputs C4 and the later ones remain trainable.
        """
        within = sum(seen <= min(stride, FREEZABLE) for seen in layer_strides(self.features))
        self.frozen = min(max(self.frozen, within), self.tap)
        frozen = self.features[: self.frozen].requires_grad_(False)
        for layer in frozen.modules():
            if isinstance(layer, nn.Hardswish):
                layer.inplace = True  # no backward pass needs its input
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Frozen layers stay in eval mode."""
        super().train(mode)
        self.features[: self.frozen].eval()
        return self

    def pyramid(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to four maps (B, pyramid_channels[i], H/s, W/s) of strides 4, 8, 16 and 32.

        Each is the output of the last layer of its stride.
        """
        maps = []
        for i, layer in enumerate(self.features):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= self.frozen):
                x = layer(x)
            if i in self.levels:
                maps.append(x)
        return tuple(maps)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to C4 (B, channels[0], H/16, W/16) and C5 (B, channels[1], H/32, W/32)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            for layer in self.features[: self.frozen]:
                x = layer(x)
        c4 = x
        for i, layer in enumerate(self.features[self.frozen :], self.frozen):
            if i == self.tap:
                first, *rest = tapped_modules(self.features[i])
                x = c4 = first(x)
                for module in rest:
                    x = module(x)
            else:
                x = layer(x)
        return c4, x


def _out_channels(module: nn.Module) -> int:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)][-1].out_channels


def initialize(module: nn.Module) -> None:
    """He's initialization for convolutions, N(0, .01) for linear layers, as torchvision's MobileNets."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.zeros_(layer.bias)
