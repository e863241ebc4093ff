"""What a network costs: multiply-accumulates and parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Cost:
    """For one image."""

    macs: int  # multiply-accumulates of convolutions and linear layers; norms and activations are left out
    parameters: int


def cost(model: nn.Module, size: tuple[int, int]) -> Cost:
    """Count what one forward pass over an image of `size` (height, width) costs."""
    macs = 0

    def count(layer: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv2d):
            macs += out[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            macs += layer.weight.numel()

    hooks = [
        layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, *size, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return Cost(macs, sum(p.numel() for p in model.parameters()))
