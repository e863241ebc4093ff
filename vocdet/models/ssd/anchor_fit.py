"""Fit the anchors of an SSD to the training boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vocdet.models.anchor_recall import GOOD_IOU, JITTER, RATIOS, AnchorRecall, recall_rows, weighted_sample
from vocdet.models.ssd.anchors import Anchors, Shape, map_sizes
from vocdet.recipes.schema import LastMap

PER_CELL = (16, 8, 6, 6, 6, 6)  # maximum of anchors at a cell of each map; the paper has 6
DENSE = 1.5  # strides: smaller shapes may have four anchors a cell, or small objects fall between anchors
SCALES_PER_OCTAVE = 4
MIN_GAIN = 3e-4  # of mean IoU, for an anchor


def best_iou(boxes: NDArray[np.float64], shapes: Sequence[Shape], grid: tuple[int, int]) -> NDArray[np.float64]:
    """(N, S) IoU of every box (N, 4), in shares of the input, with each shape at the nearest cell.

    The nearest cell is the best: for equal shapes IoU decreases with the distance of the centers along each axis.
    """
    wanted = boxes[:, 2:] - boxes[:, :2]  # (N, 2) w, h
    center = (boxes[:, None, 2:] + boxes[:, None, :2]) / 2  # (N, 1, 2)
    places = np.array([s.density for s in shapes])[:, None] * np.array([grid[1], grid[0]])  # (S, 2) along x and y
    nearest = (np.clip(np.floor(center * places), 0, places - 1) + 0.5) / places  # (N, S, 2)
    half = np.array([s[:2] for s in shapes])[None] / 2  # (1, S, 2)
    low = np.maximum(boxes[:, None, :2], nearest - half)
    high = np.minimum(boxes[:, None, 2:], nearest + half)
    inter = np.prod(np.maximum(high - low, 0), axis=2)  # (N, S)
    union = np.prod(wanted, axis=1)[:, None] + np.prod(2 * half, axis=2) - inter
    return np.asarray(inter / union)


def fit_anchors(
    boxes: NDArray[np.float64],
    labels: NDArray[np.int32],
    size: tuple[int, int],
    *,
    seed: int = 0,
    last_map: LastMap = "conv",
) -> Anchors:
    """Choose the shapes of each map greedily, so that every training box has an anchor of high IoU.

    `boxes` (N, 4) are shares of the image, `labels` (N,) their labels, `size` the (height, width) of the input. A box
    weighs the inverse square root of its label's frequency. Sizes are jittered as in training. Every map gets at least
    one shape, for later datasets.
    """
    rng = np.random.default_rng(seed)
    grids = map_sizes(size, len(PER_CELL), last_map=last_map)
    if len(boxes) == 0:
        return Anchors(tuple(_fallback(grid) for grid in grids))
    boxes, weights = _jittered_in_size(boxes, labels, rng)
    candidates = [_candidate_shapes(grid, size) for grid in grids]
    worth = [best_iou(boxes, shapes, grid).clip(max=GOOD_IOU) for shapes, grid in zip(candidates, grids, strict=True)]
    sizes = [np.array([s.number for s in shapes]) for shapes in candidates]
    chosen: list[list[Shape]] = [[] for _ in grids]
    covered = np.zeros(len(boxes))
    for _ in range(sum(PER_CELL)):
        gains = [  # of mean IoU, for an anchor
            (weights @ np.maximum(w - covered[:, None], 0)) / counts * (counts + sum(s.number for s in taken) <= most)
            for w, counts, taken, most in zip(worth, sizes, chosen, PER_CELL, strict=True)
        ]
        level = int(np.argmax([g.max() for g in gains]))
        best = int(gains[level].argmax())
        if gains[level][best] < MIN_GAIN:
            break
        chosen[level].append(candidates[level][best])
        covered = np.maximum(covered, worth[level][:, best])
    levels = [c or list(_fallback(g)) for c, g in zip(chosen, grids, strict=True)]
    return Anchors(tuple(tuple(sorted(c, key=lambda s: s.width * s.height)) for c in levels))


def anchor_recall(
    anchors: Anchors,
    boxes: NDArray[np.float64],
    label_of: NDArray[np.int32],
    labels: Sequence[str],
    size: tuple[int, int],
    *,
    last_map: LastMap = "conv",
) -> tuple[AnchorRecall, ...]:
    """Mean best IoU and recall at .5 for every label and object size; `boxes` (N, 4) are shares of the image."""
    if len(boxes) == 0:
        return ()
    grids = map_sizes(size, len(anchors.shapes), last_map=last_map)
    iou = np.max([best_iou(boxes, s, g).max(1) for s, g in zip(anchors.shapes, grids, strict=True)], axis=0)
    side = np.sqrt(np.prod((boxes[:, 2:] - boxes[:, :2]) * np.array([size[1], size[0]]), axis=1))  # pixels at the input
    return recall_rows(np.asarray(iou), side, label_of, labels)


def _jittered_in_size(
    boxes: NDArray[np.float64], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A sample of the boxes, unchanged and jittered in size, and their weights, which sum to 1."""
    boxes, weights = weighted_sample(boxes, labels, rng)
    center, half = (boxes[:, 2:] + boxes[:, :2]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = np.minimum(half * np.exp(rng.normal(0, JITTER, (len(boxes), 1))), 0.5)
    center = np.clip(center, half, 1 - half)
    both = np.concatenate([boxes, np.concatenate([center - half, center + half], axis=1)])
    return both, np.tile(weights, 2) / (2 * weights.sum())


def _candidate_shapes(grid: tuple[int, int], size: tuple[int, int]) -> list[Shape]:
    """Candidate shapes of a map: one to six strides wide, in every ratio that fits the image."""
    stride = np.sqrt((size[0] / grid[0]) * (size[1] / grid[1]))  # pixels
    shapes = []
    for octave in np.arange(-0.5, 2.6, 1 / SCALES_PER_OCTAVE):
        side = stride * 2.0**octave
        for ratio in RATIOS:
            w, h = side * np.sqrt(ratio) / size[1], side / np.sqrt(ratio) / size[0]
            if w <= 1.0 and h <= 1.0:
                densities = (1, 2) if side < DENSE * stride else (1,)
                shapes += [Shape(round(float(w), 4), round(float(h), 4), density) for density in densities]
    return shapes or [Shape(1.0, 1.0)]


def _fallback(grid: tuple[int, int]) -> tuple[Shape, ...]:
    """A square of two cells, for a map without training objects."""
    return (Shape(min(1.0, 2 / grid[1]), min(1.0, 2 / grid[0])),)
