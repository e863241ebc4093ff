"""Mask R-CNN: every net, odd batches, losses of parts, seeds, masks that are not there, and what it costs."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights, maskrcnn_resnet50_fpn

from vocdet.errors import VocdetError
from vocdet.mask_crops import MaskCrops
from vocdet.models.backbones.backbone import BackboneSpec, parse_net
from vocdet.models.backbones.resnet import ResNet
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.folding import fold_norms, fused, plain_state
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.rcnn.matching import Sampler
from vocdet.models.rcnn.model import LOSSES, MaskRcnn, RcnnSpec
from vocdet.models.rcnn.rpn import Proposals
from vocdet.models.seeded import Seeded
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec

LABELS = ("a", "b", "c")
SMALL: dict[str, Any] = {"channels": 16, "hidden": 16, "candidates": 40, "proposals": 20}
NETS = ["mb1", "mb1-0.25", "mb2", "mb2-0.35", "mb3-small", "mb3-large", "mb3-small-0.5"]
Losses = dict[str, tuple[Tensor, Tensor]]


def detector(net: str = "mb1-0.25", **variant: Any) -> MaskRcnn:
    torch.manual_seed(0)
    return MaskRcnn(RcnnSpec(parse_net(net), LABELS, size=64, longest=96, **{**SMALL, **variant}))


class Samples:
    """Noise of 64 x 96 pixels with rectangles as objects, whose masks are their upper halves."""

    def __init__(self, *objects: int) -> None:
        generator = torch.Generator().manual_seed(len(objects))
        count, most = len(objects), max(objects)
        self.images = torch.randint(0, 256, (count, 3, 64, 96), dtype=torch.uint8, generator=generator)
        self.sizes = torch.tensor([[64, 96], [50, 96], [64, 70], [64, 96]])[:count]
        self.boxes, self.classes = torch.zeros(count, most, 4), torch.zeros(count, most, dtype=torch.int64)
        cuts: list[Any] = []
        for i, number in enumerate(objects):
            for j in range(number):
                x0, y0, w, h = 3 + 9 * j, 2 + 5 * j, 24 + 4 * j, 20 + 6 * j
                self.boxes[i, j] = torch.tensor([x0, y0, x0 + w, y0 + h])
                self.classes[i, j] = 1 + j % len(LABELS)
                cuts.append((x0, y0, np.ones((h // 2, w), np.uint8)))
        self.masks = MaskCrops.of(cuts)

    def part(self, start: int, stop: int) -> tuple[Any, ...]:
        before = (self.classes > 0).sum(1).cumsum(0)
        first, last = (int(before[k - 1]) if k else 0 for k in (start, stop))
        columns = (column[start:stop] for column in (self.images, self.sizes, self.boxes, self.classes))
        return (*columns, self.masks.part(first, last))

    @property
    def whole(self) -> tuple[Any, ...]:
        return self.part(0, len(self.images))


def learned(model: MaskRcnn, losses: Losses) -> list[Tensor]:
    """Gradients of the losses' sum; fails where a parameter took no part."""
    total = torch.stack([total / count.clamp(min=1) for total, count in losses.values()]).sum()
    return list(torch.autograd.grad(total, [p for p in model.parameters() if p.requires_grad]))


def first_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samplers take the first of each kind, and none that was not chosen in a larger batch."""

    def forward(self: Sampler, matched: Tensor) -> tuple[Tensor, Tensor]:
        positive, negative = matched >= 0, matched == -1
        return positive & (positive.cumsum(1) <= 8), negative & (negative.cumsum(1) <= 24)

    monkeypatch.setattr(Sampler, "forward", forward)


@pytest.mark.parametrize("net", NETS)
def test_every_mobile_net_learns_and_detects(net: str) -> None:
    model = detector(net).train()
    losses = model.losses(*Samples(2, 1).whole)
    assert tuple(losses) == LOSSES == model.spec.losses
    assert all(g.isfinite().all() for g in learned(model, losses))
    for found, (height, width) in zip(
        model.eval().detect(*Samples(2, 1).whole[:2], score=0.0), [(64, 96), (50, 96)], strict=True
    ):
        assert 0 < len(found.boxes) <= 100
        assert found.masks is not None
        assert found.masks.shape == (len(found.boxes), 28, 28)
        assert ((found.masks >= 0) & (found.masks <= 1)).all()
        assert (found.scores.diff() <= 0).all()
        assert ((found.classes >= 1) & (found.classes <= 3)).all()
        assert (found.boxes >= 0).all()
        assert (found.boxes <= torch.tensor([width, height, width, height])).all()


def test_standard_heads_stand_on_a_mobile_net() -> None:
    model = detector(heads="standard", sampled_regions=32).train()
    assert all(g.isfinite().all() for g in learned(model, model.losses(*Samples(2, 0).whole)))
    assert len(model.eval().detect(Samples(1).images, score=0.0)) == 1


@pytest.mark.parametrize("objects", [(0,), (1,), (0, 0), (3, 0), (0, 3, 0, 1)])
@pytest.mark.parametrize("masks", [True, False])
def test_images_without_objects_train_background(objects: tuple[int, ...], masks: bool) -> None:
    model = detector(masks=masks).train()
    losses = model.losses(*Samples(*objects).whole)
    assert tuple(losses) == (LOSSES if masks else LOSSES[:-1])
    gradients = dict(zip(dict(model.named_parameters()), learned(model, losses), strict=True))
    assert all(g.isfinite().all() for g in gradients.values())
    assert gradients["rpn.head.cls_logits.bias"].abs().max() > 0
    assert gradients["roi_heads.box_predictor.cls_score.bias"][0] != 0
    if not any(objects):
        assert losses["rpn_box"][0].item() == losses["box"][0].item() == 0
        assert gradients["rpn.head.cls_logits.bias"].min() > 0  # every anchor is to score less
        assert gradients["roi_heads.box_predictor.cls_score.bias"][0] < 0


def test_one_image_of_one_cell_can_be_learned() -> None:
    model = detector().train()
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    boxes, classes = torch.tensor([[[4.0, 4, 20, 20]]]), torch.tensor([[1]])
    gradients = learned(model, model.losses(image, None, boxes, classes, MaskCrops.none(1)))
    assert all(g.isfinite().all() for g in gradients)


def test_an_object_without_a_mask_trains_only_box_and_class(monkeypatch: pytest.MonkeyPatch) -> None:
    first_of_all(monkeypatch)
    model = detector().eval()  # norms that are the same for any regions
    images, sizes, boxes, classes, masks = Samples(2, 1).whole
    everything = model.losses(images, sizes, boxes, classes, masks)
    none = model.losses(images, sizes, boxes, classes, MaskCrops.none(3))
    unknown = model.losses(images, sizes, boxes, classes, None)
    cut = MaskCrops.joined([masks.part(0, 1), MaskCrops.none(1), masks.part(2, 3)])
    some = model.losses(images, sizes, boxes, classes, cut)
    for name in LOSSES[:-1]:
        assert everything[name][0] == none[name][0] == unknown[name][0] == some[name][0]
    assert none["mask"][1].item() == unknown["mask"][1].item() == 0
    assert none["mask"][0].item() == unknown["mask"][0].item() == 0
    assert 0 < some["mask"][1].item() < everything["mask"][1].item()
    gone = Samples(1, 1).whole  # the second object of the first image is not there at all
    fewer = model.losses(images, sizes, gone[2], gone[3], gone[4])
    assert some["mask"][1].item() == fewer["mask"][1].item()


def test_the_losses_of_shards_add_up_to_those_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    first_of_all(monkeypatch)
    model = detector().eval()  # in training the norms would see one part
    samples = Samples(2, 0, 3, 1)
    whole = model.losses(*samples.whole)
    halves = [model.losses(*samples.part(0, 2)), model.losses(*samples.part(2, 4))]
    for name, (total, count) in whole.items():
        assert total.item() > 0
        torch.testing.assert_close(sum(half[name][0] for half in halves), total, rtol=1e-4, atol=1e-5)
        assert float(sum(half[name][1] for half in halves)) == float(count)


def test_the_same_seed_gives_the_same_losses_for_any_global_generator_state() -> None:
    model = detector(sampled_anchors=8, sampled_regions=4).train()

    def losses(seed: int | None, state: int) -> list[float]:
        copied = copy.deepcopy(model)
        samplers = [m for m in copied.modules() if isinstance(m, Seeded)]
        assert len(samplers) == 2
        for sampler in samplers:
            sampler.seed = seed
        torch.manual_seed(state)
        return [total.item() for total, _ in copied.losses(*Samples(2, 1).whole).values()]

    assert losses(5, 0) == losses(5, 1)
    assert losses(5, 0) != losses(6, 0)
    assert losses(None, 0) == losses(None, 0) != losses(None, 1)


def test_a_model_that_has_detected_can_be_trained() -> None:
    model = detector().eval()
    with torch.inference_mode():
        model.detect(*Samples(2, 1).whole[:2])
        anchors, _ = model.rpn.grid(model.maps(*Samples(2, 1).whole[:2]), (64, 96))
    assert not anchors.is_inference()
    assert all(g.isfinite().all() for g in learned(model.train(), model.losses(*Samples(2, 1).whole)))


def test_padding_is_nothing_to_the_network() -> None:
    model = detector().eval()
    images, sizes, *_ = Samples(1, 1, 1).whole
    other = images.clone()
    other[1, :, 50:] = 0
    other[2, :, :, 70:] = 255
    for mine, theirs in zip(model.detect(images, sizes, score=0.0), model.detect(other, sizes, score=0.0), strict=True):
        assert torch.equal(mine.boxes, theirs.boxes)


def test_nothing_above_the_score_is_nothing_found() -> None:
    (found,) = detector().eval().detect(Samples(1).images, score=0.999)
    assert found.boxes.shape == (0, 4)
    assert found.masks is not None
    assert found.masks.shape == (0, 28, 28)


@pytest.mark.parametrize("heads", ["mobile", "standard"])
def test_without_any_proposal_nothing_is_found_and_nothing_learned(heads: Any) -> None:
    model = detector(heads=heads)
    images, sizes, boxes, classes, _ = Samples(0, 0).whole
    maps = model.eval().maps(images, sizes)
    none = Proposals(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    found = model.roi_heads(maps, none, sizes, score=0.0, overlap=0.5, most=10, masks=True)
    assert [len(each.boxes) for each in found] == [0, 0]
    losses = model.train().roi_heads.learn(maps, none, sizes, boxes, classes, None)
    assert {name: (total.item(), count.item()) for name, (total, count) in losses.items()} == {
        "class": (0, 0), "box": (0, 0), "mask": (0, 0),
    }  # fmt: skip
    parameters = list(model.roi_heads.parameters())
    assert all((g == 0).all() for g in torch.autograd.grad(sum(t for t, _ in losses.values()), parameters))  # type: ignore[arg-type]


def test_detection_can_leave_the_masks_out() -> None:
    model = detector().eval()
    (with_,), (without,) = (model.detect(Samples(1).images, score=0.0, masks=masks) for masks in (True, False))
    assert without.masks is None
    assert torch.equal(with_.boxes, without.boxes)
    assert detector(masks=False).eval().detect(Samples(1).images)[0].masks is None


def test_a_classifier_has_the_backbones_names() -> None:
    for net in ("mb1-0.25", "mb3-small"):
        theirs = Classifier(ClassifierSpec(parse_net(net), ("a", "b", "c", "d", "e", "f", "g"))).state_dict()
        ours = detector(net).state_dict()
        backbone = {name: value.shape for name, value in theirs.items() if name.startswith("backbone.features.")}
        assert {name: ours[name].shape for name in ours if name.startswith("backbone.")} == backbone


def test_norms_can_be_folded_for_inference_and_in_the_backbone_for_training() -> None:
    model = detector("mb3-small-0.5").train()
    for _ in range(3):
        model.losses(*Samples(2, 1).whole)  # so that the statistics are not 0 and 1
    model.eval()
    copied = fused(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in copied.modules())
    images = Samples(1, 2).images
    with torch.no_grad():
        for mine, other in zip(copied(images), model(images), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)
    names = list(model.state_dict())
    fold_norms(model.backbone)
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert all(g.isfinite().all() for g in learned(model.train(), model.losses(*Samples(2, 1).whole)))
    assert sorted(plain_state(model)) == sorted(names)


def test_the_spec_says_what_its_zeros_stand_for_and_goes_through_json() -> None:
    spec = RcnnSpec(parse_net("mb3-large"), LABELS, anchors=PyramidAnchors(ratios=(1.0,)), heads="standard")
    assert (spec.channels, spec.hidden, spec.candidates, spec.proposals) == (256, 1024, 1000, 1000)
    assert (spec.sampled_anchors, spec.sampled_regions) == (256, 512)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=RcnnSpec) == spec
    assert RcnnSpec(parse_net("mb3-large"), LABELS).channels < 100


@pytest.mark.parametrize("wrong", [{"channels": -1}, {"size": 600}, {"std": (1.0, 0.0, 1.0)}, {"heads": "other"}])
def test_a_spec_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"channels|size|deviation|heads"):
        RcnnSpec(parse_net("mb1"), LABELS, **wrong)


def test_torchvisions_defaults_are_those_of_standard_heads() -> None:
    spec = RcnnSpec(BackboneSpec("resnet50"), LABELS, heads="standard")
    with torch.device("meta"):
        theirs: Any = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    assert theirs.rpn._pre_nms_top_n == {"training": 2 * spec.candidates, "testing": spec.candidates}
    assert theirs.rpn._post_nms_top_n == {"training": 2 * spec.proposals, "testing": spec.proposals}
    assert theirs.rpn.fg_bg_sampler.batch_size_per_image == spec.sampled_anchors
    assert theirs.roi_heads.fg_bg_sampler.batch_size_per_image == spec.sampled_regions


@pytest.mark.parametrize("net", ["mb3-small", "mb3-large"])
def test_a_mobile_detector_is_a_tenth_of_torchvisions(net: str) -> None:
    with torch.device("meta"):
        model = MaskRcnn(RcnnSpec(parse_net(net), tuple(map(str, range(90)))))
    published: Any = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    assert 4 * sum(value.numel() for value in model.state_dict().values()) / 1e6 < published.meta["_file_size"] / 10


def test_standard_heads_have_as_many_parameters_as_torchvision_publishes() -> None:
    with torch.device("meta"):
        standard = MaskRcnn(RcnnSpec(BackboneSpec("resnet50"), tuple(map(str, range(90))), heads="standard"))
    published: Any = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    assert sum(p.numel() for p in standard.parameters()) == published.meta["num_params"]


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_a_resnet_can_be_frozen_up_to_a_stride(stride: int) -> None:
    torch.manual_seed(0)
    net = ResNet()
    net.freeze(stride)
    maps = net.pyramid(torch.randn(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == [256, 512, 1024, 2048]
    assert [m.shape[-1] for m in maps] == [16, 8, 4, 2]
    assert [m.requires_grad for m in maps] == [stride < own for own in (4, 8, 16, 32)]
    learning = {name.split(".")[1] for name, p in net.named_parameters() if p.requires_grad}
    parts = ["conv1", "layer1", "layer2", "layer3", "layer4"]
    assert learning == set(parts[{2: 1, 4: 2, 8: 3, 16: 4}[stride] :])


def test_a_resnet_is_for_mask_r_cnn_alone() -> None:
    spec = parse_net("resnet50")
    for make in (
        lambda: Classifier(ClassifierSpec(spec, ("a", "b", "c"))),
        lambda: SsdLite(SsdSpec(spec, LABELS, (320, 320), torchvision_anchors())),
    ):
        with pytest.raises(VocdetError, match="only Mask R-CNN supports resnet50") as caught:
            make()
        assert "mb3-large" in caught.value.hint
