"""Mask R-CNN and Faster R-CNN on a feature pyramid. He et al. 2017; Lin et al. 2017.

With standard heads it is torchvision's `maskrcnn_resnet50_fpn`, on any backbone: the same parameter names, raw outputs,
losses and detections. Mobile heads are the same in depthwise-separable convolutions with batch norms, fewer channels
and fewer proposals.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from vocdet.mask_crops import MaskCrops
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.backbones.resnet import make_backbone
from vocdet.models.limits import check_input
from vocdet.models.rcnn.anchors import USUAL_ANCHORS, PyramidAnchors
from vocdet.models.rcnn.fpn import Fpn, mobile_fpn, standard_fpn
from vocdet.models.rcnn.mask_heads import mask_predictor, mobile_mask_head, standard_mask_head
from vocdet.models.rcnn.roi_heads import BoxPredictor, MobileBoxHead, RcnnDetections, RoiHeads, StandardBoxHead
from vocdet.models.rcnn.rpn import MobileRpnHead, Rpn, RpnHead
from vocdet.recipes.schema import FEWEST_CHANNELS, RcnnHeads

LOSSES = ("objectness", "rpn_box", "class", "box", "mask")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
SCORE, NMS, MAX_DETECTIONS = 0.05, 0.5, 100  # torchvision's

_LIMITS = {  # the smallest and largest value of every number in a spec
    "channels": (FEWEST_CHANNELS, 512),
    "hidden": (1, 2048),
    "candidates": (1, 8192),
    "proposals": (1, 8192),
    "sampled_anchors": (1, 8192),
    "sampled_regions": (1, 8192),
}
_CHANNELS = {"mobile": (96, 256, 256, 200, 128, 128), "standard": (256, 1024, 1000, 1000, 256, 512)}  # in this order


class RcnnSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="task", tag="maskrcnn"):
    """Everything needed to build a Mask R-CNN and to prepare its input; 0 stands for the default of the heads."""

    backbone: BackboneSpec
    labels: tuple[str, ...]  # without background
    size: int = 512  # px of the shorter side of the input, unless the longer would exceed
    longest: int = 512  # px
    anchors: PyramidAnchors = USUAL_ANCHORS
    mean: tuple[float, float, float] = MEAN  # of RGB in [0, 1]
    std: tuple[float, float, float] = STD
    heads: RcnnHeads = "mobile"
    masks: bool = True  # without: Faster R-CNN
    channels: int = 0  # of the pyramid
    hidden: int = 0  # of the box head
    candidates: int = 0  # boxes of a level that go to NMS in detection; twice as many in training
    proposals: int = 0  # boxes of an image after NMS; twice as many in training
    sampled_anchors: int = 0  # of an image, that teach
    sampled_regions: int = 0  # of an image's proposals, that teach

    def __post_init__(self) -> None:
        if self.heads not in _CHANNELS:
            raise ValueError(f"unknown heads {self.heads!r}")
        for (name, (low, high)), default in zip(_LIMITS.items(), _CHANNELS[self.heads], strict=True):
            value = getattr(self, name) or default
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}, not from {low} to {high}")
            msgspec.structs.force_setattr(self, name, value)
        if self.size > self.longest:
            raise ValueError(f"a size of {self.size} pixels above the limit of {self.longest} for the longer side")
        check_input(self.labels, self.input_size, self.std)

    @property
    def input_size(self) -> tuple[int, int]:
        """Pixels of the shorter side, and the most that the longer side may have."""
        return self.size, self.longest

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of the losses, in order."""
        return LOSSES if self.masks else LOSSES[:-1]


class MaskRcnn(nn.Module):
    """A Mask R-CNN that takes RGB in 0 to 255 and normalizes it.

    `backbone` has the same keys as that of a classifier; with standard heads it also contains the pyramid `fpn`, as in
    torchvision.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: RcnnSpec) -> None:
        super().__init__()
        self.spec = spec
        mobile, channels, classes = spec.heads == "mobile", spec.channels, 1 + len(spec.labels)
        self.backbone = make_backbone(spec.backbone)
        fpn = (mobile_fpn if mobile else standard_fpn)(self.backbone.pyramid_channels, channels)
        (self if mobile else self.backbone).add_module("fpn", fpn)
        head = (MobileRpnHead if mobile else RpnHead)(channels, spec.anchors.count)
        self.rpn = Rpn(
            head, spec.anchors, candidates=spec.candidates, proposals=spec.proposals, sampled=spec.sampled_anchors
        )
        mask_head = (mobile_mask_head if mobile else standard_mask_head)(channels) if spec.masks else None
        self.roi_heads = RoiHeads(
            (MobileBoxHead if mobile else StandardBoxHead)(channels, spec.hidden),
            BoxPredictor(spec.hidden, classes),
            mask_head,
            mask_predictor(channels, channels // 2 if mobile else channels, classes) if spec.masks else None,
            sampled=spec.sampled_regions,
        )
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1), persistent=False)

    def maps(self, images: Tensor, sizes: Tensor) -> list[Tensor]:
        """The five maps of the pyramid, for images (B, 3, H, W) with heights and widths `sizes` (B, 2)."""
        if self.training and len(images) == 1 and max(images.shape[-2:]) <= 32:
            # a map can be one pixel: batch norm needs two values for a variance
            return [m[:1] for m in self.maps(images.expand(2, -1, -1, -1), sizes.expand(2, -1))]
        x = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        height, width = images.shape[-2:]
        if bool((sizes != sizes.new_tensor([height, width])).any()):
            # the padding is 0 for the network
            rows = torch.arange(height, device=x.device) < sizes[:, :1]
            columns = torch.arange(width, device=x.device) < sizes[:, 1:]
            x = x * (rows[:, None, :, None] & columns[:, None, None, :])
        fpn: Fpn = self.get_submodule("fpn" if self.spec.heads == "mobile" else "backbone.fpn")  # type: ignore[assignment]
        maps: list[Tensor] = fpn(self.backbone.pyramid(x))
        return maps

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs of every head for images (B, 3, H, W), on fixed regions: use `losses` and `detect` instead.

        The regions are whole images, as many as the maximum of proposals and detections: the cost of the network, and
        a pass without data-dependent shapes.
        """
        sizes = self._sizes(images, None)
        maps = self.maps(images, sizes)
        logits, offsets = self.rpn.head(maps)
        boxes = torch.cat([torch.zeros_like(sizes), sizes.flip(-1)], 1).to(self.mean.dtype)
        image = torch.arange(len(images), device=boxes.device)
        many = image.repeat_interleave(self.spec.proposals)
        outputs: tuple[Tensor, ...] = (logits, offsets, *self.roi_heads.look(maps, boxes[many], many))
        if self.spec.masks:
            found = image.repeat_interleave(MAX_DETECTIONS)
            outputs = (*outputs, self.roi_heads.draw(maps, boxes[found], found))
        return outputs

    def losses(
        self,
        images: Tensor,
        sizes: Tensor | None,
        boxes: Tensor,
        classes: Tensor,
        masks: MaskCrops | None,
        crowds: Tensor | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Every loss of a batch as a total and its divisor, which can be 0.

        `images` (B, 3, H, W) occupy `sizes` (B, 2), height and width, at the top left; None: the whole canvas. `boxes`
        (B, M, 4) are pixels, `classes` (B, M) from 1, with 0 as padding. `masks` are those of all objects, image by
        image; an object without a mask contributes its class and box, an image without objects background. In the
        `crowds` (B, K, 4), padded with empty boxes, nothing is background. Totals and divisors of shards of a batch add
        up to those of the batch.
        """
        device = self.mean.device
        images, boxes, classes = images.to(device), boxes.to(device, torch.float32), classes.to(device)
        crowds = None if crowds is None else crowds.to(device, torch.float32)
        canvas, sizes = (images.shape[-2], images.shape[-1]), self._sizes(images, sizes)
        maps = self.maps(images, sizes)
        proposals, losses = self.rpn.learn(maps, canvas, sizes, boxes, classes, crowds)
        return {**losses, **self.roi_heads.learn(maps, proposals, sizes, boxes, classes, masks, crowds)}

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        sizes: Tensor | None = None,
        *,
        score: float = SCORE,
        overlap: float = NMS,
        most: int = MAX_DETECTIONS,
        masks: bool = True,
    ) -> list[RcnnDetections]:
        """The detections in each image of a batch, in eval mode; images and sizes as for `losses`.

        Only scores above `score` count, the better of two boxes of a class that overlap by more than `overlap`, and
        the `most` best of an image. `masks=False` skips their masks.
        """
        images = images.to(self.mean.device)
        canvas, sizes = (images.shape[-2], images.shape[-1]), self._sizes(images, sizes)
        maps = self.maps(images, sizes)
        proposals = self.rpn(maps, canvas, sizes)
        detections: list[RcnnDetections] = self.roi_heads(
            maps, proposals, sizes, score=score, overlap=overlap, most=most, masks=masks and self.spec.masks
        )
        return detections

    def _sizes(self, images: Tensor, sizes: Tensor | None) -> Tensor:
        if sizes is None:
            sizes = torch.tensor([images.shape[-2:]] * len(images))
        return sizes.to(self.mean.device)
