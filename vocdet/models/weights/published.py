"""Published weights: the files that exist for a net, and what a file without a description holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.weights.heads import Heads
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


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A file of weights that others publish."""

    name: str  # of the file on disk
    url: str
    title: str  # for people
    size: int  # bytes, rounded
    sha256: str = ""  # or its first 8 digits, which torchvision has in its file names; "": see `pointer`
    pointer: str = ""  # URL of the Git LFS pointer that states the SHA-256


_TIMM = "https://huggingface.co/timm/mobilenetv1_100.ra4_e3600_r224_in1k"
_COMMIT = "dda9ab42e23f3061aa191630817df76e8fe9cace"  # that added the file
TIMM_MB1 = PublishedWeights(
    name="mobilenetv1_100.ra4_e3600_r224_in1k.safetensors",  # a name of its own among other nets
    url=f"{_TIMM}/resolve/{_COMMIT}/model.safetensors",
    title="timm's ImageNet weights",
    size=17_000_000,
    pointer=f"{_TIMM}/raw/{_COMMIT}/model.safetensors",
)
# SHA-256 of files that were verified; of the others only the digits in their names are known
_DIGESTS = {"mobilenet_v2-b0353104.pth": "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"}


def imagenet_weights(spec: BackboneSpec) -> tuple[PublishedWeights, ...]:
    """The ImageNet weights of a net, the best first; empty if there are none for its width or tail."""
    from torchvision.models import (
        MobileNet_V2_Weights,
        MobileNet_V3_Large_Weights,
        MobileNet_V3_Small_Weights,
        ResNet50_Weights,
    )

    if spec.width != 1 or spec.reduced_tail:
        return ()
    if spec.kind == "mb1":
        return (TIMM_MB1,)
    known: dict[str, tuple[Any, ...]] = {
        "mb2": (MobileNet_V2_Weights.IMAGENET1K_V2, MobileNet_V2_Weights.IMAGENET1K_V1),
        "mb3-small": (MobileNet_V3_Small_Weights.IMAGENET1K_V1,),
        "mb3-large": (MobileNet_V3_Large_Weights.IMAGENET1K_V2, MobileNet_V3_Large_Weights.IMAGENET1K_V1),
        RESNET: (ResNet50_Weights.IMAGENET1K_V1, ResNet50_Weights.IMAGENET1K_V2),  # V1: of its own Mask R-CNN
    }
    return tuple(_of_torchvision(one, "torchvision's ImageNet weights") for one in known.get(spec.kind, ()))


def coco_weights(spec: BackboneSpec, task: str) -> tuple[PublishedWeights, ...]:
    """The detector of a task that torchvision trained on COCO; empty if it is on another net."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights, SSDLite320_MobileNet_V3_Large_Weights

    if task == "ssd" and (spec.kind, spec.width) == (COCO_NET.kind, COCO_NET.width):
        return (_of_torchvision(SSDLite320_MobileNet_V3_Large_Weights.COCO_V1, "torchvision's SSD-lite for COCO"),)
    if task == "maskrcnn" and spec.kind == RESNET:
        return (_of_torchvision(MaskRCNN_ResNet50_FPN_Weights.COCO_V1, "torchvision's Mask R-CNN for COCO"),)
    return ()


def _of_torchvision(weights: Any, title: str) -> PublishedWeights:
    name = weights.url.rsplit("/", 1)[1]
    size = round(weights.meta["_file_size"] * 2**20)  # stated in MiB
    digits = name.rpartition("-")[2].removesuffix(".pth")
    return PublishedWeights(name, weights.url, title, size, _DIGESTS.get(name, digits))


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
    counts = [value for name, value in tensors.items() if name.endswith("num_batches_tracked")]
    return bool(counts) and not any(value.any() for value in counts)


def is_torchvision_name(path: Path) -> bool:
    """Whether a file has the name of torchvision's ImageNet weights, with a hash: mobilenet_v2-b0353104.pth."""
    return re.fullmatch(r"(?:mobilenet_[a-z0-9_]+|resnet50)-[0-9a-f]{8}\.pth", path.name) is not None
