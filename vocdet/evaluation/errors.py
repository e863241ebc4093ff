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

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes, area
from vocdet.data.dataset import Dataset, Objects
from vocdet.evaluation.matching import DetectionTable

KINDS = ("label", "box", "both", "duplicate", "background", "missed")
CORRECT, LABEL, BOX, BOTH, DUPLICATE, BACKGROUND, UNCOUNTED = range(7)  # of a detection
KIND_NAMES = ("correct", "wrong label", "bad box", "label and box", "duplicate", "background", "not counted")
MOST = 100  # detections of an image
NEAR, FAR = 0.5, 0.1  # IoU
_POINTS = np.arange(101) / 100


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
    found = _Found(
        np.full(len(detections), UNCOUNTED, np.int8), np.full(len(detections), -1), np.zeros(len(detections), np.bool_),
        np.zeros(len(detections), np.bool_), np.zeros(len(objects), np.bool_), np.zeros(len(objects), np.bool_), [],
    )  # fmt: skip
    for rows, things in _images(len(dataset), objects, detections):
        _match_image(rows, things[~ignored[things]], things[ignored[things]], objects, detections, found)
    return _with_costs(found, objects, detections, len(dataset.labels), ignored)


@dataclass(slots=True)
class _Found:
    kind: NDArray[np.int8]
    object: NDArray[np.int64]
    ignored: NDArray[np.bool_]  # (D,) in an ignored region: no error unless cured
    cured: NDArray[np.bool_]  # (D,) becomes correct if its label or box is cured
    used: NDArray[np.bool_]  # (M,)
    usable: NDArray[np.bool_]  # (M,) some detection would have it if its label or box were right
    order: list[NDArray[np.int64]]  # of the counted detections, image by image, best score first


def _images(
    count: int, objects: Objects, detections: DetectionTable
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The counted detections, best score first, and the objects of each image."""
    images = np.arange(count + 1)
    first, other = np.searchsorted(detections.image, images), np.searchsorted(objects.image, images)
    for image in range(count):
        rows = np.arange(first[image], first[image + 1])
        rows = rows[np.argsort(-detections.score[rows], kind="stable")][:MOST]
        yield rows, np.arange(other[image], other[image + 1])


def _match_image(
    rows: NDArray[np.int64],
    things: NDArray[np.int64],
    regions: NDArray[np.int64],
    objects: Objects,
    detections: DetectionTable,
    found: _Found,
) -> None:
    if not len(rows):
        return
    found.order.append(rows)
    found.kind[rows] = BACKGROUND
    label = detections.label[rows]
    iou = _ious(detections.box[rows], objects.box[things])
    same = label[:, None] == objects.label[things]
    own = iou * same
    if len(things):
        free = own.copy()
        for i in np.flatnonzero((own >= NEAR).any(axis=1)).tolist():
            j = int(np.argmax(free[i]))
            if free[i, j] >= NEAR:
                found.kind[rows[i]], found.object[rows[i]] = CORRECT, things[j]
                free[:, j] = 0
        found.used[found.object[rows[found.kind[rows] == CORRECT]]] = True
    inside = _ious(detections.box[rows], objects.box[regions], objects.crowd[regions]) > NEAR
    inside &= label[:, None] == objects.label[regions]
    wrong = found.kind[rows] != CORRECT
    found.ignored[rows] = wrong & inside.any(axis=1)
    if len(things):
        _name_errors(rows, things, iou, own, same, wrong, found)


def _name_errors(
    rows: NDArray[np.int64],
    things: NDArray[np.int64],
    iou: NDArray[np.float64],
    own: NDArray[np.float64],
    same: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    found: _Found,
) -> None:
    used = found.used[things]
    other, taken = iou * ~same, own * used
    best, best_other = own.max(axis=1), other.max(axis=1)
    kind = np.select(
        [(best >= FAR) & (best <= NEAR), best_other >= NEAR, taken.max(axis=1) >= NEAR, iou.max(axis=1) <= FAR],
        [BOX, LABEL, DUPLICATE, BACKGROUND],
        BOTH,
    )
    target = np.select([kind == BOX, kind == LABEL, kind == DUPLICATE],
                       [own.argmax(axis=1), other.argmax(axis=1), taken.argmax(axis=1)], -1)  # fmt: skip
    found.kind[rows[wrong]] = kind[wrong]
    has = wrong & (target >= 0)
    found.object[rows[has]] = things[target[has]]
    for i in np.flatnonzero(wrong & ((kind == BOX) | (kind == LABEL))).tolist():
        thing = things[target[i]]
        if not used[target[i]] and not found.usable[thing]:  # the first one scores best
            found.usable[thing] = found.cured[rows[i]] = True


def _ious(a: Boxes, b: Boxes, crowd: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """(N, M) IoU of boxes; for a crowd the share of `a` inside `b`."""
    size = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    inter = np.prod(np.maximum(size, 0), axis=2)
    whole = area(a)[:, None] + area(b) - inter
    if crowd is not None:
        whole = np.where(crowd, area(a)[:, None], whole)
    return np.asarray(np.divide(inter, whole, out=np.zeros_like(inter), where=whole > 0))


def _with_costs(
    found: _Found, objects: Objects, detections: DetectionTable, labels: int, ignored: NDArray[np.bool_]
) -> Errors:
    order = np.concatenate([np.empty(0, np.int64), *found.order])
    kind, right = found.kind[order], found.kind[order] == CORRECT
    label, score = detections.label[order], detections.score[order].astype(np.float64)
    wanted = objects.label[~ignored]
    missed = np.flatnonzero(~found.used & ~ignored & ~found.usable)
    count = np.bincount(wanted, minlength=labels)
    shown = right | ~found.ignored[order]
    place = np.where(right, 1, 0)  # of equal scores, TIDE puts cured detections and errors before the correct ones

    def mean_ap(
        keep: NDArray[np.bool_], true: NDArray[np.bool_], of: NDArray[np.int64], by: NDArray[np.float64],
        objects: NDArray[np.int64], *, original: bool = False,
    ) -> float:  # fmt: skip
        rows = np.flatnonzero(keep)
        rows = rows if original else rows[np.argsort(place[rows], kind="stable")]
        values = []
        for one in range(labels):
            mine = rows[of[rows] == one]
            if len(mine) or objects[one]:
                mine = mine[np.argsort(-by[mine], kind="stable")]
                values.append(_average_precision(true[mine], int(objects[one])))
        return float(np.mean(values)) if values else 0.0

    ap = mean_ap(shown, right, label, score, count, original=True)
    costs = {}
    for number, name in enumerate(KINDS, 1):
        mine = kind == number
        cured = mine & found.cured[order]
        true, keep, target = right | cured, (shown & ~mine) | cured, label.copy()
        if number == LABEL:
            target[cured] = objects.label[found.object[order[cured]]]
        left = count - np.bincount(objects.label[missed], minlength=labels) if name == "missed" else count
        keep = shown if name == "missed" else keep
        true = right if name == "missed" else true
        costs[name] = max(mean_ap(keep, true, target, score, left) - ap, 0.0)
    detected = np.bincount(label[right], minlength=labels)
    positives = mean_ap(shown, right, label, right.astype(np.float64), count) - ap
    negatives = mean_ap(shown, right, label, score, detected) - ap
    ranked = dict(sorted(costs.items(), key=lambda item: -item[1]))
    return Errors(found.kind, found.object, missed, ap if labels else None, ranked, positives, negatives)


def _average_precision(true: NDArray[np.bool_], objects: int) -> float:
    """The mean of 101 precisions; 0 without objects."""
    if not objects or not len(true):
        return 0.0
    right = np.cumsum(true)
    precision = right / np.arange(1, len(true) + 1)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(precision[np.searchsorted(right / objects, _POINTS)].mean())
