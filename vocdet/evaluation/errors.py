"""Errors, and the average precision that curing each kind would give, as TIDE defines them (Bolya et al. 2020).

Of the best 100 detections of an image, every one that matches no object of its label by an IoU of .5 is one of

    box          an object of its label overlaps it by .1 to .5
    label        an object of another label overlaps it by at least .5
    duplicate    an object of its label does, and a detection with a higher score has it
    background   no object overlaps it by more than .1
    both         anything else: label and box are wrong

and an object that no detection has, nor would have if its label or box were right, is missed. Curing an error of
label or box makes the detection correct, if it is the best one for its object; else, and for the other kinds, it is
deleted. Curing a missed object takes it from the objects. A label counts if it has objects or detections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset, Objects
from vocdet.evaluation.matching import DetectionTable, OverlapPairs, best_pairs, box_pairs, place_in_run, rounds

KINDS = ("label", "box", "both", "duplicate", "background", "missed")
CORRECT, LABEL, BOX, BOTH, DUPLICATE, BACKGROUND, UNCOUNTED = range(7)  # of a detection
ERROR_NAMES = {
    "label": "wrong label", "box": "bad box", "both": "wrong label and box", "duplicate": "duplicate",
    "background": "background", "missed": "missed object",
}  # fmt: skip
KIND_NAMES = ("correct", "wrong label", "bad box", "wrong label and box", "duplicate", "background", "not counted")
MOST = 100  # detections of an image
NEAR, FAR = 0.5, 0.1  # IoU
_POINTS = np.arange(101) / 100


Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The K detections that count once a kind of error is cured, by label, best score first, and the objects then."""

    detection: Rows  # (K,)
    true: Flags  # (K,)
    label: Rows  # (K,) which can be another one than the detection's
    objects: Rows  # rows of objects


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """The kind of every detection, the missed objects, and what curing each kind of error would give."""

    kind: NDArray[np.int8]  # (D,) `CORRECT` to `UNCOUNTED`
    object: NDArray[np.int64]  # (D,) row of the object that it has, or is an error of; -1: none
    missed: NDArray[np.int64]  # rows of objects
    ap50: float | None  # mean of the labels, as TIDE computes it; None: nothing to compare
    costs: dict[str, float]  # by kind, as in `KINDS`, highest first: AP50 that curing all of them would add
    false_positives: float  # AP50 that putting every error below all correct detections would add
    false_negatives: float  # AP50 that taking all undetected objects away would add
    rankings: dict[str, Ranking]  # by the kind of error that is cured; "": none is

    def counts(self) -> dict[str, int]:
        """The number of errors of each kind, in the order of `costs`."""
        return {
            name: len(self.missed) if name == "missed" else int((self.kind == 1 + KINDS.index(name)).sum())
            for name in self.costs
        }


def find_errors(dataset: Dataset, detections: DetectionTable) -> Errors:
    """The errors of the detections of boxes in a dataset."""
    objects = dataset.objects
    ignored = objects.difficult | objects.crowd
    order = np.lexsort((-detections.score, detections.image))  # stable
    order = order[place_in_run(detections.image[order]) < MOST]
    rows, things = np.sort(order), np.flatnonzero(~ignored)
    counted = detections.take(rows)
    near = box_pairs(objects.take(things), counted, floor=FAR, across_labels=True)
    near = OverlapPairs(rows[near.detection], things[near.object], near.overlap)
    same = detections.label[near.detection] == objects.label[near.object]
    owner = _owners(near.take(same & (near.overlap >= NEAR)), detections, len(objects))
    found = _kinds(near, same, owner, order, len(objects))
    regions = box_pairs(objects.take(ignored), counted, floor=NEAR)
    found.ignored[rows[regions.detection[regions.overlap > NEAR]]] = True
    return _with_costs(found, objects, detections, len(dataset.labels), ignored)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    order: NDArray[np.int64]  # the counted detections, image by image, best score first
    kind: NDArray[np.int8]  # (D,)
    object: NDArray[np.int64]  # (D,)
    ignored: NDArray[np.bool_]  # (D,) in an ignored region: no error unless cured
    cured: NDArray[np.bool_]  # (D,) becomes correct if its label or box is cured
    used: NDArray[np.bool_]  # (M,)
    usable: NDArray[np.bool_]  # (M,) some detection would have it if its label or box were right


def _owners(pairs: OverlapPairs, detections: DetectionTable, objects: int) -> NDArray[np.int64]:
    """(D,) the object of every correct detection, else -1: the free one that it overlaps most, the first of equals."""
    owner, taken = np.full(len(detections), -1), np.zeros(objects, np.bool_)
    for step in rounds(pairs, detections, np.lexsort((pairs.object, -pairs.overlap, pairs.detection))):
        free = step.take(~taken[step.object])
        free = free.take(np.unique(free.detection, return_index=True)[1])
        owner[free.detection] = free.object
        taken[free.object] = True
    return owner


def _kinds(
    near: OverlapPairs, same: NDArray[np.bool_], owner: NDArray[np.int64], order: NDArray[np.int64], objects: int
) -> _Found:
    """The kind and the object of every detection, from pairs of any label that overlap by at least `FAR`."""
    right = owner >= 0
    used, usable = np.zeros(objects, np.bool_), np.zeros(objects, np.bool_)
    used[owner[right]] = True
    (best, own), (best_other, other), (best_taken, taken), (best_any, _) = (
        _best(near.take(keep), len(owner)) for keep in (same, ~same, same & used[near.object], same | ~same)
    )
    kind = np.full(len(owner), UNCOUNTED, np.int8)
    kinds = [BOX, LABEL, DUPLICATE, BACKGROUND]
    tests = [(best >= FAR) & (best <= NEAR), best_other >= NEAR, best_taken >= NEAR, best_any <= FAR]
    kind[order] = np.select(tests, kinds, BOTH)[order]
    kind[right] = CORRECT
    target = np.select([right, kind == BOX, kind == LABEL, kind == DUPLICATE], [owner, own, other, taken], -1)
    curable = order[(kind[order] == BOX) | (kind[order] == LABEL)]
    curable = curable[~used[target[curable]]]
    cured = np.zeros(len(owner), np.bool_)
    cured[curable[np.unique(target[curable], return_index=True)[1]]] = True  # the first one scores best
    usable[target[curable]] = True
    return _Found(order, kind, target, np.zeros(len(owner), np.bool_), cured, used, usable)


def _best(pairs: OverlapPairs, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(D,) the largest overlap of every detection, 0 without one, and its object."""
    overlap, partner = np.zeros(count), np.full(count, -1)
    best = best_pairs(pairs)
    overlap[best.detection], partner[best.detection] = best.overlap, best.object
    return overlap, partner


def _with_costs(
    found: _Found, objects: Objects, detections: DetectionTable, labels: int, ignored: NDArray[np.bool_]
) -> Errors:
    order = found.order
    kind, right = found.kind[order], found.kind[order] == CORRECT
    label, score = detections.label[order], detections.score[order].astype(np.float64)
    missed = np.flatnonzero(~found.used & ~ignored & ~found.usable)
    shown = right | ~found.ignored[order]
    ranked = np.lexsort((right, -score, label))  # of equal scores, TIDE puts the correct ones last

    def ranked_as(rows: Rows, keep: Flags, true: Flags, of: Rows, objects: Rows) -> Ranking:
        rows = rows[keep[rows]]
        return Ranking(order[rows], true[rows], of[rows], objects)

    wanted = np.flatnonzero(~ignored)
    rankings = {"": ranked_as(np.lexsort((-score, label)), shown, right, label, wanted)}
    for number, name in enumerate(KINDS[:-1], 1):
        mine = kind == number
        cured = mine & found.cured[order]
        target, rows = label, ranked
        if number == LABEL and cured.any():
            target = label.copy()
            target[cured] = objects.label[found.object[order[cured]]]
            rows = np.lexsort((right, -score, target))
        rankings[name] = ranked_as(rows, (shown & ~mine) | cured, right | cured, target, wanted)
    rankings["missed"] = ranked_as(ranked, shown, right, label, np.setdiff1d(wanted, missed))
    rankings["positives"] = ranked_as(np.lexsort((~right, label)), shown, right, label, wanted)
    rankings["negatives"] = ranked_as(ranked, shown, right, label, found.object[order[right]])
    values = {name: _mean_ap(one, objects.label, labels) for name, one in rankings.items()}
    ap, *gains, positives, negatives = (value - values[""] * (name != "") for name, value in values.items())
    costs = {name: max(gain, 0.0) for name, gain in zip(KINDS, gains, strict=True)}
    costs = dict(sorted(costs.items(), key=lambda item: -item[1]))
    return Errors(found.kind, found.object, missed, ap if labels else None, costs, positives, negatives, rankings)


def _mean_ap(ranking: Ranking, label: NDArray[np.integer[Any]], labels: int) -> float:
    """The mean over the labels that have objects or detections; `label` (M,) is that of every object."""
    count = np.bincount(label[ranking.objects], minlength=labels)
    spans = np.split(ranking.true, np.searchsorted(ranking.label, np.arange(1, labels)))
    values = [_average_precision(one, n) for one, n in zip(spans, count.tolist(), strict=False) if len(one) or n]
    return float(np.mean(values)) if values else 0.0


def _average_precision(true: NDArray[np.bool_], objects: int) -> float:
    """The mean of 101 precisions; 0 without objects."""
    if not objects or not len(true):
        return 0.0
    right = np.cumsum(true)
    precision = right / np.arange(1, len(true) + 1)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(precision[np.searchsorted(right / objects, _POINTS)].mean())
