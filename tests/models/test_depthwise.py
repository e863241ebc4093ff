"""Depthwise convolutions with a faster gradient: equal to those of torch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from vocdet.models import depthwise
from vocdet.models.depthwise import Depthwise5x5, with_fast_gradients


def layer(channels: int = 6, *, stride: int = 1, bias: bool = False, **other: object) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, channels, 5, stride, 2, groups=channels, bias=bias, **other)  # type: ignore[arg-type]


def image(height: int, width: int, channels: int = 6) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(3, channels, height, width).contiguous(memory_format=torch.channels_last)


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = model(x)
    torch.manual_seed(2)
    return [out, *torch.autograd.grad((out * torch.randn_like(out)).sum(), [x, *model.parameters()])]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(10, 10), (7, 12), (2, 2), (1, 4), (9, 11)])
def test_outputs_and_gradients_are_those_of_torch(height: int, width: int, stride: int, *, bias: bool) -> None:
    conv = layer(stride=stride, bias=bias)
    for mine, expected in zip(
        gradients(Depthwise5x5(conv), image(height, width)), gradients(conv, image(height, width)), strict=True
    ):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_of_the_weights_comes_from_narrow_kernels(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "_X86", True)
    shapes: list[tuple[int, ...]] = []
    narrow = depthwise._narrow
    monkeypatch.setattr(depthwise, "_narrow", lambda g, x, s: shapes.append(tuple(x.shape)) or narrow(g, x, s))  # type: ignore[func-returns-value]
    gradients(Depthwise5x5(layer(stride=stride)), image(8, 8))
    assert shapes == ([(3, 6, 8, 8), (3, 12, 8, 4)] if stride == 1 else [(3, 12, 8, 4)])


def test_other_maps_and_processors_learn_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(depthwise, "_narrow", refuse)
    gradients(Depthwise5x5(layer()), image(8, 7))
    gradients(Depthwise5x5(layer()), image(8, 8).contiguous(memory_format=torch.contiguous_format))
    gradients(Depthwise5x5(layer().double()), image(8, 8).double())
    with torch.autocast("cpu", torch.bfloat16):
        gradients(Depthwise5x5(layer()), image(8, 8))
    monkeypatch.setattr(depthwise, "_X86", False)
    gradients(Depthwise5x5(layer()), image(8, 8))


def test_only_depthwise_5x5_convolutions_are_replaced_and_keep_their_parameters() -> None:
    model = nn.Sequential(
        layer(), nn.Sequential(layer(stride=2), nn.Conv2d(6, 6, 3, padding=1, groups=6)), nn.Conv2d(6, 6, 5, padding=2),
        layer(padding_mode="reflect"), nn.Conv2d(6, 6, 5, padding=2, groups=3), nn.Conv2d(6, 6, 5, groups=6),
    )  # fmt: skip
    before, state = dict(model.named_parameters()), copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    with_fast_gradients(model)
    with_fast_gradients(model)
    assert [name for name, m in model.named_modules() if isinstance(m, Depthwise5x5)] == ["0", "1.0"]
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)


def test_an_image_needs_no_gradient() -> None:
    conv, x = layer(), image(8, 8)
    (mine,) = torch.autograd.grad(Depthwise5x5(conv)(x).square().sum(), conv.weight)
    (expected,) = torch.autograd.grad(conv(x).square().sum(), conv.weight)
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


def test_frozen_weights_and_inference_need_no_gradient() -> None:
    conv = layer()
    conv.weight.requires_grad_(False)
    x = image(8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(Depthwise5x5(conv)(x).sum(), x)
    assert gradient.shape == x.shape
    with torch.no_grad():
        torch.testing.assert_close(Depthwise5x5(layer())(x), layer()(x))
