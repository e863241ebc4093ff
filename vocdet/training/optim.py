"""Optimizer, schedule and the moving average of weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def make_optimizer(
    model: nn.Module, *, name: str, lr: float, weight_decay: float, backbone_lr: float = 1.0
) -> torch.optim.Optimizer:
    """AdamW or SGD (momentum .9), without decay on norms and biases; `backbone_lr` scales the backbone's rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = lr * (backbone_lr if key.startswith("backbone.") else 1.0)
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    settings = [
        {"params": parameters, "lr": rate, "weight_decay": decay, "peak": rate}
        for (rate, decay), parameters in groups.items()
    ]
    if name == "sgd":
        return torch.optim.SGD(settings, momentum=0.9, nesterov=True, fused=True)
    if name == "adamw":
        return torch.optim.AdamW(settings, fused=True)
    raise ValueError(f"no optimizer {name!r}")


def cosine(progress: float, *, warm: float) -> float:
    """The share of the peak rate at `progress` in [0, 1]: linear from 0 over `warm`, then a half cosine to 1 %."""
    if progress < warm:
        return max(progress / warm, 1e-3)
    along = min(1.0, (progress - warm) / (1 - warm))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along))


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group's rate to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


class MovingAverage:
    """An exponential moving average of a model's weights and norm statistics, kept in a model of its own.

    The decay grows from 0 to `decay` over the first steps, so that a short run is not averaged with its start.
    """

    def __init__(self, model: nn.Module, average: nn.Module, *, decay: float) -> None:
        self.model = average.eval().requires_grad_(False)
        self._decay = decay
        self._steps = 0
        self._pairs: list[tuple[Tensor, Tensor]] = []
        source = model.state_dict()
        for key, value in average.state_dict().items():
            value.copy_(source[key])
            if value.is_floating_point():
                self._pairs.append((value, source[key]))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        mine, theirs = zip(*self._pairs, strict=True)
        torch._foreach_lerp_(list(mine), list(theirs), 1 - decay)
