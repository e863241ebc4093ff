"""Where to cut the scores, and what is right and wrong there.

Average precision sums up all thresholds; a phone has one for each label. Here it is the one with the best F1
at IoU .5, and every object to be found is then one of

    correct   a detection of its label that is kept belongs to it
    wrong     not correct, but a false detection is drawn on it: the label or the place is wrong
    missed    neither

Matching is VOC's. A false detection is drawn on the object of its image, of whatever label, that it overlaps
most and by at least .1: less than that is background, as in TIDE (Bolya et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Objects
from vocdet.evaluation.matching import FALSE, TRUE, Found, Outcome, VocMatch, best_pairs, box_pairs
from vocdet.evaluation.precision import by_label, counted

IOU = 0.5
DRAWN_ON = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoint:
    """Counts of every label, of the detections that score at least its threshold."""

    thresholds: NDArray[np.float32]  # (L,)
    correct: NDArray[np.int64]  # (L,) objects, and so for the next two
    wrong: NDArray[np.int64]
    missed: NDArray[np.int64]
    false: NDArray[np.int64]  # (L,) detections of this label that belong to no object, or to one that is taken


def operating_point(objects: Objects, found: Found, match: VocMatch, thresholds: NDArray[np.float32]) -> OperatingPoint:
    """What is correct, wrong and missed at these thresholds (L,); `match` is at IoU .5."""
    labels = len(thresholds)
    kept = found.score >= thresholds[found.label]
    right, false = (kept & (match.outcome == kind) for kind in (TRUE, FALSE))
    correct = np.bincount(found.label[right], minlength=labels)
    drawn_on = _drawn_on(objects, found.take(false)) & ~(objects.difficult | objects.crowd)
    drawn_on[match.object[right]] = False
    wrong = np.bincount(objects.label[drawn_on], minlength=labels)
    missed = counted(objects, labels) - correct - wrong
    return OperatingPoint(thresholds, correct, wrong, missed, np.bincount(found.label[false], minlength=labels))


def best_thresholds(
    found: Found, outcome: Outcome, objects: NDArray[np.int64], *, default: float = 0.5
) -> NDArray[np.float32]:
    """(L,) the threshold with the best F1 of every label; `default` for one of which nothing is found.

    Of equal F1 the highest. It lies halfway between the last detection that is kept and the next one, or 0
    when all are kept, so that a score that comes out a little lower on another device still passes.
    """
    picked = np.full(len(objects), default, np.float32)
    for label, rows in enumerate(by_label(found, len(objects))):
        if (outcome[rows] == TRUE).any():
            picked[label] = _best_threshold(found.score[rows], outcome[rows], int(objects[label]))
    return picked


def _best_threshold(scores: NDArray[np.float32], outcome: Outcome, objects: int) -> np.float32:
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # equal scores are kept or dropped together
    right = np.cumsum(outcome == TRUE)[ends]
    kept = right + np.cumsum(outcome == FALSE)[ends]
    best = int(np.argmax(2 * right / (kept + objects)))  # F1 = 2 tp / (tp + fp + objects)
    last = scores[ends[best]]
    below = scores[ends[best + 1]] if best + 1 < len(ends) else min(np.float32(0), last)
    middle = np.float32((float(last) + float(below)) / 2)
    return middle if middle > below else last  # no float32 lies between neighbours


def _drawn_on(objects: Objects, found: Found) -> NDArray[np.bool_]:
    """(M,) the objects that some detection overlaps more than any other object, by .1 or more."""
    pairs = box_pairs(objects, found, floor=DRAWN_ON, across_labels=True)
    drawn_on = np.zeros(len(objects), np.bool_)
    drawn_on[best_pairs(pairs.take(~objects.crowd[pairs.object])).object] = True
    return drawn_on
