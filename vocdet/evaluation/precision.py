"""Average precision as PASCAL VOC computes it: 11 points (until 2009), area under the curve (since 2010)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Objects
from vocdet.evaluation.matching import FALSE, TRUE, DetectionTable, Outcome

Curve = NDArray[np.float64]  # (D,) best score first


@dataclass(frozen=True, slots=True, eq=False)
class VocScore:
    """Average precision of every label; NaN for a label without objects, which is left out of the means."""

    ap07: NDArray[np.float64]  # (L,) 11 points
    ap: NDArray[np.float64]  # (L,) area under the curve


def score_outcome(outcome: Outcome, detections: DetectionTable, objects: NDArray[np.int64]) -> VocScore:
    """VOC's average precision from outcomes (D,) and the number of objects (L,) of each label, as VOCevaldet.m does."""
    ap07, ap = (np.full(len(objects), np.nan) for _ in range(2))
    for label, rows in enumerate(by_label(detections, len(objects))):
        if objects[label]:
            recall, precision = recall_precision(outcome[rows], int(objects[label]))
            ap07[label] = average_precision_11(recall, precision)
            ap[label] = average_precision_area(recall, precision)
    return VocScore(ap07, ap)


def by_label(detections: DetectionTable, labels: int) -> list[NDArray[np.int64]]:
    """The rows of every label, best score first; equal scores in the order of images."""
    order = np.argsort(-detections.score, kind="stable")
    order = order[
        np.argsort(detections.label[order].astype(np.uint16 if labels < 1 << 16 else np.int64), kind="stable")
    ]
    return np.split(order, np.cumsum(np.bincount(detections.label, minlength=labels))[:-1]) if labels else []


def count_objects(objects: Objects, labels: int) -> NDArray[np.int64]:
    """(L,) the number of objects of every label that are neither difficult nor a crowd."""
    return np.bincount(objects.label[~(objects.difficult | objects.crowd)], minlength=labels)


def recall_precision(outcome: Outcome, objects: int) -> tuple[Curve, Curve]:
    """Recall and precision after each outcome (D,), best score first; ignored ones change neither."""
    right = np.cumsum(outcome == TRUE)
    kept = right + np.cumsum(outcome == FALSE)
    return right / objects, right / np.maximum(kept, 1)


def average_precision_11(recall: Curve, precision: Curve) -> float:
    """The mean over recalls 0, 0.1, .. 1 of the best precision at that recall or above.

    The points are i * 0.1 in floating point, as in the devkit: 3 of 10 objects are below 0.30000000000000004.
    """
    points = np.arange(11) * 0.1
    first = np.searchsorted(recall, points)  # recall is non-decreasing
    return float(np.append(_envelope(precision), 0.0)[first].sum() / 11)


def average_precision_area(recall: Curve, precision: Curve) -> float:
    """The area under the precision-recall curve, with precision made non-increasing."""
    steps = np.diff(recall, prepend=0.0)
    return float((steps * _envelope(precision)).sum())


def mean_of(values: NDArray[np.float64]) -> float | None:
    """The mean of the values that are not NaN; None if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _envelope(precision: Curve) -> Curve:
    return np.asarray(np.maximum.accumulate(precision[::-1])[::-1])
