"""Boxes without anchors: each cell of a feature map states the distances from its center to the four edges of a box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.models.anchor_recall import AnchorRecall, recall_rows

LONGEST = math.log(1000.0)  # of a distance in strides
TYPICAL = math.log(2.5)  # the distance of an output of 0, in strides


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
    """Boxes (..., 4) from a network's outputs (..., 4), the logarithms of left, top, right and bottom, and cells."""
    stride = cells[..., 2:] - cells[..., :2]
    center = cells[..., :2] + stride / 2
    distances = torch.exp((outputs + TYPICAL).clamp(max=LONGEST))
    return torch.cat([center - distances[..., :2] * stride, center + distances[..., 2:] * stride], dim=-1)


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
