"""NMS as one operator: torchvision's in PyTorch, `NonMaxSuppression` in ONNX. Its shapes do not depend on the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms


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


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For `torch.onnx.export`: the translation of `kept`."""
    from onnxscript import opset18

    op: Any = opset18

    def in_onnx(boxes: Any, scores: Any, overlap: float, score: float) -> Any:
        most = op.Shape(scores, start=1, end=2)
        rows = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, [1]),
            most,
            op.Constant(value_floats=[overlap]),
            op.Constant(value_floats=[score]),
        )  # (N, 3): list, class, box
        places = op.Gather(rows, [0, 2], axis=1)
        none = op.Expand(op.Cast(0, to=9), op.Shape(scores))
        ones = op.Expand(op.Cast(1, to=9), op.Shape(rows, start=0, end=1))
        return op.ScatterND(none, places, ones)

    return {torch.ops.vocdet.kept.default: in_onnx}
