"""Boxes without anchors: each cell of a feature map states the distances from its center to the four edges of a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.models.anchor_recall import AnchorRecall, recall_rows

BINS = 12  # of a distance: 0 to 11 strides


def cell_grid(maps: tuple[tuple[int, int], ...], finest: int) -> NDArray[np.float32]:
    """(A, 4) the cells of maps of these (height, width) as boxes in pixels of the input.

    The first map has the stride `finest`, each other one twice that of the map before it. Order: maps, rows, columns.
    """
    grids = []
    for level, (h, w) in enumerate(maps):
        stride = finest << level
        y, x = np.meshgrid(np.arange(h) * stride, np.arange(w) * stride, indexing="ij")
        corner = np.stack([x, y], axis=-1).reshape(-1, 2)
        grids.append(np.concatenate([corner, corner + stride], axis=1).astype(np.float32))
    return np.concatenate(grids)


def decode_distances(outputs: Tensor, cells: Tensor) -> Tensor:
    """Boxes (..., 4) from a network's outputs (..., 4 * BINS) and the cells (..., 4).

    The distances to left, top, right and bottom are the means of distributions over 0, 1, 2 … strides.
    """
    steps = torch.arange(BINS, dtype=outputs.dtype, device=outputs.device)
    distances = outputs.reshape(*outputs.shape[:-1], 4, BINS).softmax(-1) @ steps
    stride = cells[..., 2:] - cells[..., :2]
    center = cells[..., :2] + stride / 2
    return torch.cat([center - distances[..., :2] * stride, center + distances[..., 2:] * stride], dim=-1)


def encode_distances(boxes: Tensor, cells: Tensor) -> Tensor:
    """The distances (..., 4) of boxes (..., 4) in strides, limited to those that outputs can state."""
    stride = cells[..., 2:] - cells[..., :2]
    center = cells[..., :2] + stride / 2
    low, high = (center - boxes[..., :2]) / stride, (boxes[..., 2:] - center) / stride
    return torch.cat([low, high], dim=-1).clamp(0, BINS - 1)


def cell_recall(
    boxes: NDArray[np.float64],
    label_of: NDArray[np.int32],
    labels: Sequence[str],
    size: tuple[int, int],
    finest: int,
) -> tuple[AnchorRecall, ...]:
    """For every label and object size, the IoU of objects with themselves widened to at least a cell in each direction.

    Below .5 a cell shows more of other things than of the object. `boxes` (N, 4) are shares of the image, `size` is the
    (height, width) of the input, and `finest` the side of a cell in pixels.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]) * np.array([size[1], size[0]])
    iou = np.prod(sides / np.maximum(sides, finest), axis=1)
    return recall_rows(np.asarray(iou), np.sqrt(np.prod(sides, axis=1)), label_of, labels)
