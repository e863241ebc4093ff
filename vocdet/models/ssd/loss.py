"""SSD's matching and loss for a whole batch at once. Liu et al. 2016, section 2.2."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from vocdet.models import box_coder
from vocdet.models.crowds import in_crowds

_FACTORS = (10.0, 10.0, 5.0, 5.0)
encode, decode = partial(box_coder.encode, factors=_FACTORS), partial(box_coder.decode, factors=_FACTORS)
MATCH_IOU = 0.5
NEGATIVES = 3  # background anchors in the loss for every matched one
MIN_NEGATIVES = 8  # of an image, so that images without objects contribute; torchvision has 0


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (..., N, 4) with boxes (M, 4): (..., N, M); 0 where both are empty."""
    # as (..., N, 1) and (M,): the many M boxes are contiguous in memory
    ax1, ay1, ax2, ay2 = a[..., None].unbind(-2)
    bx1, by1, bx2, by2 = b.t().contiguous().unbind(0)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_(min=0)
    inter = width.mul_(height)
    union = ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)).sub_(inter)
    return inter.div_(union.clamp_(min=1e-9))


def match(boxes: Tensor, classes: Tensor, anchors: Tensor) -> Tensor:
    """The object of every anchor: (B, A), a row of `boxes`, or -1 for background.

    `boxes` (B, M, 4) and `classes` (B, M) are padded with class 0. An anchor matches the object of highest IoU if that
    is at least .5; each object also gets its best anchor at any IoU (of several objects with the same best anchor the
    last one, as in torchvision).
    """
    if boxes.shape[1] == 0:
        return torch.full((len(boxes), len(anchors)), -1, dtype=torch.int64, device=boxes.device)
    iou = pairwise_iou(boxes, anchors).masked_fill_((classes == 0)[..., None], -1.0)  # (B, M, A)
    matched = torch.full((len(boxes), len(anchors)), -1, device=boxes.device)  # (B, A)
    image, anchor = (iou.amax(dim=1) >= MATCH_IOU).nonzero(as_tuple=True)  # few anchors need the argmax
    matched[image, anchor] = iou[image, :, anchor].argmax(dim=1)
    rows = torch.arange(boxes.shape[1], device=boxes.device).expand(len(boxes), -1)  # (B, M)
    own = iou.argmax(dim=2)  # (B, M) each object's best anchor
    forced = torch.full_like(matched, -1)
    forced.scatter_reduce_(1, own, torch.where(classes > 0, rows, -1), "amax")
    return torch.where(forced >= 0, forced, matched)


def ssd_sums(
    offsets: Tensor,
    logits: Tensor,
    anchors: Tensor,
    boxes: Tensor,
    classes: Tensor,
    *,
    min_negatives: int = MIN_NEGATIVES,
    weights: Tensor | None = None,
    crowds: Tensor | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """The sums of smooth-L1 on matched anchors and of cross-entropy with hard negatives, and the number of matches.

    `offsets` (B, A, 4) and `logits` (B, A, C) are the model's outputs; class 0 is background and pads `classes` (B, M);
    `boxes` (B, M, 4) and `anchors` (A, 4) are pixels of the input. `weights` (C,) weigh matched anchors by class;
    default 1. An anchor in one of the `crowds` (B, K, 4), which are padded with empty boxes, is no negative.
    """
    matched = match(boxes, classes, anchors)  # (B, A)
    positive = matched >= 0
    image, anchor = positive.nonzero(as_tuple=True)
    object_ = matched[image, anchor]
    target = encode(boxes[image, object_], anchors[anchor])
    box_losses = F.smooth_l1_loss(offsets[image, anchor], target, reduction="none").sum(1)

    wanted = torch.zeros_like(matched)
    wanted[image, anchor] = classes[image, object_]
    entropy = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(matched.shape)  # (B, A)
    ignored = positive if crowds is None else positive | in_crowds(anchors[None], crowds, MATCH_IOU)
    taught = (positive | hardest(entropy.detach(), positive, min_negatives, ignored)).to(entropy.dtype)
    if weights is not None:
        worth = weights[wanted[image, anchor]]
        box_losses = box_losses * worth
        taught[image, anchor] = worth
    return {"box": box_losses.sum(), "class": (entropy * taught).sum()}, torch.tensor(len(image), device=boxes.device)


def hardest(entropy: Tensor, positive: Tensor, minimum: int, ignored: Tensor | None = None) -> Tensor:
    """(B, A) mask of the background anchors of highest loss: 3 for each match, at least `minimum` of an image.

    Of the anchors that are `ignored` (B, A), by default the positive ones, none is among them.
    """
    ignored = positive if ignored is None else ignored
    number = (NEGATIVES * positive.sum(1)).clamp(min=minimum)  # (B,)
    number = torch.minimum(number, (~ignored).sum(1))
    most = int(number.max())
    if most == 0:
        return torch.zeros_like(positive)
    order = entropy.masked_fill(ignored, -torch.inf).topk(most, dim=1).indices  # (B, most)
    keep = torch.arange(most, device=order.device) < number[:, None]
    return torch.zeros_like(positive).scatter_(1, order, keep)
