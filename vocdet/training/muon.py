"""Muon: the momentum of a weight matrix, made orthogonal, is its update.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", with the rates of Liu et al. 2025, "Muon
is scalable for LLM training", section 2.2. A gradient changes a matrix in few directions; orthogonal, it changes all of
them equally, so that a network learns more from as many steps. All else learns by AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vocdet.models.folding import normed_convs

MOMENTUM = 0.95
RATE = 0.4  # root mean square of an update relative to lr: twice that of AdamW
ITERATIONS = 3  # 5 learn hardly better and take longer
OBLONG = 2  # sides
_A, _B, _C = 3.4445, -4.7750, 2.0315  # of a Newton-Schulz step: Jordan et al. 2024


def matrices(model: nn.Module) -> set[Tensor]:
    """The weights of convolutions that mix channels and that a norm follows, so that their scale has no effect.

    The outputs of a network learn less well by Muon, depthwise kernels are vectors, and the matrices of squeeze-and-
    excitation layers would take half of the time.
    """
    return {conv.weight for conv in normed_convs(model) if conv.weight.shape[1] > 1}


class Muon(torch.optim.AdamW):
    """Muon for the groups with `matrix`, AdamW for the others."""

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, fused=True)
        self._step_supports_amp_scaling = False  # a scaler skips steps itself, not only those of AdamW

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change all parameters that have a gradient."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["matrix"]]
        try:
            super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["matrix"]:
                alike: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
                for parameter in group["params"]:
                    if (gradient := parameter.grad) is not None:
                        alike.setdefault((len(parameter), parameter[0].numel()), []).append((parameter, gradient))
                for pairs in alike.values():
                    self._change(pairs, group)

    def _change(self, pairs: list[tuple[nn.Parameter, Tensor]], group: dict[str, Any]) -> None:
        """Change parameters of one shape by their gradients."""
        parameters, gradients = [one for one, _ in pairs], [gradient for _, gradient in pairs]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov's
        updates = orthogonal(torch.stack([update.flatten(1) for update in ahead]))
        rate = group["lr"] * RATE * max(updates.shape[1:]) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update.view(parameter.shape), alpha=rate)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (K, M, N) with the same singular vectors, and singular values near 1, small ones excepted.

    Newton-Schulz steps, each a polynomial in the square of a matrix. For oblong ones it is cheaper to collect the
    polynomials, which are of the smaller side, and to apply their product.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    small, large = x.shape[1:]
    x = _collected(x) if large >= OBLONG * small else _one_by_one(x)
    return x.mT if tall else x


def _one_by_one(x: Tensor) -> Tensor:
    for _ in range(ITERATIONS):
        x = _polynomial(x @ x.mT) @ x
    return x


def _collected(x: Tensor) -> Tensor:
    square = x @ x.mT
    product = factor = _polynomial(square)
    for _ in range(ITERATIONS - 1):
        square = factor @ square @ factor
        factor = _polynomial(square)
        product = factor @ product
    return product @ x


def _polynomial(square: Tensor) -> Tensor:
    result = torch.baddbmm(square, square, square, beta=_B, alpha=_C)
    result.diagonal(dim1=1, dim2=2).add_(_A)
    return result
