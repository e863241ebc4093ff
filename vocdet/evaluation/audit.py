"""Likely mistakes of annotations, from detections of models that were not trained on them.

The idea is that of ObjectLab (Tkachenko et al. 2023, arXiv:2309.00832): where a confident detection and the annotations
disagree, the annotations are doubted. How confident is calibrated on the annotations themselves (Platt 1999), most of
which are right: a label that the model often mistakes for another, or sees in the background, is doubted less. A
suspicion is one of

    missing   a detection that overlaps no object; its confidence is that it is correct, and not of the background
    label     an object that a detection of another label overlaps: that it is correct, and not of another label,
              less that of the detections of the object's own label
    box       an object whose best detection of its label does not fit: that this is correct, times (1 - IoU) squared

A detection that scores less than nearly all correct ones of its label gives none.
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
LEAST = 0.05  # confidence of a suspicion that is listed; share of the correct detections that score no more
STRICT = 2  # power of 1 - IoU: a box that is a bit off says nothing
ROUNDS = 25  # of Newton's method


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
    right: NDArray[np.bool_]  # (D,) whether it is correct
    doubted: NDArray[np.bool_]  # (M,) neither difficult nor a crowd


_Found = list[tuple[float, str, int, int]]  # confidence, kind, row of the detection, row of the object or -1


def find_mistakes(dataset: Dataset, detections: Sequence[Detections]) -> list[Suspicion]:
    """The likely mistakes in a dataset, those of each kind in turn; item i of `detections` belongs to image i.

    The most confident of a kind comes first. How often which kind occurs is unknown: in turn, the first ones are right
    more often than by confidence, which is not the same thing for a box and for a label.
    Difficult objects and crowds are not doubted, and nothing is missing where they are. One detection gives one
    suspicion at most, and so does one object.
    """
    compared = _compare(dataset, stack(detections, len(dataset.labels)))
    table = compared.table
    best = _best_of_objects(compared)
    kinds = (_wrong_labels(compared), _wrong_boxes(compared, best), _missing(compared, best))
    ranked = [enumerate(sorted(one, key=lambda found: -found[0])) for one in kinds]
    every = [found for _, found in sorted((one for kind in ranked for one in kind), key=lambda one: one[0])]
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
    return _Compared(dataset, table, near, same, sure, right, ~(objects.difficult | objects.crowd))


def _probability(of: _Compared, wrong: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(D,) how probably a detection of this label and score is correct, and not one of those that are `wrong` (D,).

    A logistic regression on the logit of the score, with a term for each label that is drawn to 0.
    """
    table, labels = of.table, len(of.dataset.labels)
    score = np.clip(table.score.astype(np.float64), 1e-3, 1 - 1e-3)
    inputs = np.stack([np.log(score / (1 - score)), np.ones(len(table))], axis=1)
    used = of.right | wrong
    x, label, target = inputs[used], table.label[used], of.right[used].astype(np.float64)
    weights = np.zeros(2 + labels)
    penalty = np.concatenate([[1e-3, 1e-3], np.ones(labels)])
    for _ in range(ROUNDS):
        p = 1 / (1 + np.exp(-(x @ weights[:2] + weights[2:][label])))
        slack, steep = p - target, p * (1 - p)
        gradient = np.concatenate([x.T @ slack, np.bincount(label, slack, labels)]) + penalty * weights
        across = np.stack([np.bincount(label, steep * x[:, k], labels) for k in range(2)])  # (2, L)
        corner, diagonal = (x * steep[:, None]).T @ x, np.bincount(label, steep, labels)
        hessian = np.block([[corner, across], [across.T, np.diag(diagonal)]]) + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        weights -= np.clip(step, -3, 3)
        if np.abs(step).max() < 1e-6:
            break
    slope = max(float(weights[0]), 1e-3)  # more score is never less probable
    return np.asarray(1 / (1 + np.exp(-(inputs[:, 0] * slope + weights[1] + weights[2:][table.label]))))


def _listed(of: _Compared, confidence: NDArray[np.float64], kind: str, pairs: OverlapPairs) -> _Found:
    rows = zip(confidence.tolist(), pairs.detection.tolist(), pairs.object.tolist(), strict=True)
    return [(one, kind, row, thing) for one, row, thing in rows if one >= LEAST and of.sure[row] >= LEAST]


def _wrong_labels(of: _Compared) -> _Found:
    close = (of.near.overlap >= SAME) & of.doubted[of.near.object]
    own, other = of.near.take(close & of.same), of.near.take(close & ~of.same)
    wrong = np.zeros(len(of.table), np.bool_)
    wrong[other.detection] = True
    probable = _probability(of, wrong & ~of.right)
    support = np.zeros(len(of.dataset.objects))
    np.maximum.at(support, own.object, probable[own.detection])
    return _listed(of, probable[other.detection] - support[other.object], "label", other)


def _best_of_objects(of: _Compared) -> OverlapPairs:
    """Of the detections that fit no other object of their label better, the one that fits each object best."""
    best = best_pairs(of.near.take(of.same))
    best = best.take(of.doubted[best.object])
    best = best.take(np.lexsort((-best.overlap, best.object)))
    return best.take(np.unique(best.object, return_index=True)[1])


def _wrong_boxes(of: _Compared, best: OverlapPairs) -> _Found:
    probable = _probability(of, ~of.right)
    return _listed(of, probable[best.detection] * (1 - best.overlap) ** STRICT, "box", best)


def _missing(of: _Compared, best: OverlapPairs) -> _Found:
    """Of detections that overlap each other, the most probable one; none that speaks for the box of an object."""
    taken = np.zeros(len(of.table), np.bool_)
    taken[of.near.detection[of.near.overlap >= APART]] = True
    probable = _probability(of, ~taken & ~of.right)
    taken[best.detection] = True
    free = np.flatnonzero(~taken & (of.sure >= LEAST))
    kept: dict[int, list[int]] = {}
    found: _Found = []
    for row in free[np.argsort(-probable[free], kind="stable")].tolist():
        others = kept.setdefault(int(of.table.image[row]), [])
        if not others or box_ious(of.table.box[[row]], of.table.box[others]).max() < APART:
            others.append(row)
            found.append((float(probable[row]), "missing", row, -1))
    return found
