"""A backbone from outside the package is built, named and checked like the built-in ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from vocdet.errors import ArgumentError, VocdetError
from vocdet.models.backbones import backbone as module
from vocdet.models.backbones.backbone import Backbone, BackboneSpec, parse_net, register_backbone
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.recipes import nets
from vocdet.recipes.schema import Model, SsdRecipe, changed

Norm = Callable[[int], nn.Module]


@pytest.fixture(autouse=True)
def no_leftovers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registrations end with the test."""
    monkeypatch.setattr(module, "LAYERS", dict(module.LAYERS))
    monkeypatch.setattr(module, "C4_LAYER", dict(module.C4_LAYER))
    before = list(nets.REGISTERED)
    yield
    nets.REGISTERED[:] = before


def plain(width: float, norm: Norm, strides: tuple[int, ...] = (2, 2, 2, 2, 2)) -> nn.Sequential:
    """3x3 convolutions, one a stride."""
    channels = [3, *(int(8 * width) for _ in strides)]
    layers = [
        nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), norm(outputs), nn.ReLU())
        for inputs, outputs, stride in zip(channels, channels[1:], strides, strict=False)
    ]
    return nn.Sequential(*layers)


def test_a_registered_backbone_gives_the_maps_of_all_tasks() -> None:
    register_backbone("plain", plain, c4=3)
    backbone = Backbone(parse_net("plain-2")).eval()
    assert backbone.spec == BackboneSpec("plain", 2.0)
    with torch.no_grad():
        c4, c5 = backbone(torch.zeros(1, 3, 64, 96))
        pyramid = backbone.pyramid(torch.zeros(1, 3, 64, 96))
    assert (c4.shape, c5.shape) == ((1, 16, 4, 6), (1, 16, 2, 3))
    assert [tuple(level.shape[2:]) for level in pyramid] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert Classifier(ClassifierSpec(parse_net("plain"), tuple("abcde")))(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


def test_recipes_take_its_name_once_it_is_registered() -> None:
    with pytest.raises(VocdetError, match="unknown net 'plain'"):
        Model(net="plain")
    register_backbone("plain", plain, c4=3)
    assert changed(SsdRecipe(), net="plain-0.5").model.net == "plain-0.5"
    with pytest.raises(VocdetError, match="unknown net 'plane'") as caught:
        parse_net("plane")
    assert "plain" in caught.value.hint


def test_registering_again_replaces() -> None:
    register_backbone("plain", plain, c4=3)
    register_backbone("plain", lambda width, norm: plain(2 * width, norm), c4=3)
    assert nets.REGISTERED.count("plain") == 1
    assert Backbone(BackboneSpec("plain")).channels == (16, 16)


@pytest.mark.parametrize("name", ["mb1", "resnet50", "", "Plain", "plain-0.5", "9net", "a b", "../x"])
def test_an_ambiguous_name_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="cannot name a backbone"):
        register_backbone(name, plain, c4=3)


def test_layers_that_do_not_fit_are_refused_with_their_strides() -> None:
    with pytest.raises(ArgumentError, match=r"strides \[2, 4, 8, 16\]"):
        register_backbone("plain", lambda width, norm: plain(width, norm, (2, 2, 2, 2)), c4=3)
    with pytest.raises(ArgumentError, match=r"strides \[2, 4, 16, 32\]"):
        register_backbone("plain", lambda width, norm: plain(width, norm, (2, 2, 4, 2)), c4=2)
    with pytest.raises(ArgumentError, match="layer 2 of plain does not give a map of stride 16"):
        register_backbone("plain", plain, c4=2)
    with pytest.raises(ArgumentError, match="layer 9 of plain"):
        register_backbone("plain", plain, c4=9)
    with pytest.raises(ArgumentError, match="a layer of plain holds no convolution"):
        register_backbone("plain", lambda width, norm: nn.Sequential(nn.MaxPool2d(2), *plain(width, norm)), c4=4)
    assert "plain" not in nets.REGISTERED


def test_a_spec_of_an_unregistered_backbone_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="there is no net 'plain'; add your own with register_backbone first"):
        BackboneSpec("plain")
