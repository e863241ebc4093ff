"""Batch norms folded into the convolutions before them: for inference, and for training with norms that stay.

A norm whose statistics do not change is a scale and a shift of each channel, and a convolution can do both. It then is
one pass over the maps instead of two, forward and backward.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Folded(nn.Identity):
    """Stands where a batch norm was; the convolution before it does its work."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        self.batches = 0 if norm.num_batches_tracked is None else int(norm.num_batches_tracked)


def fold_norms(module: nn.Module) -> None:
    """Let every convolution in `module` that a batch norm follows do the norm's work, with its running statistics.

    The outputs are those of eval mode, in training too. The convolutions get a bias, which learns if the norm's did;
    their weights are the same parameters with other values. To be done before an optimizer or a replica is made.
    """
    for sequence in list(module.modules()):
        if not isinstance(sequence, nn.Sequential):
            continue
        for i in range(len(sequence) - 1):
            conv, norm = sequence[i], sequence[i + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(conv, norm)
                sequence[i + 1] = Folded(norm)


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt() * norm.weight.double()
    before = 0.0 if conv.bias is None else conv.bias.double()
    shift = norm.bias.double() + (before - norm.running_mean.double()) * scale
    conv.weight.copy_(conv.weight.double() * scale.view(-1, 1, 1, 1))
    conv.bias = nn.Parameter(shift.to(conv.weight), requires_grad=norm.bias.requires_grad)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's state with the names that it has without folding, whether or not anything is folded.

    A folded norm is written as one that only adds: it loads into a network with batch norms, which in eval mode says
    the same, to rounding.
    """
    state: dict[str, Tensor] = dict(model.state_dict())
    for conv, norm, folded in _pairs(model):
        shift = state.pop(f"{conv}.bias")
        state[f"{norm}.weight"] = torch.ones_like(shift)
        state[f"{norm}.bias"] = shift
        state[f"{norm}.running_mean"] = torch.zeros_like(shift)
        state[f"{norm}.running_var"] = torch.full_like(shift, 1 - folded.eps)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(folded.batches, device=shift.device)
    return state


def _pairs(model: nn.Module) -> Iterator[tuple[str, str, Folded]]:
    """Where a convolution does a norm's work: the names of the convolution and of the norm that was there."""
    for name, sequence in model.named_modules():
        if isinstance(sequence, nn.Sequential):
            for i in range(1, len(sequence)):
                folded = sequence[i]
                if isinstance(folded, Folded):
                    start = f"{name}." if name else ""
                    yield f"{start}{i - 1}", f"{start}{i}", folded
