"""A Mask R-CNN as a graph from an image of any size to its detections and their masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from vocdet.exporting.nms import kept
from vocdet.exporting.resizing import resized
from vocdet.exporting.ssd import above
from vocdet.inference.rcnn import MULTIPLE
from vocdet.models.box_coder import decode
from vocdet.models.rcnn import roi_heads, rpn
from vocdet.models.rcnn.anchors import STRIDES
from vocdet.models.rcnn.model import MAX_DETECTIONS, NMS, SCORE, MaskRcnn
from vocdet.models.rcnn.roi_align import BASE_LEVEL, BASE_SIDE, COARSEST, FINEST, SAMPLES


class RcnnGraph(nn.Module):
    """The detections of `vocdet.inference.rcnn.RcnnPredictor`, of one image on a square canvas.

    The predictor's canvas fits the image instead: what the network sees beyond the image's edge differs.
    """

    thresholds: Tensor
    anchors: Tensor

    def __init__(self, model: MaskRcnn, thresholds: Tensor) -> None:
        super().__init__()
        self.model, self.side = model, -(-model.spec.longest // MULTIPLE) * MULTIPLE
        sides = [-(-self.side // stride) for stride in STRIDES]
        self.counts = [side**2 * model.spec.anchors.count for side in sides]
        strides = tuple((self.side // side,) * 2 for side in sides)
        grid = model.spec.anchors.grid(tuple((side, side) for side in sides), strides)
        self.register_buffer("anchors", torch.from_numpy(grid))
        self.register_buffer("thresholds", thresholds)  # (L,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """An image (H, W, 3) uint8, RGB, to boxes (N, 4) in its pixels, scores (N,), labels (N,), the best first.

        With masks, their probabilities (N, m, m) inside the boxes are next. They score at least the threshold of their
        label; the same columns follow for all candidates.
        """
        size = self._fitted(image)
        maps = self._maps(image, size)
        proposals, valid = self._proposals(maps, size)
        heads = self.model.roi_heads
        logits, offsets = heads.box_predictor(heads.box_head(pool(maps, proposals, roi_heads.BOX_SIDE)))
        scores = logits.softmax(-1)[:, 1:].T  # (L, R)
        boxes = decode(offsets[:, 1:], proposals[:, None], roi_heads._BOX_FACTORS).permute(1, 0, 2)  # (L, R, 4)
        boxes = rpn.clipped(boxes, size)
        scores = torch.where(_large(boxes, roi_heads._MIN_SIDE) & valid, scores, 0.0)
        keep = kept(boxes, scores, NMS, SCORE)
        best, rows = torch.where(keep, scores, 0.0).flatten().topk(min(MAX_DETECTIONS, scores.numel()))
        found, labels = boxes.reshape(-1, 4)[rows], rows // scores.shape[1]
        scale = torch.tensor([image.shape[1], image.shape[0]] * 2) / size.flip(0).repeat(2)
        columns = above(found * scale, best, labels, self.thresholds, SCORE)
        if heads.mask_head is None:
            return columns
        masks = self._masks(maps, found, labels, best > SCORE)
        certain = (columns[4] >= self.thresholds[columns[5]]).nonzero().squeeze(1)
        return *columns[:3], masks[certain], *columns[3:], masks

    def _fitted(self, image: Tensor) -> Tensor:
        """(2,) height and width of the image at the input size; see `vocdet.inputs.images.fit_size`."""
        spec = self.model.spec
        sides = torch.tensor([image.shape[0], image.shape[1]], dtype=torch.float64)
        scale = torch.minimum(spec.size / sides.amin(0), spec.longest / sides.amax(0))
        return (sides * scale).floor().clamp(min=1).long()

    def _maps(self, image: Tensor, size: Tensor) -> list[Tensor]:
        model, spec, side = self.model, self.model.spec, self.side
        least, most = torch.sym_min(image.shape[0], image.shape[1]), torch.sym_max(image.shape[0], image.shape[1])
        reach: Any = torch.sym_max((least + spec.size - 1) // spec.size, (most + spec.longest - 1) // spec.longest) + 2
        pixels = resized(image, (side, side), size, reach)
        at = torch.arange(side)
        inside = (at < size[0])[:, None] & (at < size[1])
        x = (pixels / 255 - model.mean) / model.std * inside  # the padding is 0 for the network
        fpn = model.get_submodule("fpn" if spec.heads == "mobile" else "backbone.fpn")
        maps: list[Tensor] = fpn(model.backbone.pyramid(x[None]))
        return maps

    def _proposals(self, maps: Sequence[Tensor], size: Tensor) -> tuple[Tensor, Tensor]:
        """The proposals (R, 4), and which of them are real (R,)."""
        spec = self.model.spec
        logits, offsets = self.model.rpn.head(maps)
        boxes, scores = [], []
        columns = (torch.split(column, self.counts) for column in (logits[0], offsets[0], self.anchors))
        for level, moved, anchors in zip(*columns, strict=True):
            points, at = level.topk(min(spec.candidates, len(level)))
            some = rpn.clipped(decode(moved[at], anchors[at], rpn._PROPOSAL_FACTORS), size)
            points = torch.where(_large(some, rpn._MIN_SIDE), points.sigmoid(), -1.0)
            keep = kept(some[None], points[None], rpn._NMS, -0.5)[0]
            boxes.append(some)
            scores.append(torch.where(keep, points, -1.0))
        every = torch.cat(scores)
        best, rows = every.topk(min(spec.proposals, len(every)))
        return torch.cat(boxes)[rows], best >= 0

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor, real: Tensor) -> Tensor:
        """(N, m, m) the masks of the real ones among the boxes; the head sees one box more, so never none."""
        heads = self.model.roi_heads
        assert heads.mask_head is not None
        assert heads.mask_predictor is not None
        rows = torch.cat([real.nonzero().squeeze(1), torch.zeros(1, dtype=torch.long)])
        drawn = heads.mask_predictor(heads.mask_head(pool(maps, boxes[rows], roi_heads.MASK_SIDE)))
        index = (labels[rows] + 1)[:, None, None, None].expand(-1, 1, drawn.shape[2], drawn.shape[3])
        masks: Tensor = drawn.gather(1, index)[:-1, 0].sigmoid()
        return masks


def pool(maps: Sequence[Tensor], boxes: Tensor, side: int) -> Tensor:
    """The features (R, C, side, side) of boxes (R, 4), each from the map that fits its size."""
    size = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    level = torch.floor(BASE_LEVEL + torch.log2(size / BASE_SIDE) + 1e-6).clamp(FINEST, COARSEST)
    rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
    pooled = boxes.new_zeros(len(boxes), maps[0].shape[1], side, side)
    for number, m in zip(range(FINEST, COARSEST + 1), maps, strict=False):
        rows = (level == number).nonzero().squeeze(1)
        some = torch.cat([rows, torch.zeros(1, dtype=torch.long)])  # one box more, so never none
        pooled = pooled.index_put((rows,), roi_align(m, rois[some], side, 0.5**number, sampling_ratio=SAMPLES)[:-1])
    return pooled


def _large(boxes: Tensor, side: float) -> Tensor:
    return ((boxes[..., 2:] - boxes[..., :2]) >= side).all(-1)
