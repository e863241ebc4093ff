"""Likely mistakes of annotations, from detections of models that were not trained on them.

The idea is that of ObjectLab (Tkachenko et al. 2023, arXiv:2309.00832): where a confident detection and the annotations
disagree, the annotations are doubted. A detection is as sure as the share of the correct detections of its label that
score no more, so that neither labels nor models need calibrated scores. A suspicion is one of

    missing   a sure detection that overlaps no object
    label     an object that a detection of another label overlaps, which is surer than those of its own
    box       an object whose own sure detection fits worse than those of nearly all others of its label
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import box_ious
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.evaluation.matching import TRUE, DetectionTable, OverlapPairs, best_pairs, box_pairs, match_voc, stack

SAME = 0.5  # IoU of a detection with its object
APART = 0.3  # IoU below which a detection belongs to no object
NEAR = 0.1  # IoU from which a detection may be of an object whose box is wrong
LEAST = 0.05  # confidence of a suspicion that is listed
STRICT = 4  # power of the share of fits that are better: one that is a bit worse than usual says nothing


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A likely mistake, and what the detection says instead."""

    kind: str  # missing, label or box
    confidence: float  # in [0, 1]
    image: int  # row
    object: int  # row; -1: missing
    label: int  # of the detection
    box: tuple[float, float, float, float]  # of the detection
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """Detections and objects, and how they fit."""

    dataset: Dataset
    table: DetectionTable
    near: OverlapPairs  # of any labels
    same: NDArray[np.bool_]  # (P,) whether the labels of a pair are the same
    sure: NDArray[np.float64]  # (D,) share of the correct detections of the label that score no more; below 1
    fit: NDArray[np.float64]  # (D,) IoU of a correct detection with its object; NaN: it is not correct
    doubted: NDArray[np.bool_]  # (M,) neither difficult nor a crowd


_Found = list[tuple[float, str, int, int]]  # confidence, kind, row of the detection, row of the object or -1


def find_mistakes(dataset: Dataset, detections: Sequence[Detections]) -> list[Suspicion]:
    """The likely mistakes in a dataset, the most confident first; item i of `detections` belongs to image i.

    Difficult objects and crowds are not doubted, and nothing is missing where they are. One detection gives one
    suspicion at most, and so does one object.
    """
    compared = _compare(dataset, stack(detections, len(dataset.labels)))
    table = compared.table
    every = sorted([*_wrong_labels(compared), *_wrong_boxes(compared), *_missing(compared)], key=lambda one: -one[0])
    found: list[Suspicion] = []
    used: set[tuple[bool, int]] = set()
    for confidence, kind, row, thing in every:
        keys = {(True, row), *([(False, thing)] if thing >= 0 else [])}
        if confidence < LEAST or used & keys:
            continue
        used |= keys
        xmin, ymin, xmax, ymax = table.box[row].tolist()
        score = float(str(table.score[row]))
        found.append(
            Suspicion(kind, round(confidence, 4), int(table.image[row]), thing, int(table.label[row]),
                      (xmin, ymin, xmax, ymax), score)
        )  # fmt: skip
    return found


def _compare(dataset: Dataset, table: DetectionTable) -> _Compared:
    objects = dataset.objects
    near = box_pairs(objects, table, floor=NEAR, across_labels=True)
    same = np.asarray(objects.label[near.object] == table.label[near.detection])
    match = match_voc(near.take(same), objects, len(table), SAME)
    right = match.outcome == TRUE
    sure = np.zeros(len(table))
    for label in range(len(dataset.labels)):
        mine = table.label == label
        correct = np.sort(table.score[mine & right])
        if len(correct):
            sure[mine] = np.searchsorted(correct, table.score[mine], "right") / (len(correct) + 1)
    fit = np.full(len(table), np.nan)
    own = right[near.detection] & (match.object[near.detection] == near.object)
    fit[near.detection[own]] = near.overlap[own]
    return _Compared(dataset, table, near, same, sure, fit, ~(objects.difficult | objects.crowd))


def _listed(confidence: NDArray[np.float64], kind: str, pairs: OverlapPairs) -> _Found:
    rows = zip(confidence.tolist(), pairs.detection.tolist(), pairs.object.tolist(), strict=True)
    return [(one, kind, row, thing) for one, row, thing in rows if one >= LEAST]


def _wrong_labels(of: _Compared) -> _Found:
    close = (of.near.overlap >= SAME) & of.doubted[of.near.object]
    own, other = of.near.take(close & of.same), of.near.take(close & ~of.same)
    support = np.zeros(len(of.dataset.objects))
    np.maximum.at(support, own.object, of.sure[own.detection])
    return _listed(of.sure[other.detection] - support[other.object], "label", other)


def _wrong_boxes(of: _Compared) -> _Found:
    """Of the detections that fit no other object better, the one that fits an object best speaks for its box."""
    best = best_pairs(of.near.take(of.same))
    best = best.take(of.doubted[best.object])
    best = best.take(np.lexsort((-best.overlap, best.object)))
    best = best.take(np.unique(best.object, return_index=True)[1])
    found: _Found = []
    for label in range(len(of.dataset.labels)):
        typical = np.sort(of.fit[(of.table.label == label) & ~np.isnan(of.fit)])
        mine = best.take(of.table.label[best.detection] == label)
        if len(typical):
            better = 1 - np.searchsorted(typical, mine.overlap, "right") / len(typical)
            found += _listed(of.sure[mine.detection] * better**STRICT, "box", mine)
    return found


def _missing(of: _Compared) -> _Found:
    """Of detections that overlap each other, the surest."""
    taken = np.zeros(len(of.table), np.bool_)
    taken[of.near.detection[of.near.overlap >= APART]] = True
    free = np.flatnonzero(~taken & (of.sure >= LEAST))
    kept: dict[int, list[int]] = {}
    found: _Found = []
    for row in free[np.argsort(-of.sure[free], kind="stable")].tolist():
        others = kept.setdefault(int(of.table.image[row]), [])
        if not others or box_ious(of.table.box[[row]], of.table.box[others]).max() < APART:
            others.append(row)
            found.append((float(of.sure[row]), "missing", row, -1))
    return found
