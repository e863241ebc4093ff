"""What a network costs: multiply-accumulates and parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True, slots=True)
class Cost:
    """For one image."""

    macs: int  # multiply-accumulates of convolutions and linear layers; norms and activations are left out
    parameters: int


def cost(model: nn.Module, size: tuple[int, int]) -> Cost:
    """Count what one forward pass over an image of `size` (height, width) costs.

    A Mask R-CNN is counted with as many proposals and detections as there can be.
    """
    macs = 0

    def count(layer: nn.Module, inputs: Any, out: Tensor) -> None:
        nonlocal macs
        assert isinstance(layer, _COUNTED)
        # a transposed convolution takes each of its inputs to as many outputs as its weights are for one
        values = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else out
        macs += values.numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, _COUNTED)]
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, *size, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return Cost(macs, sum(p.numel() for p in model.parameters()))
