"""How well anchors fit objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATIOS = (1 / 5, 1 / 3, 1 / 2, 1 / 1.4, 1.0, 1.4, 2.0, 3.0, 5.0)
GOOD_IOU = 0.7  # a better anchor gains nothing
MAX_BOXES = 4000  # of the sample that anchors are fitted to
JITTER = 0.35  # standard deviation of log size: the effect of crops and zooms in training


@dataclass(frozen=True, slots=True)
class AnchorRecall:
    """How well anchors cover the boxes of one label and size."""

    label: str
    size: str  # small, medium, large: by the mean side at the input
    objects: int
    mean_iou: float  # of each object with its best anchor
    recall: float  # share of objects with an anchor of IoU .5 or more


def recall_rows(
    iou: NDArray[np.float64], side: NDArray[np.float64], label_of: NDArray[np.int32], labels: Sequence[str]
) -> tuple[AnchorRecall, ...]:
    """A row for each label and size, from best IoUs (N,), mean sides (N,) in pixels at the input, and labels (N,)."""
    bands = (("small", 0.0, 32.0), ("medium", 32.0, 96.0), ("large", 96.0, np.inf))  # COCO's limits
    rows = []
    for k, label in enumerate(labels):
        for name, low, high in bands:
            of = (label_of == k) & (side >= low) & (side < high)
            if of.any():
                recall = float((iou[of] >= 0.5).mean())
                rows.append(AnchorRecall(label, name, int(of.sum()), float(iou[of].mean()), recall))
    return tuple(rows)


def weighted_sample(
    boxes: NDArray[np.float64], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `MAX_BOXES` of the boxes, and their weights: the inverse square root of the frequency of their labels."""
    if len(boxes) > MAX_BOXES:
        keep = np.sort(rng.choice(len(boxes), MAX_BOXES, replace=False))
        boxes, labels = boxes[keep], labels[keep]
    return boxes, 1 / np.sqrt(np.bincount(labels))[labels]
