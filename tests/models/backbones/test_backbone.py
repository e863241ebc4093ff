"""The backbones are those of the papers and of torchvision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import (
    MobileNet_V2_Weights,
    MobileNet_V3_Large_Weights,
    MobileNet_V3_Small_Weights,
    mobilenet_v2,
)
from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf

from vocdet.errors import VocdetError
from vocdet.models.backbones.backbone import Backbone, BackboneSpec, parse_net
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import map_sizes
from vocdet.models.weights.transfer import transfer

LABELS = 7


def mobilenet_v3(arch: str, **asked: Any) -> Callable[[], nn.Module]:
    return lambda: MobileNetV3(*_mobilenet_v3_conf(arch, **asked), num_classes=LABELS)


THEIRS: dict[BackboneSpec, Callable[[], nn.Module]] = {
    BackboneSpec("mb2"): lambda: mobilenet_v2(num_classes=LABELS),
    BackboneSpec("mb2", 0.35): lambda: mobilenet_v2(num_classes=LABELS, width_mult=0.35),
    BackboneSpec("mb2", 1.4): lambda: mobilenet_v2(num_classes=LABELS, width_mult=1.4),
    BackboneSpec("mb3-large"): mobilenet_v3("mobilenet_v3_large"),
    BackboneSpec("mb3-small"): mobilenet_v3("mobilenet_v3_small"),
    BackboneSpec("mb3-large", reduced_tail=True): mobilenet_v3("mobilenet_v3_large", reduced_tail=True),
    BackboneSpec("mb3-small", reduced_tail=True): mobilenet_v3("mobilenet_v3_small", reduced_tail=True),
    BackboneSpec("mb3-large", 0.75): mobilenet_v3("mobilenet_v3_large", width_mult=0.75),
    BackboneSpec("mb3-small", 0.5, True): mobilenet_v3("mobilenet_v3_small", width_mult=0.5, reduced_tail=True),
    BackboneSpec("mb3-small", 1.25): mobilenet_v3("mobilenet_v3_small", width_mult=1.25),
}


def text(spec: BackboneSpec) -> str:
    return spec.name + ("-reduced" if spec.reduced_tail else "")


def make_lively(model: nn.Module) -> None:
    """Norms with statistics of their own: where they are 0 and 1, no one would miss them."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            nn.init.normal_(norm.running_mean, 0, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)


@pytest.mark.parametrize("spec", THEIRS, ids=text)
def test_a_classifier_says_what_torchvisions_says(spec: BackboneSpec) -> None:
    torch.manual_seed(0)
    theirs = THEIRS[spec]()
    make_lively(theirs)
    ours = Classifier(ClassifierSpec(spec, tuple(map(str, range(LABELS)))))
    moved = transfer(ours, theirs.state_dict(), spec, source="torchvision")
    # the classifiers have other names, as ours is no part of the backbone, and are the same layers in the same order
    ours.classifier.load_state_dict(theirs.classifier.state_dict())  # type: ignore[union-attr]
    assert moved.count("loaded") >= len(ours.backbone.state_dict())
    assert len(ours.state_dict()) == len(theirs.state_dict())
    image = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected: Tensor = theirs.eval()(image)
        found: Tensor = ours.eval()(image)
    assert expected.std() > 1e-4
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


# Howard et al. 2017, tables 6 and 7: millions of multiply-adds and of parameters at 224x224 for 1000 classes. TF-slim's
# page has 317 for a width of .75, which neither the paper nor a count of the layers confirms.
@pytest.mark.parametrize(
    ("width", "millions", "published", "slim"),
    [(1.0, 569, 4.2, 4.24), (0.75, 325, 2.6, 2.59), (0.5, 149, 1.3, 1.34), (0.25, 41, 0.5, 0.47)],
)
def test_mobilenet_v1_costs_what_its_paper_states(
    cost: Any, width: float, millions: int, published: float, slim: float
) -> None:
    macs, parameters = cost(
        Classifier(ClassifierSpec(BackboneSpec("mb1", width), tuple(map(str, range(1000))))), (224, 224)
    )
    assert round(macs / 1e6) == millions
    assert round(parameters / 1e6, 1) == published
    assert parameters / 1e6 == pytest.approx(slim, rel=0.01)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mb2", MobileNet_V2_Weights.IMAGENET1K_V1),
        ("mb3-large", MobileNet_V3_Large_Weights.IMAGENET1K_V1),
        ("mb3-small", MobileNet_V3_Small_Weights.IMAGENET1K_V1),
    ],
)
def test_later_mobilenets_cost_what_torchvision_publishes(cost: Any, name: str, published: Any) -> None:
    macs, parameters = cost(Classifier(ClassifierSpec(parse_net(name), tuple(map(str, range(1000))))), (224, 224))
    assert round(macs / 1e9, 3) == published.meta["_ops"]
    assert parameters == published.meta["num_params"]


# Howard et al. 2019, section 6.3: C4 is the expansion of the 13th (Large) or 9th (Small) bottleneck, C5 the last layer.
@pytest.mark.parametrize(
    ("spec", "channels"),
    [
        (BackboneSpec("mb1"), (512, 1024)),
        (BackboneSpec("mb1", 0.25), (128, 256)),
        (BackboneSpec("mb2"), (576, 1280)),
        (BackboneSpec("mb3-large"), (672, 960)),
        (BackboneSpec("mb3-small"), (288, 576)),
        (BackboneSpec("mb3-large", reduced_tail=True), (672, 480)),
        (BackboneSpec("mb3-small", reduced_tail=True), (288, 288)),
    ],
    ids=lambda value: text(value) if isinstance(value, BackboneSpec) else "",
)
@pytest.mark.parametrize("size", [(64, 96), (75, 107)])
def test_the_taps_are_at_strides_16_and_32(
    spec: BackboneSpec, channels: tuple[int, int], size: tuple[int, int]
) -> None:
    backbone = Backbone(spec).eval()
    with torch.no_grad():
        c4, c5 = backbone(torch.zeros(1, 3, *size))
    assert backbone.channels == (c4.shape[1], c5.shape[1]) == channels
    assert (c4.shape[2:], c5.shape[2:]) == map_sizes(size)[:2]


# the ends of each stride, as the tables of the papers have them
@pytest.mark.parametrize(
    ("name", "layers", "channels"),
    [
        ("mb3-large", (3, 6, 12, 16), (24, 40, 112, 960)),
        ("mb3-small", (1, 3, 8, 12), (16, 24, 48, 576)),
        ("mb2", (3, 6, 13, 18), (24, 32, 96, 1280)),
        ("mb1", (3, 5, 11, 13), (128, 256, 512, 1024)),
        ("mb1-0.25", (3, 5, 11, 13), (32, 64, 128, 256)),
    ],
)
def test_a_pyramid_has_a_map_at_each_of_four_strides(
    name: str, layers: tuple[int, ...], channels: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    backbone = Backbone(parse_net(name)).eval()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = backbone.pyramid(image)
        expected = [backbone.features[: layer + 1](image) for layer in layers]
    assert backbone.pyramid_channels == tuple(m.shape[1] for m in maps) == channels
    assert [m.shape[2:] for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    for mine, other in zip(maps, expected, strict=True):
        assert torch.equal(mine, other)
    backbone.freeze(8)
    assert [m.requires_grad for m in backbone.train().pyramid(image)] == [False, False, True, True]


def test_c4_is_not_changed_by_the_layers_after_it() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 64)
    for name in ("mb1", "mb2", "mb3-small"):
        backbone = Backbone(parse_net(name)).eval()
        with torch.no_grad():
            c4, _ = backbone(image)
            backbone.features = backbone.features[: backbone.tap + 1]
            again, _ = backbone(image)
        assert torch.equal(c4, again)


@pytest.mark.parametrize("name", ["mb1-0.25", "mb2-0.35", "mb3-small", "mb3-large"])
@pytest.mark.parametrize("stride", [0, 2, 4, 8, 16])
def test_layers_up_to_a_stride_can_be_frozen(name: str, stride: int) -> None:
    torch.manual_seed(0)
    backbone = Backbone(parse_net(name))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.freeze(stride)
    backbone.train()
    c4, c5 = backbone(torch.rand(2, 3, 64, 64))
    (c4.sum() + c5.square().sum()).backward()
    for key, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == (int(key.split(".")[1]) < backbone.frozen)
    for key, value in before.items():
        if int(key.split(".")[1]) < backbone.frozen:
            assert torch.equal(backbone.state_dict()[key], value)
    if stride == 16:  # of V1 the layer that C4 is taken from is the last of that stride, and learns
        assert backbone.frozen == backbone.tap
        assert backbone.features[: backbone.frozen](torch.rand(1, 3, 64, 64)).shape[-1] == 4
    elif stride:
        kept, more = backbone.eval().features[: backbone.frozen], backbone.features[: backbone.frozen + 1]
        assert kept(torch.rand(1, 3, 64, 64)).shape[-1] == 64 // stride
        assert more(torch.rand(1, 3, 64, 64)).shape[-1] == 64 // stride // 2


@pytest.mark.parametrize("name", ["mb1-0.25", "mb2-0.35", "mb3-small-0.5"])
def test_frozen_layers_keep_their_output_and_do_not_modify_the_image(name: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone(parse_net(name)).eval()
    make_lively(backbone)
    image = torch.randn(2, 3, 64, 64)
    before = image.clone()
    expected = backbone(image)
    backbone.freeze(8)
    found = backbone(image)
    assert torch.equal(image, before)
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("name", ["mb1", "mb2-0.5", "mb3-small", "mb3-large-0.75"])
@pytest.mark.parametrize("images", [1, 2])
def test_a_batch_of_any_size_can_be_learned_even_at_32_pixels(name: str, images: int) -> None:
    model = Classifier(ClassifierSpec(parse_net(name), ("a", "b"))).train()
    logits = model(torch.rand(images, 3, 32, 32))
    assert logits.shape == (images, 2)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_nets_have_the_names_that_users_type() -> None:
    assert parse_net("mb1-0.25") == BackboneSpec("mb1", 0.25)
    assert parse_net("mb3-large") == BackboneSpec("mb3-large")
    assert parse_net("mb3-small-.5", reduced_tail=True) == BackboneSpec("mb3-small", 0.5, True)
    assert parse_net("resnet50") == BackboneSpec("resnet50")
    for name in ("mb1", "mb2-1.4", "mb3-large-0.75", "resnet50"):
        assert parse_net(name).name == name


@pytest.mark.parametrize(
    "name", ["resnet50-0.5", "resnet101", "mb4", "mb1-", "mb1-0", "mb1-9", "mb1-nan", "mb1-1e9", "", "mb3", "MB1"]
)
def test_the_error_for_an_unknown_net_lists_the_known_ones(name: str) -> None:
    with pytest.raises(VocdetError, match=f"^unknown net '{name}'") as caught:
        parse_net(name)
    assert "mb1, mb2, mb3-small, mb3-large" in caught.value.hint
    assert "resnet50" in caught.value.hint


def test_only_the_third_mobilenets_have_a_tail_to_reduce() -> None:
    for name in ("mb2", "resnet50"):
        with pytest.raises(VocdetError, match=f"{name} has no reduced tail"):
            parse_net(name, reduced_tail=True)


@pytest.mark.parametrize(
    ("kind", "width", "tail"), [("mb9", 1.0, False), ("mb1", 1e6, False), ("mb1", 1.0, True), ("resnet50", 0.5, False)]
)
def test_a_spec_that_no_net_fits_is_refused(kind: str, width: float, tail: bool) -> None:
    with pytest.raises(ValueError, match=r"net|width|tail"):
        BackboneSpec(kind, width, tail)
