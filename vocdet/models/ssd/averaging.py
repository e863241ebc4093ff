"""Boxes as means: several cells state the box of an object, and their mean has less noise than that of the best cell.

Bounding box voting (Gidaris and Komodakis 2015) after NMS. Here the weight of a vote rises with the overlap instead of
beginning at a threshold, so that rounding, which differs between runtimes, cannot move a box.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NO_VOTE, FULL_VOTE = 0.75, 0.85  # IoU with the box

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


def averaged(boxes: Floats, scores: Floats, starts: Rows, keep: Rows) -> Floats:
    """(K, 4) the means for the rows `keep` (K,) of boxes (N, 4), each weighted by the scores (N,) of its list.

    Lists are contiguous and begin at `starts`.
    """
    if not len(keep):
        return boxes[keep]
    list_ = np.searchsorted(starts, keep, side="right") - 1
    counts = np.diff(starts, append=len(boxes))[list_]
    begins = np.cumsum(counts) - counts  # of the pairs of a row
    other = np.arange(counts.sum()) + np.repeat(
        starts[list_] - begins, counts
    )  # (P,) pairs of a box and one of its list
    sides = np.ascontiguousarray(boxes.T)
    area = (sides[2] - sides[0]) * (sides[3] - sides[1])
    own, theirs = np.repeat(sides[:, keep], counts, axis=1), sides[:, other]  # (4, P)
    reach = np.minimum(own[2:], theirs[2:]) - np.maximum(own[:2], theirs[:2])
    common = reach.clip(min=0).prod(0)
    union = np.repeat(area[keep], counts) + area[other] - common
    share = (common / np.maximum(union, np.float32(1e-9)) - NO_VOTE) / (FULL_VOTE - NO_VOTE)
    weight = share.clip(0, 1) * scores[other]
    total = np.add.reduceat(weight, begins)
    mean = (np.add.reduceat(weight * theirs, begins, axis=1) / np.where(total > 0, total, 1)).T
    return np.where(total[:, None] > 0, mean, boxes[keep]).astype(np.float32)


def averaged_in_graph(boxes: Tensor, candidates: Tensor, scores: Tensor) -> Tensor:
    """The same for boxes (K, 4), each with candidates (4, K, N) of its own and their scores (K, N), 0 for none."""
    own = boxes.T[..., None]  # (4, K, 1)
    reach = (torch.minimum(own[2:], candidates[2:]) - torch.maximum(own[:2], candidates[:2])).clamp(min=0)
    common = reach[0] * reach[1]
    union = _area(own) + _area(candidates) - common
    weight = ((common / union.clamp(min=1e-9) - NO_VOTE) / (FULL_VOTE - NO_VOTE)).clamp(0, 1) * scores
    total = weight.sum(1)
    mean = (weight * candidates).sum(2) / torch.where(total > 0, total, 1.0)
    return torch.where(total[:, None] > 0, mean.T, boxes)


def _area(sides: Tensor) -> Tensor:
    return (sides[2] - sides[0]) * (sides[3] - sides[1])
