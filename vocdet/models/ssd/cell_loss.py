"""The assignment of cells to objects, and the losses of an SSD without anchors, for a whole batch at once.

Task alignment (Feng et al. 2021, TOOD, section 3.2): a cell inside an object learns it if the network already finds
the object well there, by score and IoU together, and its score learns that quality instead of 1. Here the cells of each
map compete among themselves: otherwise the finest one, which has most cells, learns nearly all objects, though a
coarser one finds the edges of larger ones better.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vocdet.models.crowds import in_crowds
from vocdet.models.ssd.cells import BINS, decode_distances, encode_distances

SCORE_POWER, IOU_POWER = 0.5, 6.0  # of the alignment
MOST_CELLS = 10  # of an object on a map
FEWEST_WIDE, MOST_WIDE = 4, 16  # sides of objects on a map, in cells; the finest has smaller ones, the coarsest larger
CROWD_SHARE = 0.5  # of a cell inside a crowd, so that it is no background
BOX_GAIN, BINS_GAIN = 5.0, 0.5  # of the losses of boxes relative to that of labels


class Assignment(NamedTuple):
    """The cells that learn an object; N of them in the whole batch."""

    image: Tensor  # (N,)
    cell: Tensor  # (N,)
    object_: Tensor  # (N,) a row of the image's boxes
    quality: Tensor  # (N,) in [0, 1], what the score of the object's label learns


def paired_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalized IoU (Rezatofighi et al. 2019) of boxes (N, 4) with boxes (N, 4): (N,) each."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - common
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    iou = common / union.clamp(min=1e-9)
    return iou, iou - (hull - union) / hull.clamp(min=1e-9)


@torch.no_grad()
def assign(outputs: Tensor, logs: Tensor, cells: Tensor, boxes: Tensor, classes: Tensor) -> Assignment:
    """The cells that learn each object: of those with their center inside it the best-aligned ones of every map.

    `outputs` (B, A, 4 * BINS) and `logs` (B, A, C), the logarithms of probabilities, are what the network finds now;
    `boxes` (B, M, 4) and `classes` (B, M) are padded with class 0. Most objects are on one map or two, by their size;
    one that covers no center there has those of any map, or the nearest one of the finest. A cell that several objects
    want learns the one that it overlaps most.
    """
    images, each, most = len(boxes), len(cells), boxes.shape[1]
    stride = cells[:, 2] - cells[:, 0]
    map_ = (stride / stride[0]).log2().round().long()  # (A,) from 0, the finest: strides double from map to map
    ends: list[int] = map_.bincount().cumsum(0).tolist()  # of the maps, as rows of cells
    begins = [0, *ends[:-1]]
    candidates = _candidate_cells(cells, boxes, classes > 0, _on_map(boxes, stride[begins])[..., map_], ends[0])
    image, object_, cell = candidates.nonzero(as_tuple=True)  # (K,) pairs
    some = candidates.any(1)  # (B, A): decoding all cells takes far longer
    predicted = decode_distances(outputs[some], cells[some.nonzero(as_tuple=True)[1]])
    decoded = some.flatten().cumsum(0)[image * each + cell] - 1  # (K,) rows of `predicted`
    iou = paired_iou(predicted[decoded], boxes[image, object_])[0]
    score = logs[image, cell, classes[image, object_]].exp()
    aligned = score**SCORE_POWER * iou**IOU_POWER
    table = aligned.new_full((images * most, each), -1.0)  # a row for each object
    row = image * most + object_
    table[row, cell] = aligned
    chosen = torch.zeros_like(table, dtype=torch.bool)
    for begin, end in zip(begins, ends, strict=True):
        best = table[:, begin:end].topk(min(MOST_CELLS, end - begin), dim=1).indices
        chosen.scatter_(1, begin + best, value=True)
    taken = chosen[row, cell]
    row = row * len(ends) + map_[cell]  # of an object on a map
    image, object_, cell, iou, aligned, row = (x[taken] for x in (image, object_, cell, iou, aligned, row))
    # of several objects that want a cell, the one of highest IoU; of equal ones the first
    place = image * each + cell
    order = torch.sort(iou, descending=True, stable=True).indices
    order = order[torch.sort(place[order], stable=True).indices]
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = place[order][1:] != place[order][:-1]
    order = order[first]
    image, object_, cell, iou, aligned, row = (x[order] for x in (image, object_, cell, iou, aligned, row))
    top = aligned.new_zeros(2, images * most * len(ends)).scatter_reduce_(
        1, row.expand(2, -1), torch.stack([aligned, iou]), "amax", include_self=True
    )[:, row]
    return Assignment(image, cell, object_, aligned / top[0].clamp(min=1e-9) * top[1])


def _on_map(boxes: Tensor, strides: Tensor) -> Tensor:
    """(B, M, maps) whether boxes (B, M, 4) of this size are on a map; the strides are in ascending order."""
    wide = (boxes[..., 2:] - boxes[..., :2]).prod(-1, keepdim=True).clamp(min=0).sqrt() / strides  # in cells
    return ((wide >= FEWEST_WIDE) | (strides == strides[0])) & ((wide <= MOST_WIDE) | (strides == strides[-1]))


def _candidate_cells(cells: Tensor, boxes: Tensor, real: Tensor, on_map: Tensor, finest: int) -> Tensor:
    """(B, M, A) whether a cell is `on_map` (B, M, A) for a box and has its center inside it.

    A box without any has all inside, or the nearest of the `finest` map, which has that many cells.
    """
    x, y = ((cells[:, :2] + cells[:, 2:]) / 2).unbind(-1)  # (A,)
    left, top, right, bottom = boxes[..., None].unbind(-2)  # (B, M, 1)
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    inside &= real[..., None]
    fits = inside & on_map
    inside = torch.where(fits.any(-1, keepdim=True), fits, inside)
    image, object_ = (real & ~inside.any(-1)).nonzero(as_tuple=True)
    middle = (boxes[image, object_, :2] + boxes[image, object_, 2:]) / 2
    distance = (x[:finest] - middle[:, :1]).abs() + (y[:finest] - middle[:, 1:]).abs()
    if len(image):
        inside[image, object_, distance.argmin(1)] = True
    return inside


def cell_sums(
    outputs: Tensor,
    logits: Tensor,
    cells: Tensor,
    boxes: Tensor,
    classes: Tensor,
    *,
    weights: Tensor | None = None,
    crowds: Tensor | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """The sums of the losses of boxes and labels, and the sum of qualities that divides both.

    Boxes learn by generalized IoU and by the distribution focal loss. Classes learn by cross-entropy: a cell of an
    object is of its class to the share of its quality, and background for the rest. (A sigmoid for each label, as in
    TOOD, tells twenty labels apart far more slowly.) `outputs` (B, A, 4 * BINS) and `logits` (B, A, C) are the
    model's; class 0 is background and pads `classes` (B, M); `boxes` (B, M, 4) are pixels. `weights` (C,) weigh cells
    of objects by class; default 1. A cell in one of the `crowds` (B, K, 4), padded with empty boxes, is no background.
    """
    logs = logits.log_softmax(-1)
    found = assign(outputs.detach(), logs.detach(), cells, boxes, classes)
    image, cell, object_, quality = found
    label = classes[image, object_]
    worth = torch.ones_like(quality) if weights is None else weights[label]
    stated, true = outputs[image, cell], boxes[image, object_]
    overlap = paired_iou(decode_distances(stated, cells[cell]), true)[1]
    bins = distribution_loss(stated, encode_distances(true, cells[cell]))
    box = (BOX_GAIN * (1 - overlap) + BINS_GAIN * bins) * quality * worth
    own = logs[image, cell]
    entropy = -(quality * own.gather(1, label[:, None]).squeeze(1) + (1 - quality) * own[:, 0]) * worth
    background = torch.ones_like(logs[..., 0])
    if crowds is not None:
        background[in_crowds(cells[None], crowds, CROWD_SHARE)] = 0
    background[image, cell] = 0
    return {"box": box.sum(), "class": entropy.sum() - (background * logs[..., 0]).sum()}, quality.sum()


def distribution_loss(outputs: Tensor, distances: Tensor) -> Tensor:
    """(N,) the distribution focal loss (Li et al. 2020, section 3.2) of outputs (N, 4 * BINS), mean over the edges.

    Of the true `distances` (N, 4), in strides, the two nearest bins share the cross-entropy.
    """
    low = distances.floor().clamp(max=BINS - 2)
    share, row = distances - low, low.long()[..., None]  # (N, 4), (N, 4, 1)
    logs = outputs.reshape(*outputs.shape[:-1], 4, BINS).log_softmax(-1)
    below, above = logs.gather(-1, row).squeeze(-1), logs.gather(-1, row + 1).squeeze(-1)
    return -(below * (1 - share) + above * share).mean(-1)
