"""Optimizer, schedules and the moving average of weights."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vocdet.training.muon import Muon, matrices

RateSchedule = Callable[
    [float, float], float
]  # progress in [0, 1], share of it that warms up -> share of the peak rate

LOWEST = 0.01  # of the peak, at the end of a cosine


def make_optimizer(
    model: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay: float,
    backbone_lr: float = 1.0,
) -> torch.optim.Optimizer:
    """`muon`, `adamw`, `sgd` with Nesterov's momentum of .9, or `momentum` with the plain one.

    Norms and biases do not decay. `backbone_lr` scales the backbone's rate.
    """
    special = matrices(model) if name == "muon" else set()
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = lr * (backbone_lr if key.startswith("backbone.") else 1.0)
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay, parameter in special), []).append(parameter)
    settings = [
        {"params": parameters, "lr": rate, "weight_decay": decay, "peak": rate, "matrix": matrix}
        for (rate, decay, matrix), parameters in groups.items()
    ]
    if name == "muon":
        return Muon(settings)
    if name in ("sgd", "momentum"):
        return torch.optim.SGD(settings, momentum=0.9, nesterov=name == "sgd", fused=True)
    if name == "adamw":
        return torch.optim.AdamW(settings, fused=True)
    raise ValueError(f"no optimizer {name!r}")


def make_schedule(name: str, *, steps: Sequence[float] = ()) -> RateSchedule:
    """The learning rate over a run: `cosine`, `steps` (a tenth after each of these shares), `one-cycle`, `constant`.

    All but one-cycle, which always rises for three tenths of the run, begin with a linear warm-up.
    """
    if name == "one-cycle":
        return one_cycle
    falls: dict[str, Callable[[float], float]] = {
        "cosine": _half_cosine,
        "steps": lambda along: 0.1 ** bisect_right(sorted(steps), along),
        "constant": lambda along: 1.0,  # noqa: ARG005
    }
    fall, whole = falls[name], name == "steps"  # the steps are shares of the whole run

    def schedule(progress: float, warm: float) -> float:
        if progress < warm:
            return max(progress / warm, 1e-3)
        return fall(progress if whole else min(1.0, (progress - warm) / (1 - warm)))

    return schedule


def one_cycle(progress: float, _: float = 0.0) -> float:
    """From a 25th of the peak up in three tenths of the run and down to nearly nothing, by half cosines.

    Smith and Topin 2017, in the form of torch's OneCycleLR.
    """
    rise = 0.3
    if progress < rise:
        return 1 / 25 + (1 - 1 / 25) * 0.5 * (1 - math.cos(math.pi * progress / rise))
    along = min(1.0, (progress - rise) / (1 - rise))
    return 4e-6 + (1 - 4e-6) * 0.5 * (1 + math.cos(math.pi * along))


def _half_cosine(along: float) -> float:
    return LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * along))


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group's rate to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


class MovingAverage:
    """An exponential moving average of a model's weights and norm statistics, in a separate model.

    The decay grows from 0 to `decay` over the first steps, so that the average of a short run excludes its start; with
    a `decay` of 0 it equals the model.
    """

    def __init__(self, model: nn.Module, average: nn.Module, *, decay: float) -> None:
        self.model = average.eval().requires_grad_(False)
        self.steps = 0
        self._decay = decay
        self._pairs: list[tuple[Tensor, Tensor]] = []
        source = model.state_dict()
        for key, value in average.state_dict().items():
            value.copy_(source[key])
            if value.is_floating_point():
                self._pairs.append((value, source[key]))

    @torch.no_grad()
    def update(self) -> None:
        """Update the average after a step."""
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = zip(*self._pairs, strict=True)
        torch._foreach_lerp_(list(mine), list(theirs), 1 - decay)
