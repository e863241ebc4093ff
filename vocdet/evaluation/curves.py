"""Precision, recall and F1 of a label at every score threshold, and the threshold for what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.evaluation.matching import FALSE, TRUE, DetectionTable, Outcome
from vocdet.evaluation.precision import by_label


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a threshold has to bring; both None: the best F1."""

    precision: float | None = None  # at least; of such thresholds, the one with the highest recall
    recall: float | None = None  # at least; of such thresholds, the one with the highest precision

    def __str__(self) -> str:
        wanted = (("precision", self.precision), ("recall", self.recall))
        return ", ".join(f"{name} {value:g}" for name, value in wanted if value is not None) or "f1"


BEST_F1 = Wanted()


@dataclass(frozen=True, slots=True, eq=False)
class LabelCurve:
    """Counts of a label's detections from each of its scores on, at IoU .5; equal scores are one row.

    Ignored detections (of difficult objects and in crowds) are not counted.
    """

    label: str
    objects: int  # neither difficult nor a crowd
    scores: NDArray[np.float32]  # (K,) falling
    correct: NDArray[np.int64]  # (K,) detections of at least that score that match an object
    false: NDArray[np.int64]  # (K,) the other ones

    @property
    def precision(self) -> NDArray[np.float64]:
        """(K,) the share of the detections that are correct; 1 without detections."""
        kept = self.correct + self.false
        return np.asarray(np.divide(self.correct, kept, out=np.ones(len(kept)), where=kept > 0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """(K,) the share of the objects that are detected; 0 without objects."""
        return self.correct / max(self.objects, 1)

    @property
    def f1(self) -> NDArray[np.float64]:
        """(K,) the harmonic mean of precision and recall."""
        return np.asarray(2 * self.correct / np.maximum(self.correct + self.false + self.objects, 1))

    def at(self, threshold: float) -> tuple[int, int]:
        """The correct and the false detections that score at least `threshold`."""
        count = int(np.count_nonzero(self.scores >= np.float32(threshold)))
        return (int(self.correct[count - 1]), int(self.false[count - 1])) if count else (0, 0)

    def threshold(self, wanted: Wanted = BEST_F1) -> float | None:
        """The score threshold for what is wanted, the highest of equals; None if no threshold brings it.

        It is halfway between the last score above it and the next one (0 after the last), so that slightly lower scores
        on another device still pass.
        """
        enough = self.correct > 0
        for values, least in ((self.precision, wanted.precision), (self.recall, wanted.recall)):
            enough &= values >= (0 if least is None else least - 1e-9)
        if not enough.any():
            return None
        both = (wanted.precision is None) == (wanted.recall is None)
        goal = self.f1 if both else self.recall if wanted.precision is not None else self.precision
        place = int(np.argmax(np.where(enough, goal, -1)))
        last = self.scores[place]
        below = self.scores[place + 1] if place + 1 < len(self.scores) else min(np.float32(0), last)
        middle = np.float32((float(last) + float(below)) / 2)
        return float(middle if middle > below else last)  # adjacent float32 have no middle


def label_curves(
    labels: Sequence[str], detections: DetectionTable, outcome: Outcome, objects: NDArray[np.int64]
) -> tuple[LabelCurve, ...]:
    """The curve of every label, from outcomes (D,) and the number of objects (L,)."""
    curves: list[LabelCurve] = []
    for label, rows in zip(labels, by_label(detections, len(labels)), strict=True):
        rows = rows[(outcome[rows] == TRUE) | (outcome[rows] == FALSE)]
        scores, right = detections.score[rows], outcome[rows] == TRUE
        ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])
        correct = np.cumsum(right)[ends]
        curves.append(LabelCurve(label, int(objects[len(curves)]), scores[ends], correct, ends + 1 - correct))
    return tuple(curves)


@dataclass(frozen=True, slots=True)
class Reliability:
    """The detections in an interval of scores: calibrated if the share that is correct is the mean score."""

    low: float
    high: float
    detections: int
    score: float | None  # their mean; None: no detections
    correct: float | None  # share of them


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far scores can be read as probabilities, for detections of all labels at IoU .5.

    `error` is the expected calibration error (Guo et al. 2017, over the intervals of `bins`): the mean distance of
    score and share of correct detections, weighted by detections. `points` is the rising line that fits best (isotonic
    regression): scores, and the share of detections of that score that are correct.
    """

    bins: tuple[Reliability, ...]
    error: float | None  # None: without detections
    points: tuple[tuple[float, float], ...]

    def probability(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """The share of detections with these scores that are correct; NaN if it is unknown."""
        if not self.points:
            return np.full(len(scores), np.nan)
        return np.asarray(np.interp(scores, *np.transpose(self.points)))


def score_bins(scores: NDArray[np.float32], bins: int) -> NDArray[np.int64]:
    """(D,) the interval that each score is in, of `bins` equal ones from 0 to 1."""
    return np.asarray(np.clip((scores.astype(np.float64) * bins).astype(np.int64), 0, bins - 1))


def calibration(scores: NDArray[np.float32], right: NDArray[np.bool_], *, bins: int = 10) -> Calibration:
    """The calibration of detections (D,), of which those of `right` are correct; scores are from 0 to 1."""
    place = score_bins(scores, bins)
    count, score, share = (np.bincount(place, weight, bins) for weight in (None, scores, right))
    rows = tuple(
        Reliability(
            k / bins, (k + 1) / bins, int(n), float(score[k] / n) if n else None, float(share[k] / n) if n else None
        )
        for k, n in enumerate(count)
    )
    error = float(np.abs(score - share).sum() / len(scores)) if len(scores) else None
    return Calibration(rows, error, _rising(scores, right) if len(scores) else ())


def _rising(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """The corners of the isotonic regression of `right` on scores: adjacent groups that fall are pooled."""
    values, group, counts = np.unique(scores.astype(np.float64), return_inverse=True, return_counts=True)
    hits = np.bincount(group, right)
    pooled: list[tuple[float, int, int, int]] = []  # correct, detections, first and last score
    for i, (right_here, count) in enumerate(zip(hits.tolist(), counts.tolist(), strict=True)):
        correct, all_here, first = right_here, count, i
        while pooled and pooled[-1][0] * all_here >= correct * pooled[-1][1]:
            before, others, first, _ = pooled.pop()
            correct, all_here = correct + before, all_here + others
        pooled.append((correct, all_here, first, i))
    corners = ((values[end], correct / count) for correct, count, *ends in pooled for end in ends)
    return tuple(dict.fromkeys((round(float(x), 4), round(y, 4)) for x, y in corners))
