"""Fit the anchors of a feature pyramid to the training boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vocdet.models.anchor_recall import GOOD_IOU, JITTER, RATIOS, AnchorRecall, recall_rows, weighted_sample
from vocdet.models.rcnn.anchors import STRIDES, USUAL_ANCHORS, PyramidAnchors

MIN_STRIDES, MAX_STRIDES = 2.0, 16.0  # side of an anchor; the standard one has 8
SIDES_PER_OCTAVE = 4
MAX_RATIOS = 3
MIN_CHANGE = 2e-3  # of mean IoU, for a change of a ratio or a side
MIN_SAMPLES = 400  # jittered boxes: fewer boxes are jittered several times
RATIO_JITTER = 0.1  # of log width and log height: the effect of crops, and a margin for other datasets
ROUNDS = 8  # of coordinate descent, at most


def best_iou(boxes: NDArray[np.float64], shapes: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """(N, S) IoU of boxes (N, 4) in pixels with the nearest anchor of each shape (S, 2), width and height.

    Anchors are at multiples of the stride. The nearest is the best: for equal shapes IoU decreases with the distance
    of the centers along each axis.
    """
    sides = boxes[:, 2:] - boxes[:, :2]  # (N, 2)
    center = (boxes[:, 2:] + boxes[:, :2]) / 2
    away = np.abs(center - np.round(center / stride) * stride)[:, None]  # (N, 1, 2)
    wanted = sides[:, None]
    common = np.minimum((wanted + shapes) / 2 - away, np.minimum(wanted, shapes)).clip(min=0).prod(axis=2)
    union = sides.prod(axis=1)[:, None] + shapes.prod(axis=1) - common
    return np.asarray(common / np.maximum(union, 1e-9))


def fit_pyramid(boxes: NDArray[np.float64], labels: NDArray[np.int32], *, seed: int = 0) -> PyramidAnchors:
    """One side for each level and up to three ratios, so that every training box has an anchor of high IoU.

    `boxes` (N, 4) are pixels of the input, `labels` (N,) their labels. A box weighs the inverse square root of its
    label's frequency; sizes are jittered. Sides and ratios change only for a gain; without boxes the result is the
    standard anchors.
    """
    usable = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(axis=1)
    boxes, labels = boxes[usable], labels[usable]
    if len(boxes) == 0:
        return USUAL_ANCHORS
    boxes, weights = _jittered(boxes, labels, np.random.default_rng(seed))
    ratios = np.unique([1.0, *RATIOS])
    octaves = np.arange(np.log2(MIN_STRIDES), np.log2(MAX_STRIDES) + 1e-6, 1 / SIDES_PER_OCTAVE)
    sides = np.round(np.array(STRIDES)[:, None] * 2.0**octaves)  # (levels, sides)
    worth = _worth(boxes, sides, ratios)
    chosen = [int(np.argmin(np.abs(own - usual[0]))) for own, usual in zip(sides, USUAL_ANCHORS.sides, strict=True)]
    taken = [int(np.argmin(np.abs(ratios - usual))) for usual in USUAL_ANCHORS.ratios]
    for _ in range(ROUNDS):
        before = (list(chosen), list(taken))
        taken = _better_ratios(worth[np.arange(len(chosen)), chosen], taken, weights)
        for level in range(len(chosen)):
            chosen[level] = _better_side(worth[:, :, taken].max(axis=2), sides, chosen, level, weights)
        if before == (chosen, taken):
            break
    return PyramidAnchors(
        tuple((float(own[k]),) for own, k in zip(sides, chosen, strict=True)),
        tuple(sorted(round(float(ratios[k]), 4) for k in taken)),
    )


def _jittered(
    boxes: NDArray[np.float64], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A sample of the boxes, unchanged and jittered in size and location, and their weights, which sum to 1."""
    boxes, weights = weighted_sample(boxes, labels, rng)
    times = max(1, -(-MIN_SAMPLES // len(boxes)))
    many = np.tile(boxes, (times, 1))
    center, half = (many[:, 2:] + many[:, :2]) / 2, (many[:, 2:] - many[:, :2]) / 2
    half = half * np.exp(rng.normal(0, JITTER, (len(many), 1)) + rng.normal(0, RATIO_JITTER, half.shape))
    center = center + rng.uniform(0, STRIDES[-1], center.shape)
    jittered = np.concatenate([center - half, center + half], axis=1)
    weights = np.concatenate([weights, np.tile(weights / times, times)])
    return np.concatenate([boxes, jittered]), weights / weights.sum()


def _worth(boxes: NDArray[np.float64], sides: NDArray[np.float64], ratios: NDArray[np.float64]) -> NDArray[np.float32]:
    """(levels, sides, ratios, N): the IoU of every box with every candidate anchor, at most `GOOD_IOU`."""
    worth = np.empty((*sides.shape, len(ratios), len(boxes)), np.float32)
    roots = np.sqrt(ratios)
    for level, (own, stride) in enumerate(zip(sides, STRIDES, strict=True)):
        for k, side in enumerate(own):
            shapes = np.stack([side / roots, side * roots], axis=1)
            worth[level, k] = best_iou(boxes, shapes, stride).clip(max=GOOD_IOU).T
    return worth


def _better_ratios(worth: NDArray[np.float32], taken: list[int], weights: NDArray[np.float64]) -> list[int]:
    """The ratios after a round: each replaced by the best one beside the others; `worth` is (levels, ratios, N)."""
    best = worth.max(axis=0)  # (ratios, N)
    for slot in range(MAX_RATIOS):
        others = [k for i, k in enumerate(taken) if i != slot]
        covered = best[others].max(axis=0) if others else np.zeros_like(best[0])
        scores = np.maximum(best, covered) @ weights
        now = scores[taken[slot]] if slot < len(taken) else float(covered @ weights)
        if scores.max() >= now + MIN_CHANGE:
            taken = [*others, int(scores.argmax())]
            taken.sort()
    for k in list(taken):  # drop what the others cover
        others = [other for other in taken if other != k]
        if others and float((best[taken].max(axis=0) - best[others].max(axis=0)) @ weights) < MIN_CHANGE:
            taken = others
    return taken


def _better_side(
    worth: NDArray[np.float32], sides: NDArray[np.float64], chosen: list[int], level: int, weights: NDArray[np.float64]
) -> int:
    """The best side of a level beside those of the other levels; `worth` is (levels, sides, N).

    Sides increase from level to level.
    """
    covered = np.max([worth[i, k] for i, k in enumerate(chosen) if i != level], axis=0)
    others = [sides[i, k] for i, k in enumerate(chosen)]
    low, high = max([0.0, *others[:level]]), min([np.inf, *others[level + 1 :]])
    scores = np.maximum(worth[level], covered) @ weights
    best = int(np.where((sides[level] > low) & (sides[level] < high), scores, -1.0).argmax())
    return best if scores[best] >= scores[chosen[level]] + MIN_CHANGE else chosen[level]


def pyramid_recall(
    anchors: PyramidAnchors, boxes: NDArray[np.float64], label_of: NDArray[np.int32], labels: Sequence[str]
) -> tuple[AnchorRecall, ...]:
    """Mean best IoU and recall at .5 for every label and object size; `boxes` (N, 4) are pixels of the input."""
    if len(boxes) == 0:
        return ()
    shapes = [(cell[:, 2:] - cell[:, :2]).astype(np.float64) for cell in anchors.cell()]
    iou = np.max([best_iou(boxes, s, stride).max(axis=1) for s, stride in zip(shapes, STRIDES, strict=True)], axis=0)
    side = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    return recall_rows(np.asarray(iou), side, label_of, labels)
