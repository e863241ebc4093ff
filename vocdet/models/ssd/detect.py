"""Decode the outputs of an SSD into detections, for a whole batch without loops over images or labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.models.ssd.averaging import averaged
from vocdet.models.ssd.cells import decode_distances
from vocdet.models.ssd.loss import decode

SCORE, NMS = 0.001, 0.55
REACH = 4  # NMS first sees this multiple of the maximum of detections

Floats = NDArray[np.float32]
AnchorRows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SsdDetections:
    """Detections of one image as tensors, best first."""

    boxes: Tensor  # (N, 4) pixels of the input
    scores: Tensor  # (N,)
    classes: Tensor  # (N,) from 1: class 0 is background


@dataclass(frozen=True, slots=True)
class DetectionLimits:
    """Which detections are returned; the defaults are those of torchvision."""

    score: float = SCORE  # higher ones only
    overlap: float = NMS  # IoU above which the worse of two boxes of a class is removed
    candidates: int = 300  # of a class in an image, before NMS
    most: int = 300  # of an image


@torch.no_grad()
def detect(
    offsets: Tensor,
    logits: Tensor,
    anchors: Tensor,
    size: tuple[int, int],
    limits: DetectionLimits = DetectionLimits(),
    *,
    cells: bool = False,
) -> list[SsdDetections]:
    """The detections of a batch from its outputs: softmax, the best candidates of every class, NMS within classes.

    Offsets (B, A, 4), logits (B, A, C) and anchors (A, 4) in pixels of an input of `size` (height, width). The results
    are on the device of `logits`, without gradients. Of `cells`, the offsets (B, A, 4 * BINS) are distances, and a
    box is the mean of those that overlap it, also of ones that score too low to be returned.
    """
    least = min(limits.score, SCORE) if cells else limits.score
    images, each, classes = logits.shape
    scores = logits.float().softmax(-1)  # (B, A, C)
    scores[..., 0] = -1.0
    scores = scores.flatten(0, 1)
    # The device filters thousands of boxes; NumPy is fastest for the many small steps that follow.
    some = (scores.amax(1) > least).nonzero().squeeze(1)  # rows of the anchors in the batch: most are background
    boxes = (decode_distances if cells else decode)(offsets.flatten(0, 1)[some].float(), anchors[some % each])
    limit = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    corners: Floats = torch.minimum(boxes.clamp(min=0), limit).cpu().numpy()
    values: Floats = scores[some].cpu().numpy()
    image: AnchorRows = some.cpu().numpy() // each

    at = np.flatnonzero(values > least)
    row, class_ = np.divmod(at, classes)
    points = values.ravel()[at]
    lists = image[row] * classes + class_  # one for every class of every image
    order = _best(lists, points, limits.candidates)
    row, class_, points, lists = row[order], class_[order], points[order], lists[order]
    boxes_, image = corners[row], image[row]
    high = np.flatnonzero(points > limits.score)
    keep = high[_kept(boxes_[high], points[high], lists[high], image[high], limits)]
    if cells:
        boxes_[keep] = averaged(boxes_, points, _list_starts(lists), keep)
    ends = np.cumsum(np.bincount(image[keep], minlength=images))[:-1].tolist()
    parts = (torch.from_numpy(column[keep]).to(logits.device).tensor_split(ends) for column in (boxes_, points, class_))
    return [SsdDetections(*part) for part in zip(*parts, strict=True)][:images]


def _kept(boxes: Floats, scores: Floats, lists: AnchorRows, image: AnchorRows, limits: DetectionLimits) -> AnchorRows:
    """The rows that remain after NMS, image by image and best first; inputs are list by list."""
    rows, most, overlap = np.arange(len(boxes)), limits.most, limits.overlap
    totals, reach = np.bincount(image), REACH * most
    if totals.max(initial=0) > reach:
        # A box suppresses only lower scores: if enough of the best remain, no other can be among the results.
        rows = np.sort(_best(image, scores, reach))
    keep = rows[suppress(boxes[rows], lists[rows], overlap)]
    short = (np.bincount(image[keep], minlength=len(totals)) < most) & (totals > reach)
    if short.any():
        rows = np.flatnonzero(short[image])
        keep = np.r_[keep[~short[image[keep]]], rows[suppress(boxes[rows], lists[rows], overlap)]]
    return keep[_best(image[keep], scores[keep], most)]


def _best(lists: AnchorRows, scores: Floats, most: int) -> AnchorRows:
    """Indices list by list, the highest scores (N,) >= 0 first, at most `most` of a list."""
    # the bits of non-negative floats sort like the floats
    order = np.argsort((lists << 32) - scores.view(np.int32), kind="stable")
    starts = _list_starts(lists[order])
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[rank < most]


def _list_starts(lists: AnchorRows) -> AnchorRows:
    """The start of each list; lists are contiguous."""
    return np.flatnonzero(np.diff(lists, prepend=-1))


def suppress(boxes: Floats, lists: AnchorRows, overlap: float) -> NDArray[np.bool_]:
    """(N,) mask of the boxes (N, 4) that greedy NMS keeps; boxes are list by list, the best first.

    A box is removed if a better kept box of its list overlaps it by more than `overlap`. All lists advance together:
    each step keeps the best remaining box of every list and removes those that it overlaps.
    """
    keep = np.zeros(len(boxes), np.bool_)
    sides = np.ascontiguousarray(boxes.T)  # (4, N)
    area = (sides[2] - sides[0]) * (sides[3] - sides[1])
    left = np.arange(len(boxes))
    while len(left):
        begins = np.r_[True, lists[1:] != lists[:-1]]
        starts = np.flatnonzero(begins)
        keep[left[starts]] = True
        first = starts[np.cumsum(begins) - 1]  # the best box of its list
        common = _shared(sides[0], sides[2], first)
        common *= _shared(sides[1], sides[3], first)
        union = area[first]
        union += area
        union -= common
        # a product instead of a quotient: two empty boxes do not overlap
        rest = np.flatnonzero(~((common > np.float32(overlap) * union) | begins))
        sides, area, left, lists = sides.take(rest, axis=1), area[rest], left[rest], lists[rest]
    return keep


def _shared(low: Floats, high: Floats, first: AnchorRows) -> Floats:
    """The overlap of each interval with the one in row `first` (N,)."""
    length = np.minimum(high, high[first])
    length -= np.maximum(low, low[first])
    return np.maximum(length, 0, out=length)
