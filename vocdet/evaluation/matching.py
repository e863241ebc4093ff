"""Which detection found which object.

Both protocols match inside one image and one label, best score first. They differ in the rest:

    PASCAL VOC   a detection belongs to the object it overlaps most; when that one is taken, it is false
    COCO         a detection takes the free object it overlaps most; an ignored one only when no other is left

Both start from the same list of `Pairs`. Boxes make them here, masks in `mask_pairs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Objects
from vocdet.data.detections import Detections
from vocdet.data.texts import Texts

FALSE, TRUE, IGNORED = 0, 1, 2  # what became of a detection
Outcome = NDArray[np.int8]  # (..., D) of these three

_PAIRS_AT_ONCE = 500_000  # some 100 MB of temporary arrays


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The detections of many images as columns: by image, then label, then best score first.

    Equal scores stay in the order in which they were given.
    """

    image: NDArray[np.int64]  # (D,) never decreasing
    label: NDArray[np.int64]  # (D,)
    box: Boxes  # (D, 4)
    score: NDArray[np.float32]  # (D,)
    rank: NDArray[np.int64]  # (D,) from 0, among those of the same image and label
    mask: Texts | None = None  # D of them, as `Detections.masks`; None: the model has no masks

    def __len__(self) -> int:
        return len(self.score)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Found:
        """The detections of these rows (a mask, or indices), with the ranks they had."""
        mask = None if self.mask is None else self.mask.take(keep)
        return Found(self.image[keep], self.label[keep], self.box[keep], self.score[keep], self.rank[keep], mask)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Detections and objects that overlap; ordered by detection, then object.

    The overlap is IoU, but for a crowd region it is the share of the detection that lies inside.
    """

    found: NDArray[np.int64]  # (P,) row of the detections
    object: NDArray[np.int64]  # (P,) row of the objects
    overlap: NDArray[np.float64]  # (P,)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """The pairs of these rows (a mask, or indices)."""
        return Pairs(self.found[keep], self.object[keep], self.overlap[keep])


@dataclass(frozen=True, slots=True, eq=False)
class VocMatch:
    """What VOC's rules make of every detection."""

    outcome: Outcome  # (D,)
    object: NDArray[np.int64]  # (D,) row of the object it belongs to; -1: none


def stack(found: Sequence[Detections], labels: int) -> Found:
    """The detections of all images in one table.

    ValueError for a label that is none of `labels`, a NaN score, or masks in some of the images only.
    """
    image = np.repeat(np.arange(len(found)), [len(one) for one in found])
    label = np.concatenate([one.labels for one in found] or [np.empty(0, np.int64)])
    score = np.concatenate([one.scores for one in found] or [np.empty(0, np.float32)])
    box = np.concatenate([one.boxes for one in found] or [np.empty((0, 4))])
    if len(label) and not (label.min() >= 0 and label.max() < labels):
        raise ValueError(f"a detection has label {label.min()}..{label.max()} of {labels} labels")
    if not (np.isfinite(score).all() and np.isfinite(box).all()):
        raise ValueError("a score or a box of a detection is not finite")
    order = np.lexsort((-score, label, image))
    image, label = image[order], label[order]
    columns = [one.masks for one in found if one.masks is not None]
    if len(columns) not in (0, len(found)):
        raise ValueError(f"detections of {len(columns)} of {len(found)} images have masks")
    mask = Texts.join(columns).take(order) if columns else None
    return Found(image, label, box[order], score[order], _place_in_run(image * labels + label), mask)


def box_pairs(
    objects: Objects, found: Found, *, floor: float, inclusive: bool = False, across_labels: bool = False
) -> Pairs:
    """The pairs of one image and one label that overlap by at least `floor` (> 0).

    A width is xmax - xmin, as boxes are half-open here. The devkit computes xmax - xmin + 1 from its
    1-based inclusive numbers, which is the same width once such a file is read as what it is. `inclusive`
    adds the 1 again, for numbers taken raw from a file. `across_labels` pairs whatever is in one image.
    """
    span = 0 if across_labels else 1 + int(max(objects.label.max(initial=0), found.label.max(initial=0)))
    of_object = objects.image.astype(np.int64) * span + objects.label if span else objects.image.astype(np.int64)
    of_found = found.image * span + found.label if span else found.image
    order = np.argsort(of_object, kind="stable")
    first = np.searchsorted(of_object[order], of_found, "left")
    count = np.searchsorted(of_object[order], of_found, "right") - first
    parts = [Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for row in _chunks(count):
        place = _place_in_run(row)  # 0, 1, .. among the pairs of one detection
        partner = order[first[row] + place]
        overlap = _overlap(found.box[row], objects.box[partner], objects.crowd[partner], float(inclusive))
        parts.append(Pairs(row, partner, overlap).take(overlap >= floor))
    columns = ([getattr(part, name) for part in parts] for name in ("found", "object", "overlap"))
    return Pairs(*(np.concatenate(column) for column in columns))


def match_voc(pairs: Pairs, objects: Objects, count: int, iou: float) -> VocMatch:
    """What VOC's rules make of `count` detections, for pairs down to an overlap of `iou` or less.

    A detection belongs to the object it overlaps most, the first of equals; it is true when that overlap is
    at least `iou` and no better one has the object. One that belongs to a difficult object is ignored, and so
    is one that belongs to no object but lies in a crowd region, which VOC does not know.
    """
    outcome = np.full(count, FALSE, np.int8)
    owner = np.full(count, -1)
    near = pairs.take(pairs.overlap >= iou)
    in_crowd = objects.crowd[near.object]
    outcome[near.found[in_crowd]] = IGNORED
    own = best_pairs(near.take(~in_crowd))
    owner[own.found] = own.object
    difficult = objects.difficult[own.object]
    outcome[own.found] = np.where(difficult, IGNORED, FALSE)
    own = own.take(~difficult)
    _, first = np.unique(own.object, return_index=True)  # the best score, as rows are in that order
    outcome[own.found[first]] = TRUE
    return VocMatch(outcome, owner)


def best_pairs(pairs: Pairs) -> Pairs:
    """The pair of every detection with the largest overlap, the first of equals."""
    pairs = pairs.take(np.lexsort((pairs.object, -pairs.overlap, pairs.found)))
    return pairs.take(_starts(pairs.found))


def match_coco(
    pairs: Pairs, found: Found, ignored: NDArray[np.bool_], crowd: NDArray[np.bool_], ious: NDArray[np.float64]
) -> Outcome:
    """(T, D) what pycocotools' rules make of the detections at every overlap of `ious` (T,).

    `ignored` and `crowd` (M,) are of the objects; a crowd region can be taken many times. Of equal overlaps
    the last object is taken. One that matches nothing is FALSE.
    """
    outcome = np.full((len(ious), len(found)), FALSE, np.int8)
    taken = np.zeros((len(ious), len(ignored)), np.bool_)
    limits = np.minimum(ious, 1 - 1e-10)[:, None]
    for step in _rounds(pairs, found, ignored):
        width = len(step.found)
        free = (step.overlap >= limits) & ~taken[:, step.object]  # (T, width)
        starts = np.flatnonzero(_starts(step.found))
        first = np.minimum.reduceat(np.where(free, np.arange(width), width), starts, axis=1)  # (T, detections)
        level, place = np.nonzero(first < width)
        chosen = step.object[first[level, place]]
        outcome[level, step.found[starts[place]]] = np.where(ignored[chosen], IGNORED, TRUE)
        taken[level, chosen] = ~crowd[chosen]
    return outcome


def _rounds(pairs: Pairs, found: Found, ignored: NDArray[np.bool_]) -> Iterator[Pairs]:
    """The pairs of every image's and label's best detection, then those of the second best, and so on.

    No two detections of a round compete for an object. A detection's pairs come in the order of its choice.
    """
    if not len(pairs.found):
        return
    with_pairs = np.unique(pairs.found)
    group = np.cumsum(found.rank == 0)[with_pairs]  # every image and label has one detection of rank 0
    turn = np.empty(len(found), np.int64)
    turn[with_pairs] = _place_in_run(group)
    when = turn[pairs.found]
    order = np.lexsort((-pairs.object, -pairs.overlap, ignored[pairs.object], pairs.found, when))
    for rows in np.split(order, np.cumsum(np.bincount(when))[:-1]):
        yield pairs.take(rows)


def _overlap(a: Boxes, b: Boxes, crowd: NDArray[np.bool_], one: float) -> NDArray[np.float64]:
    """(P,) row by row: IoU, or the share of `a` inside `b` for a crowd; `one` is added to widths and heights."""
    wide = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0]) + one
    high = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1]) + one
    inter = np.maximum(wide, 0) * np.maximum(high, 0)
    area_a, area_b = (
        np.maximum(box[:, 2] - box[:, 0] + one, 0) * np.maximum(box[:, 3] - box[:, 1] + one, 0) for box in (a, b)
    )
    whole = np.where(crowd, area_a, area_a + area_b - inter)
    return np.asarray(np.divide(inter, whole, out=np.zeros_like(inter), where=whole > 0))


def _chunks(count: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Row i `count[i]` times, for all rows in order, a bounded number of entries at a time."""
    total = np.cumsum(count)
    last = int(total[-1]) if len(total) else 0
    cuts = np.searchsorted(total, np.arange(_PAIRS_AT_ONCE, last, _PAIRS_AT_ONCE))
    for rows in np.split(np.arange(len(count)), cuts):
        yield np.repeat(rows, count[rows])


def _starts(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a run of equal values begins."""
    starts = np.ones(len(values), np.bool_)
    starts[1:] = values[1:] != values[:-1]
    return starts


def _place_in_run(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, .. inside every run of equal values."""
    here = np.arange(len(values))
    return here - np.maximum.accumulate(np.where(_starts(values), here, 0))
