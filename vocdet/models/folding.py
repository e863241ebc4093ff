"""Batch norms folded into the convolutions before them: for inference, and for training with norms that stay.

A norm whose statistics do not change is a scale and a shift of each channel, and a convolution can do both. It then is
one pass over the maps instead of two, forward and backward.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d


class Folded(nn.Identity):
    """Stands where a batch norm was; the convolution before it does its work."""

    def __init__(self, norm: nn.BatchNorm2d | FrozenBatchNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        count = getattr(norm, "num_batches_tracked", None)
        self.batches = None if isinstance(norm, FrozenBatchNorm2d) else 0 if count is None else int(count)


def fold_norms(module: nn.Module) -> None:
    """Let every convolution in `module` that a batch norm follows do the norm's work, with its running statistics.

    The outputs are those of eval mode, in training too. The convolutions get a bias, which learns if the norm's did;
    their weights are the same parameters with other values. To be done before an optimizer or a replica is made.
    """
    for parent in list(module.modules()):
        for conv_name, norm_name in _neighbours(parent):
            conv, norm = parent.get_submodule(conv_name), parent.get_submodule(norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
                _fold(conv, norm)
                setattr(parent, norm_name, Folded(norm))


def _neighbours(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of layers of which the second works on what the first gives: in a sequence, and in a ResNet's parts."""
    names = list(parent._modules)
    if isinstance(parent, nn.Sequential):
        yield from zip(names, names[1:], strict=False)
    else:
        norms = {name: name.replace("conv", "bn") for name in names if name.startswith("conv")}
        yield from ((conv, norm) for conv, norm in norms.items() if norm in parent._modules)


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d | FrozenBatchNorm2d) -> None:
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
        if folded.batches is not None:
            state[f"{norm}.num_batches_tracked"] = torch.tensor(folded.batches, device=shift.device)
    return state


def _pairs(model: nn.Module) -> Iterator[tuple[str, str, Folded]]:
    """Where a convolution does a norm's work: the names of the convolution and of the norm that was there."""
    for name, parent in model.named_modules():
        start = f"{name}." if name else ""
        for conv, norm in _neighbours(parent):
            folded = parent.get_submodule(norm)
            if isinstance(folded, Folded):
                yield start + conv, start + norm, folded


M = TypeVar("M", bound=nn.Module)


def fused(model: M) -> M:
    """A copy in eval mode in which every batch norm that follows a convolution is folded into it."""
    model = copy.deepcopy(model).eval()
    fold_norms(model)
    return model
