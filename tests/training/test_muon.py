"""Muon against its formulas, torch's Muon and torch's AdamW."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.folding import fold_norms
from vocdet.training.muon import ITERATIONS, Muon, matrices, orthogonal
from vocdet.training.optim import make_optimizer


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 40), st.integers(0, 1000))
def test_singular_values_follow_the_polynomial_and_vectors_remain(count: int, m: int, n: int, seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, m, n))).float()
    u, s, v = torch.linalg.svd(x.double(), full_matrices=False)
    s = s / s.square().sum(1, keepdim=True).sqrt()
    for _ in range(ITERATIONS):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5  # Jordan et al. 2024
    torch.testing.assert_close(orthogonal(x), (u @ torch.diag_embed(s) @ v).float(), rtol=1e-3, atol=1e-3)


def test_singular_values_are_near_one_and_zeros_remain() -> None:
    x = torch.randn(1, 20, 80, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(x))
    assert 0.6 < values.min() < values.max() < 1.3
    assert torch.equal(orthogonal(torch.zeros(2, 3, 8)), torch.zeros(2, 3, 8))


def trained(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], steps: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator) * (1 + step)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def weights(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def group(parameters: list[nn.Parameter], *, matrix: bool, decay: float = 0.1) -> dict[str, Any]:
    return {"params": parameters, "lr": 0.01, "weight_decay": decay, "matrix": matrix}


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has no Muon before 2.9")
def test_a_matrix_learns_as_by_torchs_muon() -> None:
    shapes = ((6, 20), (8, 8), (30, 7), (6, 20))
    mine, theirs, start = weights(*shapes), weights(*shapes), weights(*shapes)
    trained(Muon([group(mine, matrix=True)]), mine)
    # half our rate and decay at the same lr, hence twice the lr and half the decay; it computes in bfloat16
    reference = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=0.05, ns_steps=ITERATIONS, adjust_lr_fn="match_rms_adamw"
    )
    trained(reference, theirs)
    for own, other, before in zip(mine, theirs, start, strict=True):
        moved = (other - before).norm()
        assert (own - other).norm() < 0.03 * moved


def test_a_convolution_learns_as_the_matrix_of_its_rows() -> None:
    (flat,), (conv,) = weights((6, 12)), weights((6, 12))
    conv = nn.Parameter(conv.detach().view(6, 3, 2, 2).contiguous(memory_format=torch.channels_last))
    trained(Muon([group([flat], matrix=True)]), [flat])
    trained(Muon([group([conv], matrix=True)]), [conv])
    torch.testing.assert_close(conv.detach().flatten(1), flat.detach())


def test_vectors_learn_by_adamw() -> None:
    shapes = ((5,), (4, 1, 3, 3))
    mine, theirs = weights(*shapes), weights(*shapes)
    trained(Muon([group(weights((4, 4)), matrix=True), group(mine, matrix=False)]), mine)
    trained(torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1), theirs)
    for own, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(own, other)


def test_a_parameter_without_a_gradient_stays() -> None:
    mine = weights((4, 4), (4, 4), (3,))
    before = copy.deepcopy(mine)
    optimizer = Muon([group(mine[:2], matrix=True), group(mine[2:], matrix=False)])
    mine[0].grad = torch.ones(4, 4)
    optimizer.step()
    assert not torch.equal(mine[0], before[0])
    assert torch.equal(mine[1], before[1])
    assert torch.equal(mine[2], before[2])


@pytest.mark.parametrize("folded", [False, True])
def test_matrices_are_convolutions_that_mix_channels_and_have_a_norm(*, folded: bool) -> None:
    model = Classifier(ClassifierSpec(BackboneSpec("mb3-small", 0.25), ("a", "b")))
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    expected = {
        key for key, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.bias is None
    }  # fmt: skip
    if folded:
        fold_norms(model)
    assert {names[id(parameter)] for parameter in matrices(model)} == {f"{key}.weight" for key in expected}
    optimizer = make_optimizer(model, name="muon", lr=0.01, weight_decay=0.05)
    assert sum(len(g["params"]) for g in optimizer.param_groups if g["matrix"]) == len(expected) > 20


def test_a_scaler_skips_a_step_whose_gradient_is_not_finite() -> None:
    mine = weights((4, 4), (3,))
    before = copy.deepcopy(mine)
    optimizer = Muon([group(mine[:1], matrix=True), group(mine[1:], matrix=False)])
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.zeros(()))
    for parameter in mine:
        parameter.grad = torch.full(parameter.shape, torch.inf)
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(a, b) for a, b in zip(mine, before, strict=True))
    for parameter in mine:
        parameter.grad = torch.ones(parameter.shape)
    scaler.step(optimizer)
    assert not any(torch.equal(a, b) for a, b in zip(mine, before, strict=True))
