"""An SSD as a graph from an image of any size to its detections."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vocdet.exporting.nms import kept, kept_of_best
from vocdet.exporting.resizing import resized
from vocdet.exporting.skipping import skippable
from vocdet.models.ssd.averaging import averaged_in_graph
from vocdet.models.ssd.cells import decode_distances
from vocdet.models.ssd.detect import DetectionLimits
from vocdet.models.ssd.loss import decode
from vocdet.models.ssd.model import SsdLite

LIMITS = DetectionLimits()


class SsdGraph(nn.Module):
    """The detections of `vocdet.inference.ssd.SsdPredictor`, of one image."""

    thresholds: Tensor

    def __init__(self, model: SsdLite, thresholds: Tensor, *, raw: bool = False) -> None:
        super().__init__()
        self.model, self.raw = model, raw
        self.register_buffer("thresholds", thresholds)  # (L,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """An image (H, W, 3) uint8, RGB, to boxes (N, 4) in its pixels, scores (N,), labels (N,), the best first.

        They score at least the threshold of their label; the same three columns follow for all candidates.
        Raw: the offsets (A, 4), or distances (A, 4 * BINS) of a model with a neck, the logits (A, 1 + L) with
        background first, and the anchors or cells (A, 4) in pixels of the input.
        """
        height, width = self.model.spec.size
        offsets, logits = self.model(skippable(resized(image, (height, width)))[None])
        if self.raw:
            return offsets[0], logits[0], self.model.grid.clone()
        boxes = (decode_distances if self.model.spec.neck == "pan" else decode)(offsets[0], self.model.grid)
        limit = boxes.new_tensor([width, height, width, height])
        boxes = torch.minimum(boxes.clamp(min=0), limit)  # (A, 4)
        found = selected(boxes, logits[0].softmax(-1)[:, 1:], average=self.model.spec.neck == "pan", fixed=False)
        scale = torch.tensor([image.shape[1], image.shape[0]] * 2) / limit
        return above(found[0] * scale, *found[1:], self.thresholds, LIMITS.score)


def selected(boxes: Tensor, scores: Tensor, *, average: bool, fixed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Of boxes (A, 4) and scores (A, L) the detections: boxes (N, 4), scores (N,) and labels (N,).

    `average`: the boxes are means of those that overlap. `fixed`: N does not depend on the image, and a row that
    scores 0 is no detection.
    """
    if not average and not fixed:
        keep = kept_of_best(boxes, scores.T, LIMITS.overlap, LIMITS.score, LIMITS.candidates)
        best, rows = torch.where(keep, scores.T, 0.0).flatten().topk(min(LIMITS.most, scores.numel()))
        return boxes[rows % len(boxes)], best, rows // len(boxes)
    scores, at = scores.T.topk(min(LIMITS.candidates, len(boxes)))  # (L, K)
    keep = kept(boxes[at], scores, LIMITS.overlap, LIMITS.score)
    best, rows = torch.where(keep, scores, 0.0).flatten().topk(min(LIMITS.most, scores.numel()))
    if not fixed:
        some = (best > LIMITS.score).nonzero().squeeze(1)
        best, rows = best[some], rows[some]
    chosen, labels = boxes[at.flatten()[rows]], rows // scores.shape[1]
    if average:
        votes = torch.where(scores > LIMITS.score, scores, 0.0)
        chosen = averaged_in_graph(chosen, boxes.T[:, at][:, labels], votes[labels])
    return chosen, best, labels


def above(boxes: Tensor, scores: Tensor, labels: Tensor, thresholds: Tensor, score: float) -> tuple[Tensor, ...]:
    """The detections at the thresholds of their labels, and all above `score`."""
    rows = (scores > score).nonzero().squeeze(1)
    boxes, scores, labels = boxes[rows], scores[rows], labels[rows]
    best = (scores >= thresholds[labels]).nonzero().squeeze(1)
    return boxes[best], scores[best], labels[best], boxes, scores, labels
