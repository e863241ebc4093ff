"""Fold batch norms into the preceding convolutions, for inference and for training with frozen norms.

A norm with fixed statistics scales and shifts each channel, which a convolution can do as well: one pass over the maps
instead of two, forward and backward.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d


class Folded(nn.Identity):
    """Replaces a batch norm that is folded into the preceding convolution."""

    def __init__(self, norm: nn.BatchNorm2d | FrozenBatchNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        count = getattr(norm, "num_batches_tracked", None)
        self.batches = None if isinstance(norm, FrozenBatchNorm2d) else 0 if count is None else int(count)


def fold_norms(module: nn.Module) -> None:
    """Fold every batch norm in `module` into the convolution before it, with its running statistics, in place.

    The outputs equal those of eval mode, in training, too. The convolutions get a bias, trainable if that of the norm
    was; their weights remain the same parameters. Call it before creating an optimizer or a replica.
    """
    for parent, conv, norm_name in list(_normed(module)):
        norm = parent.get_submodule(norm_name)
        if isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
            _fold(conv, norm)
            setattr(parent, norm_name, Folded(norm))


def normed_convs(model: nn.Module) -> Iterator[nn.Conv2d]:
    """The convolutions that a batch norm follows, also one that is folded into them."""
    return (conv for _, conv, _ in _normed(model))


def _normed(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Conv2d, str]]:
    """Each of these convolutions with the module that it is in, and the name of its norm there."""
    for parent in model.modules():
        for conv_name, norm_name in _neighbors(parent):
            conv, norm = parent.get_submodule(conv_name), parent.get_submodule(norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d | Folded):
                yield parent, conv, norm_name


def _neighbors(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of consecutive layers, in a sequence and in the blocks of a ResNet."""
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
    """The state dict with the names of the unfolded model.

    A folded norm becomes one that only adds a bias: the state loads into a model with batch norms, with equal outputs
    in eval mode, up to rounding.
    """
    state: dict[str, Tensor] = dict(model.state_dict())
    for conv, norm, folded in _folded_pairs(model):
        shift = state.pop(f"{conv}.bias")
        state[f"{norm}.weight"] = torch.ones_like(shift)
        state[f"{norm}.bias"] = shift
        state[f"{norm}.running_mean"] = torch.zeros_like(shift)
        state[f"{norm}.running_var"] = torch.full_like(shift, 1 - folded.eps)
        if folded.batches is not None:
            state[f"{norm}.num_batches_tracked"] = torch.tensor(folded.batches, device=shift.device)
    return state


def _folded_pairs(model: nn.Module) -> Iterator[tuple[str, str, Folded]]:
    """The names of each convolution with a folded norm, and of that norm."""
    for name, parent in model.named_modules():
        start = f"{name}." if name else ""
        for conv, norm in _neighbors(parent):
            folded = parent.get_submodule(norm)
            if isinstance(folded, Folded):
                yield start + conv, start + norm, folded


M = TypeVar("M", bound=nn.Module)


def fused(model: M) -> M:
    """A copy in eval mode with all batch norms folded into the preceding convolutions."""
    model = copy.deepcopy(model).eval()
    fold_norms(model)
    return model
