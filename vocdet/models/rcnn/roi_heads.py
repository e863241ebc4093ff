"""The class, box and mask of each proposal. Girshick 2015; He et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms

from vocdet.mask_crops import MaskCrops
from vocdet.models.box_coder import decode, encode
from vocdet.models.rcnn.mask_heads import mask_targets
from vocdet.models.rcnn.matching import NEITHER, Sampler, match, outside_crowds
from vocdet.models.rcnn.roi_align import pool
from vocdet.models.rcnn.rpn import BETA, Proposals, best_of, clipped
from vocdet.models.separable import separable

_BOX_FACTORS = (10.0, 10.0, 5.0, 5.0)  # of box offsets
_MATCH_IOU = 0.5  # of a proposal with its object, at least
_MAX_POSITIVES = 0.25  # share of the sampled proposals
_MIN_SIDE = 1e-2  # pixels of a detection
BOX_SIDE, MASK_SIDE = 7, 14  # cells of a box after RoIAlign
MASK_BATCH = 64  # boxes in a pass of the mask head, in inference


class StandardBoxHead(nn.Module):
    """Two fully connected layers; parameter names are torchvision's."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(channels * BOX_SIDE**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(R, channels, 7, 7) to (R, hidden)."""
        return F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))


class MobileBoxHead(nn.Sequential):
    """Two separable convolutions without padding, to 3x3 cells, and a fully connected layer."""

    def __init__(self, channels: int, hidden: int) -> None:
        wide = 3 * channels // 2
        super().__init__(
            separable(channels, wide, padding=0),
            separable(wide, wide, padding=0),
            nn.Flatten(),
            nn.Linear(9 * wide, hidden),
            nn.ReLU(inplace=True),
        )


class BoxPredictor(nn.Module):
    """Class logits, including background, and box offsets for every class."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(inputs, classes)
        self.bbox_pred = nn.Linear(inputs, classes * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(R, inputs) to logits (R, C) and offsets (R, C, 4)."""
        logits: Tensor = self.cls_score(x)
        return logits, self.bbox_pred(x).view(len(x), logits.shape[1], 4)


@dataclass(frozen=True, slots=True, eq=False)
class RcnnDetections:
    """Detections of one image, best first."""

    boxes: Tensor  # (N, 4) pixels of the input
    scores: Tensor  # (N,)
    classes: Tensor  # (N,) from 1: class 0 is background
    masks: Tensor | None = None  # (N, m, m) probabilities inside the box; None: without masks


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Proposals that teach, with what they stand for."""

    boxes: Tensor  # (R, 4)
    image: Tensor  # (R,) row of the batch
    classes: Tensor  # (R,) 0: background
    objects: Tensor  # (R,) row among the image's padded objects; 0 for background


class RoiHeads(nn.Module):
    """The heads that look at each proposal, and what they are taught."""

    def __init__(
        self,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_head: nn.Module | None,
        mask_predictor: nn.Module | None,
        *,
        sampled: int,
    ) -> None:
        super().__init__()
        self.box_head, self.box_predictor = box_head, box_predictor
        self.mask_head, self.mask_predictor = mask_head, mask_predictor
        self.sampler = Sampler(sampled, _MAX_POSITIVES)

    def choose(self, proposals: Proposals, boxes: Tensor, classes: Tensor, crowds: Tensor | None = None) -> Regions:
        """Those of the proposals, and of the objects' own boxes, that teach."""
        images, objects = classes.shape
        counts = torch.bincount(proposals.image, minlength=images)
        most = int(counts.max()) if len(counts) else 0
        place = torch.arange(len(proposals.image), device=boxes.device)
        place = place - (counts.cumsum(0) - counts)[proposals.image]
        padded = boxes.new_zeros(images, most + objects, 4)
        real = torch.zeros(images, most + objects, dtype=torch.bool, device=boxes.device)
        padded[proposals.image, place] = proposals.boxes
        real[proposals.image, place] = True
        padded[:, most:], real[:, most:] = boxes, classes > 0
        matched = match(boxes, classes, padded, high=_MATCH_IOU, low=_MATCH_IOU)
        matched = outside_crowds(matched, padded, crowds, low=_MATCH_IOU)
        positive, negative = self.sampler(matched.masked_fill(~real, NEITHER))
        image, row = (positive | negative).nonzero(as_tuple=True)
        object_ = matched[image, row].clamp(min=0)
        taught = positive[image, row]
        class_ = torch.zeros_like(object_)
        class_[taught] = classes[image[taught], object_[taught]]
        return Regions(padded[image, row], image, class_, object_)

    def learn(
        self,
        maps: Sequence[Tensor],
        proposals: Proposals,
        sizes: Tensor,
        boxes: Tensor,
        classes: Tensor,
        masks: MaskCrops | None,
        crowds: Tensor | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """The losses `class`, `box` and `mask` of a batch as totals and counts."""
        regions = self.choose(proposals, boxes, classes, crowds)
        count = torch.tensor(len(regions.classes), device=boxes.device)
        if len(regions.classes) == 0:
            nothing = no_loss(self.box_head, self.box_predictor)
            losses = {"class": (nothing, count), "box": (nothing, count)}
        else:
            logits, offsets = self.look(maps, regions.boxes, regions.image)
            positive = (regions.classes > 0).nonzero().squeeze(1)
            class_ = regions.classes[positive]
            wanted = boxes[regions.image[positive], regions.objects[positive]]
            target = encode(wanted, regions.boxes[positive], _BOX_FACTORS)
            moved = F.smooth_l1_loss(offsets[positive, class_].float(), target, beta=BETA, reduction="sum")
            entropy = F.cross_entropy(logits.float(), regions.classes, reduction="sum")
            losses = {"class": (entropy, count), "box": (moved, count)}
        if self.mask_head is not None and self.mask_predictor is not None:
            losses["mask"] = self._mask_loss(maps, regions, sizes, classes, masks)
        return losses

    def _mask_loss(
        self, maps: Sequence[Tensor], regions: Regions, sizes: Tensor, classes: Tensor, masks: MaskCrops | None
    ) -> tuple[Tensor, Tensor]:
        assert self.mask_head is not None
        assert self.mask_predictor is not None
        device = classes.device
        chosen = (regions.classes > 0).nonzero().squeeze(1)
        row_of = ((classes > 0).flatten().cumsum(0) - 1).view(classes.shape)  # among all objects of the batch
        rows = row_of[regions.image[chosen], regions.objects[chosen]]
        if masks is not None:
            known = torch.from_numpy(masks.known).to(device)[rows]
            chosen, rows = chosen[known], rows[known]
        if masks is None or len(chosen) == 0:
            return no_loss(self.mask_head, self.mask_predictor), torch.tensor(0, device=device)
        boxes, image = regions.boxes[chosen], regions.image[chosen]
        logits = self.draw(maps, boxes, image)
        logits = logits[torch.arange(len(chosen), device=device), regions.classes[chosen]].float()
        targets = mask_targets(masks, rows.cpu().numpy(), boxes, sizes[image].cpu().numpy(), logits.shape[-1]).to(
            device
        )
        total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return total, torch.tensor(targets.numel(), device=device)

    def look(self, maps: Sequence[Tensor], boxes: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R, C) and offsets (R, C, 4) of boxes (R, 4) in images (R,)."""
        features = self.box_head(pool(maps, boxes, image, BOX_SIDE))
        logits, offsets = self.box_predictor(features)
        return logits, offsets

    def draw(self, maps: Sequence[Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        """Logits (R, C, m, m) of masks in boxes (R, 4) of images (R,)."""
        assert self.mask_head is not None
        assert self.mask_predictor is not None
        drawn: Tensor = self.mask_predictor(self.mask_head(pool(maps, boxes, image, MASK_SIDE)))
        return drawn

    def forward(
        self,
        maps: Sequence[Tensor],
        proposals: Proposals,
        sizes: Tensor,
        *,
        score: float,
        overlap: float,
        most: int,
        masks: bool,
    ) -> list[RcnnDetections]:
        """The detections of a batch; see `MaskRcnn.detect`."""
        logits, offsets = self.look(maps, proposals.boxes, proposals.image)
        scores = logits.float().softmax(-1)
        row, class_ = (scores[:, 1:] > score).nonzero(as_tuple=True)
        class_ = class_ + 1
        points, image = scores[row, class_], proposals.image[row]
        boxes = clipped(decode(offsets[row, class_].float(), proposals.boxes[row], _BOX_FACTORS), sizes[image])
        large = ((boxes[:, 2:] - boxes[:, :2]) >= _MIN_SIDE).all(-1)
        boxes, points, class_, image = boxes[large], points[large], class_[large], image[large]
        keep = best_of(image, batched_nms(boxes, points, image * logits.shape[1] + class_, overlap), most)
        boxes, points, class_, image = boxes[keep], points[keep], class_[keep], image[keep]
        columns = [boxes, points, class_]
        if masks and self.mask_head is not None:
            columns.append(self._drawn(maps, boxes, image, class_))
        ends = torch.bincount(image, minlength=len(sizes)).cumsum(0)[:-1].tolist()
        return [RcnnDetections(*parts) for parts in zip(*(c.tensor_split(ends) for c in columns), strict=True)]

    def _drawn(self, maps: Sequence[Tensor], boxes: Tensor, image: Tensor, classes: Tensor) -> Tensor:
        """(N, m, m) probabilities: the mask of each box for its class."""
        parts = [boxes.new_zeros(0, 2 * MASK_SIDE, 2 * MASK_SIDE)]
        for start in range(0, len(boxes), MASK_BATCH):
            some = slice(start, start + MASK_BATCH)
            logits = self.draw(maps, boxes[some], image[some])
            parts.append(logits[torch.arange(len(logits), device=logits.device), classes[some]].float().sigmoid())
        return torch.cat(parts)


def no_loss(*modules: nn.Module) -> Tensor:
    """0, with a gradient of 0 for all parameters, so that a batch without targets still has gradients."""
    return 0.0 * torch.stack([p.sum() for module in modules for p in module.parameters()]).sum()
