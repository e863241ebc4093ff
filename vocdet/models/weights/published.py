"""Weights that torchvision publishes: fetched, or recognised in a file by what is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vocdet.errors import CheckpointError
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.backbones.resnet import with_eps
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.weights.heads import Heads
from vocdet.models.weights.timm import PAGE
from vocdet.recipes.nets import RESNET

Normalization = tuple[tuple[float, float, float], tuple[float, float, float]]

HALF: Normalization = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# RGB mean and std that torchvision's classifiers expect
IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
COCO_NET = BackboneSpec("mb3-large", reduced_tail=True)
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Content:
    """What weights of another program are, as far as their tensors tell."""

    normalization: Normalization = HALF  # as TensorFlow's MobileNets and torchvision's SSD-lite are trained
    heads: Heads | None = None
    name: str = ""  # for people


def imagenet_tensors(spec: BackboneSpec) -> tuple[dict[str, Tensor], str]:
    """torchvision's ImageNet weights of a net and their file's name, downloaded on the first use.

    Without a network, a `CheckpointError` says which file to fetch and where to put it.
    """
    from torchvision.models import (
        MobileNet_V2_Weights,
        MobileNet_V3_Large_Weights,
        MobileNet_V3_Small_Weights,
        ResNet50_Weights,
    )

    known = {
        "mb2": MobileNet_V2_Weights.IMAGENET1K_V2,
        "mb3-small": MobileNet_V3_Small_Weights.IMAGENET1K_V1,
        "mb3-large": MobileNet_V3_Large_Weights.IMAGENET1K_V2,
        RESNET: ResNet50_Weights.IMAGENET1K_V1,  # what torchvision's own Mask R-CNN started from
    }
    if spec.kind not in known or spec.width != 1 or spec.reduced_tail:
        tail = " with a reduced tail" if spec.reduced_tail else ""
        hint = f"use --net {', '.join(known)} for them, or --weights FILE or none"
        if spec.name == "mb1":
            hint = (
                f"fetch model.safetensors from {PAGE}, and give the file to --weights; or use --net {', '.join(known)}"
            )
        raise CheckpointError(f"torchvision has no ImageNet weights for {spec.name}{tail}", hint=hint)
    return _downloaded(known[spec.kind].url, "the ImageNet weights")


def coco_tensors(spec: BackboneSpec) -> tuple[dict[str, Tensor], str]:
    """torchvision's SSD-lite trained on COCO and its file's name, downloaded on the first use.

    For any net but mb3-large, or without a network, a `CheckpointError`.
    """
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

    if (spec.kind, spec.width) != (COCO_NET.kind, COCO_NET.width):
        raise CheckpointError(
            f"the detector that torchvision trained on COCO is an SSD-lite on {COCO_NET.name}, not on {spec.name}",
            hint=f"use --net {COCO_NET.name}, or --weights imagenet or auto",
        )
    return _downloaded(SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.url, "the COCO weights")


def coco_rcnn_tensors(spec: BackboneSpec) -> tuple[dict[str, Tensor], str]:
    """torchvision's Mask R-CNN on ResNet-50 trained on COCO and its file's name, downloaded on the first use.

    For any net but resnet50, or without a network, a `CheckpointError`.
    """
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    if spec.kind != RESNET:
        raise CheckpointError(
            f"the Mask R-CNN that torchvision trained on COCO is on {RESNET}, not on {spec.name}",
            hint=f"use --net {RESNET} --heads standard, or --weights imagenet or auto",
        )
    tensors, name = _downloaded(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.url, "the COCO weights")
    return with_eps(tensors), name


def coco_heads() -> Heads:
    """What the rows of torchvision's COCO detector stand for: 90 of which 10 are of no label, and its anchors."""
    return Heads(_coco_labels(), torchvision_anchors())


def coco_rcnn_heads() -> Heads:
    """The same of torchvision's Mask R-CNN."""
    return Heads(_coco_labels(), PyramidAnchors())


def _coco_labels() -> tuple[str, ...]:
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

    _, *names = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]
    return tuple("" if name == "N/A" else name for name in names)


def content_of(tensors: Mapping[str, Tensor], path: Path) -> Content:
    """What the tensors of a file are that says nothing of itself.

    A MobileNet of torchvision's with ImageNet's 1000 classes wants ImageNet's mean and standard deviation, whatever
    its file is called, and so does one whose head is gone, if its file still has torchvision's name. Where its batch
    norms have counted no batch it was not trained in PyTorch but taken over, as a rule from TensorFlow, whose networks
    want .5 and .5. An SSD-lite or a Mask R-CNN of torchvision's with 91 classes is the one trained on COCO; the labels
    of any other are unknown.
    """
    shapes = {name.removeprefix("module."): tuple(value.shape) for name, value in tensors.items()}
    if "backbone.body.conv1.weight" in shapes and "roi_heads.box_predictor.cls_score.bias" in shapes:
        labels = _coco_labels()
        if shapes["roi_heads.box_predictor.cls_score.bias"] == (1 + len(labels),):
            return Content(IMAGENET, coco_rcnn_heads(), "torchvision's Mask R-CNN for COCO")
        return Content(IMAGENET, Heads(None), "a Mask R-CNN of torchvision's")
    boxes = [shapes.get(f"head.regression_head.module_list.{level}.1.bias") for level in range(6)]
    if all(boxes):
        heads, counts = coco_heads(), torchvision_anchors().counts
        usual = boxes == [(4 * n,) for n in counts]
        scores = [shapes.get(f"head.classification_head.module_list.{level}.1.bias") for level in range(6)]
        coco = usual and heads.labels and scores == [(n * (1 + len(heads.labels)),) for n in counts]
        if coco:
            return Content(heads=heads, name="torchvision's SSD-lite for COCO")
        return Content(heads=Heads(None, heads.anchors if usual else None), name="an SSD-lite of torchvision's")
    rows = [shape for name, shape in shapes.items() if re.fullmatch(r"(?:classifier\.\d+|fc)\.bias", name)]
    classifies = shapes.keys() & {"features.0.0.weight", "layer1.0.conv1.weight"} and rows[-1:] == [
        (_IMAGENET_CLASSES,)
    ]
    if is_torchvision_name(path):
        return Content(IMAGENET, name="torchvision's for ImageNet")
    if classifies and _taken_over(tensors):
        return Content(name="an ImageNet classifier, not trained in PyTorch")
    if classifies:
        return Content(IMAGENET, name="torchvision's for ImageNet")
    return Content()


def is_coco_rcnn(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are those of torchvision's published Mask R-CNN, whose norms have no eps.

    What was saved by a torchvision since names the layers of the pyramid otherwise.
    """
    return {"backbone.body.conv1.weight", "backbone.fpn.inner_blocks.0.weight"} <= tensors.keys()


def _taken_over(tensors: Mapping[str, Tensor]) -> bool:
    counts = [int(value) for name, value in tensors.items() if name.endswith("num_batches_tracked")]
    return bool(counts) and not any(counts)


def is_torchvision_name(path: Path) -> bool:
    """Whether a file is named as torchvision names its ImageNet weights, by a hash: mobilenet_v2-b0353104.pth."""
    return re.fullmatch(r"(?:mobilenet_[a-z0-9_]+|resnet50)-[0-9a-f]{8}\.pth", path.name) is not None


def _downloaded(url: str, what: str) -> tuple[dict[str, Tensor], str]:
    """The tensors behind a URL, and the file's name; from torch's folder of downloads where they lie in it."""
    name = url.rsplit("/", 1)[1]
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    present = file.exists()
    try:
        tensors: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # the network fails in many ways
        if present:
            hint = f"delete it, and it is downloaded again; or fetch {url} on another machine and put it there"
            raise CheckpointError(f"{what} are damaged, or were not all copied", place=file, hint=hint) from error
        raise CheckpointError(
            f"{what} could not be downloaded: {error}",
            hint=f"fetch {url} on another machine and put it into {file.parent}, or give the file to --weights",
        ) from error
    return tensors, name
