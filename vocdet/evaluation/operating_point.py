"""Score thresholds, and the errors at them.

Average precision integrates over all thresholds; an application uses one for each label. Here it is the one with the
best F1 at IoU .5. Every object that is neither difficult nor a crowd is then one of

    correct   a detection of its label matches it
    wrong     not correct, but a false detection overlaps it: its label or its location is wrong
    missed    neither

Matching follows VOC. A false detection counts for the object of its image, of any label, that it overlaps most, by at
least .1: less is background, as in TIDE (Bolya et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Objects
from vocdet.evaluation.curves import label_curves
from vocdet.evaluation.matching import FALSE, TRUE, DetectionTable, Outcome, VocMatch, best_pairs, box_pairs
from vocdet.evaluation.precision import count_objects

IOU = 0.5
CONFUSED = 0.1  # IoU from which a false detection counts for an object


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoint:
    """Counts of every label at its threshold."""

    thresholds: NDArray[np.float32]  # (L,)
    correct: NDArray[np.int64]  # (L,) objects
    wrong: NDArray[np.int64]  # (L,) objects
    missed: NDArray[np.int64]  # (L,) objects
    false: NDArray[np.int64]  # (L,) detections without an object, or of a taken one
    confused: NDArray[np.bool_]  # (M,) the wrong objects


def operating_point(
    objects: Objects, detections: DetectionTable, match: VocMatch, thresholds: NDArray[np.float32]
) -> OperatingPoint:
    """Correct, wrong and missed objects at these thresholds (L,); `match` is at IoU .5."""
    labels = len(thresholds)
    kept = detections.score >= thresholds[detections.label]
    right, false = (kept & (match.outcome == kind) for kind in (TRUE, FALSE))
    correct = np.bincount(detections.label[right], minlength=labels)
    confused = _confused(objects, detections.take(false)) & ~(objects.difficult | objects.crowd)
    confused[match.object[right]] = False
    wrong = np.bincount(objects.label[confused], minlength=labels)
    missed = count_objects(objects, labels) - correct - wrong
    wrongly = np.bincount(detections.label[false], minlength=labels)
    return OperatingPoint(thresholds, correct, wrong, missed, wrongly, confused)


def best_thresholds(detections: DetectionTable, outcome: Outcome, objects: NDArray[np.int64]) -> NDArray[np.float32]:
    """(L,) the threshold with the best F1 of every label, the highest of equals; .5 without a true detection."""
    curves = label_curves([""] * len(objects), detections, outcome, objects)
    picked = [curve.threshold() for curve in curves]
    return np.array([0.5 if one is None else one for one in picked], np.float32)


def _confused(objects: Objects, detections: DetectionTable) -> NDArray[np.bool_]:
    """(M,) objects that a detection overlaps most, by at least .1."""
    pairs = box_pairs(objects, detections, floor=CONFUSED, across_labels=True)
    confused = np.zeros(len(objects), np.bool_)
    confused[best_pairs(pairs.take(~objects.crowd[pairs.object])).object] = True
    return confused
