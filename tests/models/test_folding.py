"""Folded norms: the same outputs, and a state that anything can load."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2
from torchvision.ops.misc import FrozenBatchNorm2d

from vocdet.models.backbones.backbone import Backbone, BackboneSpec, parse_net
from vocdet.models.backbones.resnet import ResNet
from vocdet.models.folding import fold_norms, fused, plain_state
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.training.optim import MovingAverage

NETS = ["mb1-0.25", "mb2-0.35", "mb3-small-0.5"]


def lively(net: str) -> Backbone:
    """A backbone whose norms have weights and statistics of their own."""
    torch.manual_seed(0)
    backbone = Backbone(parse_net(net))
    for norm in norms(backbone):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.2)
        nn.init.normal_(norm.running_mean, 0, 0.1)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.fill_(7)
    return backbone


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("net", NETS)
def test_a_folded_backbone_says_in_training_what_the_norms_say_in_eval_mode(net: str) -> None:
    backbone = lively(net)
    expected = backbone.eval()(images())
    fold_norms(backbone)
    assert not norms(backbone)
    for mine, other in zip(backbone.train()(images()), expected, strict=True):
        assert other.std() > 0.01
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_what_a_folded_backbone_learned_loads_into_an_ordinary_one(net: str) -> None:
    backbone = lively(net)
    names = list(backbone.state_dict())
    fold_norms(backbone)
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1e-3)
    torch.stack([out.square().mean() for out in backbone.train()(images())]).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    state = plain_state(backbone)
    assert sorted(state) == sorted(names)
    ordinary = Backbone(parse_net(net))
    ordinary.load_state_dict(state)
    for mine, other in zip(ordinary.eval()(images()), backbone.eval()(images()), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
    assert {int(n.num_batches_tracked) for n in norms(ordinary)} == {7}  # type: ignore[arg-type]
    fold_norms(ordinary)  # and may be folded again
    for key, value in ordinary.state_dict().items():
        torch.testing.assert_close(value, backbone.state_dict()[key], rtol=1e-6, atol=1e-7)


def test_the_state_of_a_model_without_anything_folded_is_its_own() -> None:
    backbone = lively("mb1-0.25")
    state = plain_state(backbone)
    assert list(state) == list(backbone.state_dict())
    assert all(torch.equal(value, backbone.state_dict()[key]) for key, value in state.items())


def test_what_a_folded_resnet_learned_loads_into_an_ordinary_one() -> None:
    torch.manual_seed(0)
    net = ResNet()
    frozen = [m for m in net.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(frozen) == 53
    for norm in frozen:
        norm.running_var.uniform_(0.5, 1.5)
        norm.running_mean.normal_(0, 0.1)
        norm.bias.normal_(0, 0.1)
    expected, names = net.pyramid(images(1)), list(net.state_dict())
    fold_norms(net)
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in net.modules())
    assert not any(p.requires_grad for name, p in net.named_parameters() if name.endswith("bias"))  # as the norms' were
    state = plain_state(net)
    assert sorted(state) == sorted(names)
    ordinary = ResNet()
    ordinary.load_state_dict(state)
    for mine, again, other in zip(net.pyramid(images(1)), ordinary.pyramid(images(1)), expected, strict=True):
        assert other.std() > 0.01
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(again, other, rtol=1e-3, atol=1e-3)


def test_folding_a_part_leaves_the_rest() -> None:
    backbone = lively("mb2-0.35")
    backbone.freeze(8)
    expected = backbone.eval()(images())
    fold_norms(backbone.features[: backbone.frozen])
    assert not norms(backbone.features[: backbone.frozen])
    assert norms(backbone.features[backbone.frozen :])
    for mine, other in zip(backbone(images()), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_frozen_layers_stay_frozen_and_the_others_learn_their_shifts() -> None:
    backbone = lively("mb3-small-0.5")
    backbone.freeze(4)
    fold_norms(backbone)
    before = {key: value.clone() for key, value in plain_state(backbone).items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    torch.stack([out.square().mean() for out in backbone.train()(images())]).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    after = plain_state(backbone)
    changed = {int(key.split(".")[1]) for key in after if not torch.equal(before[key], after[key])}
    assert changed == set(range(backbone.frozen, len(backbone.features)))
    shifts = [key for key in after if key.endswith(".1.bias") and int(key.split(".")[1]) >= backbone.frozen]
    assert all(not torch.equal(before[key], after[key]) for key in shifts)


def test_a_convolution_with_a_bias_keeps_its_share() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.ReLU()).eval()
    nn.init.normal_(layers[0].bias)  # type: ignore[arg-type]
    nn.init.normal_(layers[1].running_mean)  # type: ignore[arg-type]
    expected = layers(images())
    fold_norms(layers)
    torch.testing.assert_close(layers(images()), expected, rtol=1e-5, atol=1e-5)


def test_a_moving_average_follows_a_folded_detector() -> None:
    model = SsdLite(SsdSpec(BackboneSpec("mb1", 0.25), ("a", "b"), (64, 64), torchvision_anchors()))
    names = list(model.state_dict())
    fold_norms(model.backbone)
    average = MovingAverage(model, copy.deepcopy(model), decay=0.5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update()
    state = plain_state(average.model)
    assert sorted(state) == sorted(names)
    shift = "backbone.features.0.1.bias"
    assert (state[shift] > 0.4).all()
    SsdLite(model.spec).load_state_dict(state)


def test_inference_works_on_a_folded_copy() -> None:
    torch.manual_seed(0)
    model = mobilenet_v2(num_classes=3, width_mult=0.25).train()
    model(images(8))  # so that the statistics are not 0 and 1
    copied = fused(model)
    assert norms(model)
    assert model.training
    assert not norms(copied)
    torch.testing.assert_close(copied(images()), model.eval()(images()), rtol=1e-4, atol=1e-5)
