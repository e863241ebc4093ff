"""From an SSD's outputs to boxes, for a whole batch at once: no loop over images or labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.models.ssd.loss import decode

SCORE, NMS, CANDIDATES, MOST = 0.001, 0.55, 300, 300  # torchvision's
REACH = 4  # times the boxes to find are looked at first

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """Detections of one image as tensors, best first."""

    boxes: Tensor  # (N, 4) pixels of the input
    scores: Tensor  # (N,)
    classes: Tensor  # (N,) from 1: class 0 is background


@torch.no_grad()
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

    A box needs a score above `score`, at least 0; of two of one class that overlap by more than `overlap` the better
    stays, and of an image the `most` best. Tensors are on the device of `logits`, and know no gradients.
    """
    images, each, classes = logits.shape
    scores = logits.float().softmax(-1)  # (B, A, C)
    scores[..., 0] = -1.0
    scores = scores.flatten(0, 1)
    # The thousands of boxes are sorted out on the device; what is left are many small steps, for which NumPy is best.
    some = (scores.amax(1) > score).nonzero().squeeze(1)  # rows of the batch's anchors: most are background and no more
    boxes = decode(offsets.flatten(0, 1)[some].float(), anchors[some % each])
    limit = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    corners: Floats = torch.minimum(boxes.clamp(min=0), limit).cpu().numpy()
    values: Floats = scores[some].cpu().numpy()
    image: Rows = some.cpu().numpy() // each

    at = np.flatnonzero(values > score)
    row, class_ = np.divmod(at, classes)
    points = values.ravel()[at]
    lists = image[row] * classes + class_  # one for every class of every image
    order = _best(lists, points, candidates)
    row, class_, points, lists = row[order], class_[order], points[order], lists[order]
    found, image = corners[row], image[row]
    keep = _kept(found, points, lists, image, overlap, most)
    ends = np.cumsum(np.bincount(image[keep], minlength=images))[:-1].tolist()
    parts = (torch.from_numpy(column[keep]).to(logits.device).tensor_split(ends) for column in (found, points, class_))
    return [Found(*part) for part in zip(*parts, strict=True)][:images]


def _kept(boxes: Floats, scores: Floats, lists: Rows, image: Rows, overlap: float, most: int) -> Rows:
    """Rows image by image, best first: the `most` best that NMS keeps of rows that stand list by list, best first."""
    rows = np.arange(len(boxes))
    totals, reach = np.bincount(image), REACH * most
    if totals.max(initial=0) > reach:
        # What a box covers has a lower score: if enough of the best stay, nothing else can be among what is found.
        rows = np.sort(_best(image, scores, reach))
    keep = rows[suppress(boxes[rows], lists[rows], overlap)]
    short = (np.bincount(image[keep], minlength=len(totals)) < most) & (totals > reach)
    if short.any():
        rows = np.flatnonzero(short[image])
        keep = np.r_[keep[~short[image[keep]]], rows[suppress(boxes[rows], lists[rows], overlap)]]
    return keep[_best(image[keep], scores[keep], most)]


def _best(lists: Rows, scores: Floats, most: int) -> Rows:
    """Rows list by list, the highest of the scores (N,) >= 0 first, at most so many of a list."""
    # the bits of a float that is not negative are ordered as the float is
    order = np.argsort((lists << 32) - scores.view(np.int32), kind="stable")
    starts = _starts(lists[order])
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[rank < most]


def _starts(lists: Rows) -> Rows:
    """Where each list begins; lists are contiguous."""
    return np.flatnonzero(np.diff(lists, prepend=-1))


def suppress(boxes: Floats, lists: Rows, overlap: float) -> NDArray[np.bool_]:
    """(N,) mask of what greedy NMS keeps of boxes (N, 4) that stand list by list, the best of each first.

    A box goes if a better one of its list that stays overlaps it by more than `overlap`. All lists take their steps
    together: the best box left in each stays, and those that it covers go.
    """
    keep = np.zeros(len(boxes), np.bool_)
    sides = np.ascontiguousarray(boxes.T)  # (4, N)
    area = (sides[2] - sides[0]) * (sides[3] - sides[1])
    left = np.arange(len(boxes))
    while len(left):
        begins = np.r_[True, lists[1:] != lists[:-1]]
        starts = np.flatnonzero(begins)
        keep[left[starts]] = True
        first = starts[np.cumsum(begins) - 1]  # the best of a box's list
        common = _shared(sides[0], sides[2], first)
        common *= _shared(sides[1], sides[3], first)
        union = area[first]
        union += area
        union -= common
        # in this form two empty boxes do not cover each other, and nothing is divided by their area of 0
        rest = np.flatnonzero(~((common > np.float32(overlap) * union) | begins))
        sides, area, left, lists = sides.take(rest, axis=1), area[rest], left[rest], lists[rest]
    return keep


def _shared(low: Floats, high: Floats, first: Rows) -> Floats:
    """How far each interval overlaps the one at the row `first` (N,) of it."""
    length = np.minimum(high, high[first])
    length -= np.maximum(low, low[first])
    return np.maximum(length, 0, out=length)
