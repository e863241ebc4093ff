"""Weights published by torchvision: download them, or recognize them in a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
    """The origin of foreign weights, as far as their tensors show."""

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
        hint = f'choose {_nets(known)}, or `weights="none"`, or a file'
        if spec.name == "mb1":
            hint = f"download model.safetensors from {PAGE} and give it as `weights`, or choose {_nets(known)}"
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
            hint=f'choose `net="{COCO_NET.name}"`, or `weights="imagenet"`',
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
            hint=f'choose `net="{RESNET}"` with `heads="standard"`, or `weights="imagenet"`',
        )
    tensors, name = _downloaded(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.url, "the COCO weights")
    return with_eps(tensors), name


def _nets(names: Iterable[str]) -> str:
    return " or ".join(f'`net="{name}"`' for name in names)


def coco_heads() -> Heads:
    """Labels and anchors of torchvision's COCO detector: 90 classes, of which 10 have no label."""
    return Heads(_coco_labels(), torchvision_anchors())


def coco_rcnn_heads() -> Heads:
    """Labels and anchors of torchvision's Mask R-CNN for COCO."""
    return Heads(_coco_labels(), PyramidAnchors())


def _coco_labels() -> tuple[str, ...]:
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

    _, *names = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]
    return tuple("" if name == "N/A" else name for name in names)


def content_of(tensors: Mapping[str, Tensor], path: Path) -> Content:
    """The content of a file without a description.

    A torchvision MobileNet with 1000 classes needs the mean and standard deviation of ImageNet under any file name; one
    without a head needs them if the file has torchvision's name. Batch norms that have counted no batch are converted,
    usually from TensorFlow, whose networks use .5 and .5. A torchvision SSD-lite or Mask R-CNN with 91 classes is the
    one trained on COCO; the labels of others are unknown.
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

    Files saved by a later torchvision have other names in the pyramid.
    """
    return {"backbone.body.conv1.weight", "backbone.fpn.inner_blocks.0.weight"} <= tensors.keys()


def _taken_over(tensors: Mapping[str, Tensor]) -> bool:
    counts = [int(value) for name, value in tensors.items() if name.endswith("num_batches_tracked")]
    return bool(counts) and not any(counts)


def is_torchvision_name(path: Path) -> bool:
    """Whether a file has the name of torchvision's ImageNet weights, with a hash: mobilenet_v2-b0353104.pth."""
    return re.fullmatch(r"(?:mobilenet_[a-z0-9_]+|resnet50)-[0-9a-f]{8}\.pth", path.name) is not None


def _downloaded(url: str, what: str) -> tuple[dict[str, Tensor], str]:
    """The tensors at a URL and the file name; from torch's download folder if they are there."""
    name = url.rsplit("/", 1)[1]
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    present = file.exists()
    try:
        tensors: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # the network fails in many ways
        if present:
            hint = f"delete it to download it again, or download {url} on another machine and copy it there"
            raise CheckpointError(f"{what} are damaged or incomplete", place=file, hint=hint) from error
        raise CheckpointError(
            f"{what} could not be downloaded: {error}",
            hint=f"download {url} on another machine, and copy it to {file.parent} or give the file as `weights`",
        ) from error
    return tensors, name
