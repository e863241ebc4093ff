"""NMS as one operator: torchvision's in PyTorch, `NonMaxSuppression` in ONNX. Its shapes do not depend on the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

from vocdet.exporting.skipping import mark


@torch.library.custom_op("vocdet::kept", mutates_args=())
def kept(boxes: Tensor, scores: Tensor, overlap: float, score: float) -> Tensor:
    """(L, K) mask of the boxes (L, K, 4) of L lists that NMS keeps, of those that score above `score` (L, K)."""
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for row, (some, points) in enumerate(zip(boxes, scores, strict=True)):
        above = (points > score).nonzero().squeeze(1)
        keep[row, above[nms(some[above], points[above], overlap)]] = True
    return keep


@kept.register_fake
def _(_boxes: Tensor, scores: Tensor, _overlap: float, _score: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


@torch.library.custom_op("vocdet::kept_of_best", mutates_args=())
def kept_of_best(boxes: Tensor, scores: Tensor, overlap: float, score: float, most: int) -> Tensor:
    """(L, A) mask of the boxes (A, 4) that NMS keeps for each of L labels, of at most `most` with scores (L, A)."""
    best, at = scores.topk(min(most, scores.shape[1]))
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, at, kept(boxes[at], best, overlap, score))


@kept_of_best.register_fake
def _(_boxes: Tensor, scores: Tensor, _overlap: float, _score: float, _most: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For `torch.onnx.export`: the translation of `kept`."""
    from onnxscript import opset18

    op: Any = opset18

    def in_onnx(boxes: Any, scores: Any, overlap: float, score: float) -> Any:
        rows = _rows(op, boxes, scores, overlap, score)
        return _mask(op, scores, op.Gather(rows, [0, 2], axis=1), rows)

    def best_in_onnx(boxes: Any, scores: Any, overlap: float, score: float, most: int) -> Any:
        above = op.Cast(op.Greater(scores, op.Constant(value_float=score)), to=7)
        longest = op.ReduceMax(op.ReduceSum(above, [1], keepdims=0), keepdims=1)  # sorting more would take longer
        limit = op.Min(op.Constant(value_ints=[most]), op.Max(longest, op.Constant(value_ints=[1])))
        best, at = op.TopK(scores, limit)
        rows = _rows(op, op.Gather(boxes, at), best, overlap, score)
        labels, places = op.Split(op.Gather(rows, [0, 2], axis=1), axis=1, num_outputs=2)
        anchors = op.Unsqueeze(op.GatherND(at, op.Concat(labels, places, axis=1)), [1])
        return _mask(op, scores, op.Concat(labels, anchors, axis=1), rows)

    return {
        torch.ops.vocdet.kept.default: in_onnx,
        torch.ops.vocdet.kept_of_best.default: best_in_onnx,
        torch.ops.vocdet.skippable.default: mark,
    }


def _rows(op: Any, boxes: Any, scores: Any, overlap: float, score: float) -> Any:
    """What NMS keeps, (N, 3): list, 0, and box in the list."""
    most = op.Shape(scores, start=1, end=2)
    limits = (op.Constant(value_floats=[value]) for value in (overlap, score))
    return op.NonMaxSuppression(boxes, op.Unsqueeze(scores, [1]), most, *limits)


def _mask(op: Any, scores: Any, places: Any, rows: Any) -> Any:
    """The mask of scores (L, K) that is true at places (N, 2)."""
    none = op.Expand(op.Cast(0, to=9), op.Shape(scores))
    return op.ScatterND(none, places, op.Expand(op.Cast(1, to=9), op.Shape(rows, start=0, end=1)))
