"""Convert timm's MobileNetV1, the only source of ImageNet weights for `mb1`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

STAGES = (1, 2, 2, 6, 2)  # separable convolutions of each, as timm groups them
THEIR_EPS, OUR_EPS = 1e-5, 1e-3  # of the batch norms
_STEM = "conv_stem.weight"


def is_timm(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of timm's MobileNets."""
    return _STEM in tensors


def from_timm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of timm's MobileNetV1 with our names and for our norms; others are unchanged.

    timm's norms have an eps of 1e-5, ours 1e-3: scaled weights of the norms compensate, so that the features in eval
    mode are equal.
    """
    if not is_timm(tensors) or any(".conv_pwl." in name for name in tensors):  # an inverted residual: V2 or V3
        return dict(tensors)
    renamed = {_name_from_timm(name): value for name, value in tensors.items()}
    for name, variance in list(renamed.items()):
        weight = name.removesuffix("running_var") + "weight"
        if name.endswith(".running_var") and weight in renamed and renamed[weight].shape == variance.shape:
            variance = variance.double()
            scale = ((variance + OUR_EPS) / (variance + THEIR_EPS)).sqrt()
            renamed[weight] = (renamed[weight].double() * scale).to(renamed[weight].dtype)
    return renamed


def _name_from_timm(name: str) -> str:
    match = re.fullmatch(r"(?:blocks\.(\d)\.(\d)\.)?(conv_stem|conv_dw|conv_pw|bn1|bn2)\.(\w+)", name)
    if match is None:
        return name
    stage, block, layer, rest = match.groups()
    if stage is None:
        return f"features.0.{int(layer == 'bn1')}.{rest}" if layer != "bn2" else name
    place = 1 + sum(STAGES[: int(stage)]) + int(block)
    return f"features.{place}.{int(layer in ('conv_pw', 'bn2'))}.{int(layer.startswith('bn'))}.{rest}"
