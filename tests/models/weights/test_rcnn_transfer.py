"""Weights of torchvision's Mask R-CNN and ResNet-50, and of detectors of ours, in a Mask R-CNN."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet50
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights, maskrcnn_resnet50_fpn

from vocdet.errors import CheckpointError
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.backbones.resnet import with_eps
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.weights.heads import Heads
from vocdet.models.weights.published import (
    IMAGENET,
    coco_rcnn_heads,
    content_of,
    is_coco_rcnn,
    is_torchvision_name,
)
from vocdet.models.weights.transfer import transfer

RESNET, SMALL = BackboneSpec("resnet50"), BackboneSpec("mb1", 0.25)
FILE = Path("weights.pth")


@pytest.fixture(scope="module")
def coco() -> Any:
    """torchvision's Mask R-CNN as it is for COCO, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()


@pytest.fixture(scope="module")
def published(coco: Any) -> dict[str, Tensor]:
    """Its state with the names that the published file has, which torchvision 0.13 wrote."""
    renamed = {}
    for name, value in coco.state_dict().items():
        old = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d)\.0\.", r"\1.", name).replace("head.conv.0.0.", "head.conv.")
        found = re.match(r"roi_heads\.mask_head\.(\d)\.0\.(.*)", old)
        renamed[f"roi_heads.mask_head.mask_fcn{int(found[1]) + 1}.{found[2]}" if found else old] = value
    return renamed


@pytest.fixture(scope="module")
def standard() -> MaskRcnn:
    return MaskRcnn(RcnnSpec(RESNET, ("Zebra", "gnat", "person"), heads="standard"))


@pytest.mark.parametrize("old", [True, False])
def test_labels_of_coco_keep_their_rows_in_a_model_of_other_labels(
    coco: Any, published: dict[str, Tensor], standard: MaskRcnn, old: bool
) -> None:
    given = published if old else coco.state_dict()
    fresh = {name: value.clone() for name, value in standard.state_dict().items()}
    moved = transfer(standard, given, RESNET, source="coco", heads=coco_rcnn_heads())
    assert (moved.count("loaded"), moved.count("fresh")) == (len(fresh) - 6, 0)
    assert all(row.name.endswith("num_batches_tracked") for row in moved.tensors if row.fate == "skipped")
    assert {row.name for row in moved.tensors if row.fate == "resized"} == {
        f"roi_heads.{layer}.{kind}"
        for layer in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits")
        for kind in ("weight", "bias")
    }
    assert moved.common == ("Zebra", "person")
    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    zebra, person = names.index("zebra"), names.index("person")
    theirs, ours = coco.state_dict(), standard.state_dict()
    for name in ("box_predictor.cls_score.weight", "mask_predictor.mask_fcn_logits.weight"):
        rows, mine = theirs[f"roi_heads.{name}"], ours[f"roi_heads.{name}"]
        assert torch.equal(mine[[0, 1, 3]], rows[[0, zebra, person]])
        assert torch.equal(mine[2], fresh[f"roi_heads.{name}"][2])
    rows, mine = (state["roi_heads.box_predictor.bbox_pred.weight"] for state in (theirs, ours))
    assert torch.equal(mine[4:8], rows[4 * zebra : 4 * zebra + 4])
    assert torch.equal(mine[12:16], rows[4 * person : 4 * person + 4])
    assert torch.equal(ours["backbone.fpn.inner_blocks.2.0.weight"], theirs["backbone.fpn.inner_blocks.2.0.weight"])
    assert torch.equal(ours["roi_heads.mask_head.3.0.bias"], theirs["roi_heads.mask_head.3.0.bias"])


def test_the_published_file_is_known_by_what_it_holds(coco: Any, published: dict[str, Tensor]) -> None:
    content = content_of(published, FILE)
    assert (content.normalization, content.name) == (IMAGENET, "torchvision's Mask R-CNN for COCO")
    assert content.heads is not None
    assert (content.heads.anchors, len(content.heads.labels or ())) == (PyramidAnchors(), 90)
    assert is_coco_rcnn(published)
    assert not is_coco_rcnn(coco.state_dict())  # saved by a torchvision of today: its norms have an eps
    assert content_of(coco.state_dict(), FILE).heads == content.heads


def test_one_of_other_labels_says_nothing_of_them() -> None:
    other = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    content = content_of(other.state_dict(), FILE)
    assert (content.heads, content.normalization) == (Heads(None), IMAGENET)


def test_a_resnet_that_knows_imagenet_goes_into_its_backbone(standard: MaskRcnn) -> None:
    theirs = resnet50(weights=None)
    moved = transfer(standard, theirs.state_dict(), RESNET, source="resnet")
    fates = {row.name: row.fate for row in moved.tensors}
    for name, value in theirs.state_dict().items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            assert "skipped" in (fates.get(name), fates.get(f"backbone.body.{name}"))
        else:
            assert torch.equal(standard.state_dict()[f"backbone.body.{name}"], value)
    assert {fate for name, fate in fates.items() if name.startswith(("rpn.", "roi_heads."))} == {"fresh"}
    for value in theirs.state_dict().values():
        if value.dtype == torch.int64:
            value.fill_(5)
    assert content_of(theirs.state_dict(), FILE).normalization == IMAGENET
    assert is_torchvision_name(Path("resnet50-0676ba61.pth"))


def test_a_resnet_is_no_mobilenet_and_says_what_it_is() -> None:
    model = MaskRcnn(RcnnSpec(SMALL, ("a",), channels=16, hidden=16))
    with pytest.raises(CheckpointError, match=r"contains only 0 of \d+ tensors of mb1-0.25") as caught:
        transfer(model, resnet50(weights=None).state_dict(), SMALL, source="resnet")
    assert caught.value.hint == 'they fit `net="resnet50"`'


def test_an_ssds_backbone_goes_into_a_mask_rcnn() -> None:
    ssd = SsdLite(SsdSpec(SMALL, ("a", "b"), (64, 64), torchvision_anchors()))
    model = MaskRcnn(RcnnSpec(SMALL, ("a", "b"), channels=16, hidden=16))
    moved = transfer(model, ssd.state_dict(), SMALL, source="ssd", heads=Heads(("a", "b"), torchvision_anchors()))
    loaded = {row.name for row in moved.tensors if row.fate == "loaded"}
    assert loaded == {f"backbone.{name}" for name in ssd.backbone.state_dict()}
    for name, value in ssd.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value)


def test_a_mask_rcnn_initializes_a_faster_rcnn_with_fewer_labels() -> None:
    first = MaskRcnn(RcnnSpec(SMALL, ("cat", "dog"), channels=16, hidden=16))
    second = MaskRcnn(RcnnSpec(SMALL, ("dog",), channels=16, hidden=16, masks=False))
    moved = transfer(second, first.state_dict(), SMALL, source="x", heads=Heads(("cat", "dog"), first.spec.anchors))
    assert (moved.count("fresh"), moved.count("resized"), moved.common) == (0, 4, ("dog",))
    rows = first.state_dict()["roi_heads.box_predictor.cls_score.weight"]
    assert torch.equal(second.state_dict()["roi_heads.box_predictor.cls_score.weight"], rows[[0, 2]])


def test_the_norms_of_the_published_file_get_the_eps_that_they_were_trained_without(
    coco: Any, published: dict[str, Tensor], standard: MaskRcnn
) -> None:
    from torchvision.models.detection._utils import overwrite_eps

    assert is_coco_rcnn(published)
    transfer(standard, with_eps(published), RESNET, source="coco", heads=coco_rcnn_heads())
    overwrite_eps(coco, 0.0)  # as torchvision itself does with this file
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        theirs = list(coco.backbone.body(image).values())
        for mine, other in zip(standard.backbone.pyramid(image), theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
