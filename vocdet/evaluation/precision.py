"""Average precision as PASCAL VOC computes it: 11 points (until 2009), area under the curve (since 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset, Objects
from vocdet.data.detections import Detections
from vocdet.evaluation.matching import FALSE, TRUE, Found, Outcome, box_pairs, match_voc, stack

Curve = NDArray[np.float64]  # (D,) best score first


@dataclass(frozen=True, slots=True, eq=False)
class VocScore:
    """Average precision of every label; NaN for a label without objects, which no mean counts."""

    ap07: NDArray[np.float64]  # (L,) 11 points
    ap: NDArray[np.float64]  # (L,) area under the curve

    @property
    def mean_ap07(self) -> float | None:
        """The mean over labels; None when no label has an object."""
        return mean_of(self.ap07)

    @property
    def mean_ap(self) -> float | None:
        """The mean over labels; None when no label has an object."""
        return mean_of(self.ap)


def voc_score(truth: Dataset, found: Sequence[Detections], *, iou: float = 0.5, inclusive: bool = False) -> VocScore:
    """VOC's average precision at any IoU, label by label, as the devkit's VOCevaldet.m gives it.

    Row i of `found` is image i. Areas are of half-open boxes, which for a dataset read with the convention
    `one` are the devkit's own; `inclusive` adds 1 to widths and heights, for raw numbers (see `box_pairs`).
    """
    if len(found) != len(truth):
        raise ValueError(f"detections of {len(found)} images for a dataset of {len(truth)}")
    table = stack(found, len(truth.labels))
    pairs = box_pairs(truth.objects, table, floor=iou, inclusive=inclusive)
    match = match_voc(pairs, truth.objects, len(table), iou)
    return score_outcome(match.outcome, table, counted(truth.objects, len(truth.labels)))


def score_outcome(outcome: Outcome, found: Found, objects: NDArray[np.int64]) -> VocScore:
    """VOC's average precision of detections (D,) that are matched, for `objects` (L,) to find."""
    ap07, ap = (np.full(len(objects), np.nan) for _ in range(2))
    for label, rows in enumerate(by_label(found, len(objects))):
        if objects[label]:
            recall, precision = recall_precision(outcome[rows], int(objects[label]))
            ap07[label] = average_precision_11(recall, precision)
            ap[label] = average_precision_area(recall, precision)
    return VocScore(ap07, ap)


def by_label(found: Found, labels: int) -> list[NDArray[np.int64]]:
    """The rows of every label, best score first; equal scores in the order of the images."""
    order = np.lexsort((-found.score, found.label))
    return np.split(order, np.cumsum(np.bincount(found.label, minlength=labels))[:-1]) if labels else []


def counted(objects: Objects, labels: int) -> NDArray[np.int64]:
    """(L,) the objects of every label that are to be found: neither difficult nor a crowd."""
    return np.bincount(objects.label[~(objects.difficult | objects.crowd)], minlength=labels)


def recall_precision(outcome: Outcome, objects: int) -> tuple[Curve, Curve]:
    """Recall and precision after every detection (D,), best score first; ignored ones change neither."""
    right = np.cumsum(outcome == TRUE)
    kept = right + np.cumsum(outcome == FALSE)
    return right / objects, right / np.maximum(kept, 1)


def average_precision_11(recall: Curve, precision: Curve) -> float:
    """The mean over recalls 0, 0.1, .. 1 of the best precision at this recall or more.

    The points are i * 0.1 in floating point, as in the devkit: 3 of 10 objects do not reach
    0.30000000000000004.
    """
    points = np.arange(11) * 0.1
    first = np.searchsorted(recall, points)  # recall never falls
    return float(np.append(_envelope(precision), 0.0)[first].sum() / 11)


def average_precision_area(recall: Curve, precision: Curve) -> float:
    """The area under precision over recall, with precision made never to rise."""
    steps = np.diff(recall, prepend=0.0)
    return float((steps * _envelope(precision)).sum())


def mean_of(values: NDArray[np.float64]) -> float | None:
    """The mean of those that are not NaN; None when there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _envelope(precision: Curve) -> Curve:
    return np.asarray(np.maximum.accumulate(precision[::-1])[::-1])
