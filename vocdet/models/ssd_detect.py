"""From an SSD's outputs to boxes, for a whole batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms

from vocdet.models.ssd_loss import decode

SCORE, NMS, CANDIDATES, MOST = 0.001, 0.55, 300, 300  # torchvision's


@dataclass(frozen=True, slots=True)
class Found:
    """Detections of one image as tensors, best first."""

    boxes: Tensor  # (N, 4) pixels of the input
    scores: Tensor  # (N,)
    classes: Tensor  # (N,) from 1: class 0 is background


def detect(
    offsets: Tensor,
    logits: Tensor,
    anchors: Tensor,
    size: tuple[int, int],
    *,
    score: float = SCORE,
    overlap: float = NMS,
    candidates: int = CANDIDATES,
    most: int = MOST,
) -> list[Found]:
    """Boxes of a batch from the head's outputs: softmax, the best candidates of every class, NMS within classes.

    A box needs a score above `score`; of two of one class that overlap by more than `overlap` the better stays.
    """
    boxes = decode(offsets, anchors)
    limit = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    boxes = torch.minimum(boxes.clamp(min=0), limit)  # (B, A, 4)
    scores = logits.softmax(-1)[..., 1:].transpose(1, 2)  # (B, C, A)
    top, anchor = scores.topk(min(candidates, scores.shape[2]), dim=2)  # (B, C, K)
    found = []
    for i in range(len(boxes)):
        class_, rank = (top[i] > score).nonzero(as_tuple=True)
        mine, points = boxes[i, anchor[i, class_, rank]], top[i, class_, rank]
        # One pass for all classes: boxes of different classes are moved too far apart to overlap.
        keep = nms(mine + (class_ * (max(size) + 1.0))[:, None], points, overlap)[:most]
        found.append(Found(mine[keep], points[keep], class_[keep] + 1))
    return found
