"""With the same weights, the same images and the same samples, our Mask R-CNN says what torchvision's says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, overwrite_eps
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops.misc import FrozenBatchNorm2d

from vocdet.mask_crops import MaskCrops
from vocdet.masks import parse, pixels
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.backbones.resnet import with_eps
from vocdet.models.folding import fused
from vocdet.models.rcnn.matching import BACKGROUND, Sampler
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.models.rcnn.paste import pasted

LABELS = 5
SIZES = [(128, 96), (100, 128), (120, 120)]
CANVAS = (128, 128)
# of everything, so that it takes seconds; the usual numbers are compared by themselves
FEWER = {
    "rpn_pre_nms_top_n_train": 200, "rpn_pre_nms_top_n_test": 100, "rpn_post_nms_top_n_train": 80,
    "rpn_post_nms_top_n_test": 40, "rpn_batch_size_per_image": 100, "box_batch_size_per_image": 48,
    "box_detections_per_img": 12,
}  # fmt: skip
close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)


@dataclass(frozen=True)
class Pair:
    theirs: Any  # torchvision.models.detection.MaskRCNN
    ours: MaskRcnn
    images: Tensor  # (3, 3, 128, 128) uint8, each in its size at the top left, gray beyond it
    targets: list[dict[str, Tensor]]

    @property
    def inputs(self) -> list[Tensor]:
        return [image[:, :h, :w] / 255 for image, (h, w) in zip(self.images, SIZES, strict=True)]

    @property
    def sizes(self) -> Tensor:
        return torch.tensor(SIZES)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = _resnet_fpn_extractor(resnet50(weights=None, norm_layer=FrozenBatchNorm2d), 5)
        theirs = MaskRCNN(body, num_classes=1 + LABELS, **FEWER)
        _make_lively(theirs)
        theirs.transform.resize = lambda image, target: (image, target)
        images = torch.full((len(SIZES), 3, *CANVAS), 114, dtype=torch.uint8)
        for image, (h, w) in zip(images, SIZES, strict=True):
            coarse = torch.rand(1, 3, 12, 12)
            image[:, :h, :w] = (255 * nn.functional.interpolate(coarse, size=(h, w), mode="bilinear"))[0].to(
                torch.uint8
            )
        targets = [_objects(4, SIZES[0]), _objects(0, SIZES[1]), _objects(2, SIZES[2])]
    labels = tuple(map(str, range(LABELS)))
    ours = MaskRcnn(
        RcnnSpec(
            BackboneSpec("resnet50"), labels, heads="standard", candidates=100, proposals=40, sampled_anchors=100,
            sampled_regions=48,
        )
    )  # fmt: skip
    ours.load_state_dict(theirs.state_dict())
    yield Pair(theirs, ours, images, targets)


def _make_lively(model: Any) -> None:
    """Norms that do something, and heads that do not say the same of everything."""
    for name, norm in model.named_modules():
        if isinstance(norm, FrozenBatchNorm2d):
            norm.weight.uniform_(0.5, 1.5).mul_(0.3 if name.endswith("bn3") else 1.0)
            norm.bias.normal_(0, 0.1)
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    nn.init.normal_(model.rpn.head.cls_logits.weight, 0, 0.05)
    nn.init.normal_(model.rpn.head.bbox_pred.weight, 0, 0.005)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, 0, 0.2)
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, 0, 0.1)


def _objects(count: int, size: tuple[int, int]) -> dict[str, Tensor]:
    """Boxes, labels, and ellipses in the boxes as masks."""
    h, w = size
    sides = 20 + torch.rand(count, 2) * 60
    corner = torch.rand(count, 2) * (torch.tensor([w, h]) - sides)
    boxes = torch.cat([corner, corner + sides], 1)
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    center, half = (boxes[:, 2:] + boxes[:, :2]) / 2, sides / 2
    inside = ((x - center[:, 0, None, None]) / half[:, 0, None, None]) ** 2 + (
        (y - center[:, 1, None, None]) / half[:, 1, None, None]
    ) ** 2 < 1
    return {"boxes": boxes, "labels": torch.randint(1, 1 + LABELS, (count,)), "masks": inside.to(torch.uint8)}


def padded(targets: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor, MaskCrops]:
    most = max(len(t["labels"]) for t in targets)
    boxes, classes = torch.zeros(len(targets), most, 4), torch.zeros(len(targets), most, dtype=torch.int64)
    for i, target in enumerate(targets):
        boxes[i, : len(target["boxes"])] = target["boxes"]
        classes[i, : len(target["labels"])] = target["labels"]
    return boxes, classes, crops([mask.numpy() for target in targets for mask in target["masks"]])


def crops(masks: list[Any]) -> MaskCrops:
    cuts = []
    for mask in masks:
        y, x = np.nonzero(mask)
        cuts.append((int(x.min()), int(y.min()), mask[y.min() : y.max() + 1, x.min() : x.max() + 1]))
    return MaskCrops.of(cuts)


def first_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both samplers take the first positives and the first of the background."""

    def theirs(self: Any, matched: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        some = [chosen(self.batch_size_per_image, self.positive_fraction, m >= 1, m == 0) for m in matched]
        return [p.to(torch.uint8) for p, _ in some], [n.to(torch.uint8) for _, n in some]

    def ours(self: Sampler, matched: Tensor) -> tuple[Tensor, Tensor]:
        some = [chosen(self.number, self.positives, m >= 0, m == BACKGROUND) for m in matched]
        return torch.stack([p for p, _ in some]), torch.stack([n for _, n in some])

    def chosen(number: int, share: float, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        positive = positive & (positive.cumsum(0) <= int(number * share))
        return positive, negative & (negative.cumsum(0) <= number - int(positive.sum()))

    monkeypatch.setattr(BalancedPositiveNegativeSampler, "__call__", theirs)
    monkeypatch.setattr(Sampler, "forward", ours)


def test_the_names_of_all_parameters_are_torchvisions() -> None:
    with torch.device("meta"):
        theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91).state_dict()
        labels = tuple(map(str, range(90)))
        ours = MaskRcnn(RcnnSpec(BackboneSpec("resnet50"), labels, heads="standard")).state_dict()
    shapes = {name: value.shape for name, value in theirs.items() if not name.endswith("num_batches_tracked")}
    assert {name: value.shape for name, value in ours.items()} == shapes


@torch.no_grad()
def test_maps_anchors_and_the_outputs_of_the_rpn_are_torchvisions(pair: Pair) -> None:
    images, _ = pair.theirs.transform(pair.inputs)
    maps = list(pair.theirs.backbone(images.tensors).values())
    found = pair.ours.maps(pair.images, pair.sizes)
    for mine, other in zip(found, maps, strict=True):
        close(mine, other)
    anchors, counts = pair.ours.rpn.grid(found, CANVAS)
    assert torch.equal(anchors, pair.theirs.rpn.anchor_generator(images, maps)[0])
    logits, offsets = pair.ours.rpn.head(maps)
    start = 0
    for i, (theirs, moved) in enumerate(zip(*pair.theirs.rpn.head(maps), strict=True)):
        level = slice(start, start + counts[i])
        close(logits[:, level], theirs.permute(0, 2, 3, 1).flatten(1))
        close(offsets[:, level], moved.view(len(moved), 3, 4, *moved.shape[2:]).permute(0, 3, 4, 1, 2).flatten(1, 3))
        start += counts[i]
    assert start == len(anchors)


def test_losses_and_gradients_are_torchvisions(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    first_of_all(monkeypatch)
    theirs = pair.theirs.train()(pair.inputs, pair.targets)
    boxes, classes, masks = padded(pair.targets)
    found = {
        name: total / count
        for name, (total, count) in pair.ours.train().losses(pair.images, pair.sizes, boxes, classes, masks).items()
    }
    names = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")
    assert tuple(found) == pair.ours.spec.losses
    for mine, name in zip(found.values(), names, strict=True):
        assert theirs[name] > 1e-3
        close(mine, theirs[name])
    keys = ["backbone.body.conv1.weight", "backbone.body.layer4.2.conv3.weight", "backbone.fpn.inner_blocks.0.0.weight",
            "rpn.head.conv.0.0.weight", "rpn.head.bbox_pred.bias", "roi_heads.box_head.fc6.weight",
            "roi_heads.box_predictor.bbox_pred.weight", "roi_heads.mask_predictor.mask_fcn_logits.weight"]  # fmt: skip
    expected = torch.autograd.grad(sum(theirs.values()), [pair.theirs.get_parameter(key) for key in keys])
    gradients = torch.autograd.grad(sum(found.values()), [pair.ours.get_parameter(key) for key in keys])  # type: ignore[arg-type]
    for mine, other in zip(gradients, expected, strict=True):
        assert other.abs().max() > 0
        close(mine / other.abs().max(), other / other.abs().max())


@torch.no_grad()
def test_detections_and_masks_are_torchvisions(pair: Pair) -> None:
    theirs, ours = pair.theirs.eval(), pair.ours.eval()
    images, _ = theirs.transform(pair.inputs)
    maps = theirs.backbone(images.tensors)
    proposals, _ = theirs.rpn(ImageList(images.tensors, SIZES), maps)
    expected, _ = theirs.roi_heads(maps, proposals, SIZES)
    found = ours.detect(pair.images, pair.sizes, most=12)
    assert sum(len(e["labels"]) for e in expected) > 20
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(mine.classes, other["labels"])
        close(mine.scores, other["scores"])
        close(mine.boxes, other["boxes"])
        assert mine.masks is not None
        close(mine.masks, other["masks"][:, 0])
    for mine, (h, w) in zip(found, SIZES, strict=True):
        assert mine.masks is not None
        drawn = np.stack([pixels(parse(text), h, w) for text in pasted(mine.masks[:6], mine.boxes[:6], h, w)])
        wanted = paste_masks_in_image(mine.masks[:6, None], mine.boxes[:6], (h, w))[:, 0] > 0.5
        assert np.array_equal(drawn, wanted.numpy())


@torch.no_grad()
def test_norms_are_folded_for_inference(pair: Pair) -> None:
    copied = fused(pair.ours)
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in copied.modules())
    for mine, other in zip(copied.maps(pair.images, pair.sizes), pair.ours.maps(pair.images, pair.sizes), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_weights_of_norms_without_an_eps_are_taken_over() -> None:
    torch.manual_seed(0)
    with torch.device("cpu"):
        theirs = resnet50(weights=None, norm_layer=FrozenBatchNorm2d).eval()
    theirs.bn1.running_var.uniform_(1e-6, 1e-4)
    state = with_eps({f"backbone.body.{name}": value for name, value in theirs.state_dict().items()})
    overwrite_eps(theirs, 0.0)
    image = torch.randn(1, 3, 32, 32)
    expected = theirs.bn1(theirs.conv1(image))
    ours = MaskRcnn(RcnnSpec(BackboneSpec("resnet50"), ("a",), heads="mobile", channels=8, hidden=8))
    ours.load_state_dict(state, strict=False)
    body = ours.get_submodule("backbone.body")
    close(body.bn1(body.conv1(image)), expected)  # type: ignore[operator]
