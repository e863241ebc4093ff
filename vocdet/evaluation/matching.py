"""Match detections with objects.

Both protocols match within an image and a label, best score first. They differ in the rest:

    PASCAL VOC   a detection belongs to the object it overlaps most; if that one is taken, it is false
    COCO         a detection takes the free object it overlaps most; an ignored one only if no other is free

Both start from the same `OverlapPairs`: of boxes here, of masks in `mask_pairs`.
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

FALSE, TRUE, IGNORED = 0, 1, 2  # outcomes of a detection
Outcome = NDArray[np.int8]  # (..., D) of FALSE, TRUE, IGNORED

_BLOCK = 500_000  # pairs: about 100 MB of temporary arrays


@dataclass(frozen=True, slots=True, eq=False)
class DetectionTable:
    """The detections of many images as columns, sorted by image, then label, then best score first.

    The sort is stable for equal scores.
    """

    image: NDArray[np.int64]  # (D,) never decreasing
    label: NDArray[np.int64]  # (D,)
    box: Boxes  # (D, 4)
    score: NDArray[np.float32]  # (D,)
    rank: NDArray[np.int64]  # (D,) from 0, among those of the same image and label
    mask: Texts | None = None  # D masks, as in `Detections.masks`; None: no masks

    def __len__(self) -> int:
        return len(self.score)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> DetectionTable:
        """The detections of these rows (a mask, or indices), with unchanged ranks."""
        mask = None if self.mask is None else self.mask.take(keep)
        return DetectionTable(
            self.image[keep], self.label[keep], self.box[keep], self.score[keep], self.rank[keep], mask
        )


@dataclass(frozen=True, slots=True, eq=False)
class OverlapPairs:
    """Overlapping detections and objects, sorted by detection, then object.

    The overlap is IoU; for a crowd region it is the share of the detection inside it.
    """

    detection: NDArray[np.int64]  # (P,) row of the detections
    object: NDArray[np.int64]  # (P,) row of the objects
    overlap: NDArray[np.float64]  # (P,)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> OverlapPairs:
        """The pairs of these rows (a mask, or indices)."""
        return OverlapPairs(self.detection[keep], self.object[keep], self.overlap[keep])


@dataclass(frozen=True, slots=True, eq=False)
class VocMatch:
    """The outcome of every detection by the rules of VOC."""

    outcome: Outcome  # (D,)
    object: NDArray[np.int64]  # (D,) row of its object; -1: none


def stack(detections: Sequence[Detections], labels: int) -> DetectionTable:
    """The detections of all images in one table.

    `ValueError` for a label that is not below `labels`, a score or box that is not finite, or masks in some images
    only.
    """
    image = np.repeat(np.arange(len(detections)), [len(one) for one in detections])
    label = np.concatenate([one.labels for one in detections] or [np.empty(0, np.int64)])
    score = np.concatenate([one.scores for one in detections] or [np.empty(0, np.float32)])
    box = np.concatenate([one.boxes for one in detections] or [np.empty((0, 4))])
    if len(label) and not (label.min() >= 0 and label.max() < labels):
        raise ValueError(f"a detection has label {label.min()}..{label.max()} of {labels} labels")
    if not (np.isfinite(score).all() and np.isfinite(box).all()):
        raise ValueError("a score or a box of a detection is not finite")
    order = np.lexsort((-score, label, image))
    image, label = image[order], label[order]
    columns = [one.masks for one in detections if one.masks is not None]
    if len(columns) not in (0, len(detections)):
        raise ValueError(f"detections of {len(columns)} of {len(detections)} images have masks")
    mask = Texts.join(columns).take(order) if columns else None
    return DetectionTable(image, label, box[order], score[order], place_in_run(image * labels + label), mask)


def box_pairs(
    objects: Objects, detections: DetectionTable, *, floor: float, inclusive: bool = False, across_labels: bool = False
) -> OverlapPairs:
    """The pairs of one image and label that overlap by at least `floor` (> 0).

    Boxes are half-open: a width is xmax - xmin. The devkit computes xmax - xmin + 1 from 1-based inclusive numbers,
    which is the same width after the conversion by the reader. `inclusive` adds the 1, for unconverted numbers.
    `across_labels` pairs all detections and objects of an image.
    """
    span = 0 if across_labels else 1 + int(max(objects.label.max(initial=0), detections.label.max(initial=0)))
    of_object = objects.image.astype(np.int64) * span + objects.label if span else objects.image.astype(np.int64)
    of_detection = detections.image * span + detections.label if span else detections.image
    order = np.argsort(of_object, kind="stable")
    first = np.searchsorted(of_object[order], of_detection, "left")
    count = np.searchsorted(of_object[order], of_detection, "right") - first
    parts = [OverlapPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for row in _chunks(count):
        place = place_in_run(row)  # 0, 1, .. among the pairs of a detection
        partner = order[first[row] + place]
        overlap = _overlap(detections.box[row], objects.box[partner], objects.crowd[partner], float(inclusive))
        parts.append(OverlapPairs(row, partner, overlap).take(overlap >= floor))
    columns = ([getattr(part, name) for part in parts] for name in ("detection", "object", "overlap"))
    return OverlapPairs(*(np.concatenate(column) for column in columns))


def match_voc(pairs: OverlapPairs, objects: Objects, count: int, iou: float) -> VocMatch:
    """Match `count` detections by the rules of VOC, from pairs that include every overlap of at least `iou`.

    A detection belongs to the object it overlaps most, the first of equals; it is true if that overlap is at least
    `iou` and no detection with a higher score has the object. A detection of a difficult object is ignored, and so is
    one of no object in a crowd region, a concept that VOC lacks.
    """
    outcome = np.full(count, FALSE, np.int8)
    owner = np.full(count, -1)
    near = pairs.take(pairs.overlap >= iou)
    in_crowd = objects.crowd[near.object]
    outcome[near.detection[in_crowd]] = IGNORED
    own = best_pairs(near.take(~in_crowd))
    owner[own.detection] = own.object
    difficult = objects.difficult[own.object]
    outcome[own.detection] = np.where(difficult, IGNORED, FALSE)
    own = own.take(~difficult)
    _, first = np.unique(own.object, return_index=True)  # rows are sorted by score
    outcome[own.detection[first]] = TRUE
    return VocMatch(outcome, owner)


def best_pairs(pairs: OverlapPairs) -> OverlapPairs:
    """The pair of every detection with the largest overlap, the first of equals."""
    pairs = pairs.take(np.lexsort((pairs.object, -pairs.overlap, pairs.detection)))
    return pairs.take(_run_starts(pairs.detection))


def match_coco(
    pairs: OverlapPairs,
    detections: DetectionTable,
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    ious: NDArray[np.float64],
) -> Outcome:
    """(T, D) outcomes of the detections by the rules of pycocotools, at every threshold of `ious` (T,).

    `ignored` and `crowd` (M,) refer to the objects; a crowd region matches any number of detections. Of equal overlaps
    the last object is taken. Without a match the outcome is FALSE.
    """
    outcome = np.full((len(ious), len(detections)), FALSE, np.int8)
    taken = np.zeros((len(ious), len(ignored)), np.bool_)
    limits = np.minimum(ious, 1 - 1e-10)[:, None]
    preference = np.lexsort((-pairs.object, -pairs.overlap, ignored[pairs.object], pairs.detection))
    for step in rounds(pairs, detections, preference):
        width = len(step.detection)
        free = (step.overlap >= limits) & ~taken[:, step.object]  # (T, width)
        starts = np.flatnonzero(_run_starts(step.detection))
        first = np.minimum.reduceat(np.where(free, np.arange(width), width), starts, axis=1)  # (T, detections)
        level, place = np.nonzero(first < width)
        chosen = step.object[first[level, place]]
        outcome[level, step.detection[starts[place]]] = np.where(ignored[chosen], IGNORED, TRUE)
        taken[level, chosen] = ~crowd[chosen]
    return outcome


def rounds(pairs: OverlapPairs, detections: DetectionTable, order: NDArray[np.int64]) -> Iterator[OverlapPairs]:
    """The pairs of the best detection of every image and label, then of the second best, and so on.

    No two detections of a round compete for an object. `order` sorts the pairs by detection, then by preference.
    """
    if not len(pairs.detection):
        return
    with_pairs = np.unique(pairs.detection)
    group = np.cumsum(detections.rank == 0)[with_pairs]  # every image and label has one detection of rank 0
    turn = np.empty(len(detections), np.int64)
    turn[with_pairs] = place_in_run(group)
    when = turn[pairs.detection[order]]
    order = order[np.argsort(when, kind="stable")]
    for rows in np.split(order, np.cumsum(np.bincount(when))[:-1]):
        yield pairs.take(rows)


def _overlap(a: Boxes, b: Boxes, crowd: NDArray[np.bool_], one: float) -> NDArray[np.float64]:
    """(P,) IoU of each row, or the share of `a` inside `b` for a crowd; `one` is added to widths and heights."""
    wide = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0]) + one
    high = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1]) + one
    inter = np.maximum(wide, 0) * np.maximum(high, 0)
    area_a, area_b = (
        np.maximum(box[:, 2] - box[:, 0] + one, 0) * np.maximum(box[:, 3] - box[:, 1] + one, 0) for box in (a, b)
    )
    whole = np.where(crowd, area_a, area_a + area_b - inter)
    return np.asarray(np.divide(inter, whole, out=np.zeros_like(inter), where=whole > 0))


def _chunks(count: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Each row i repeated `count[i]` times, in blocks of bounded size."""
    total = np.cumsum(count)
    last = int(total[-1]) if len(total) else 0
    cuts = np.searchsorted(total, np.arange(_BLOCK, last, _BLOCK))
    for rows in np.split(np.arange(len(count)), cuts):
        yield np.repeat(rows, count[rows])


def _run_starts(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where each run of equal values starts."""
    starts = np.ones(len(values), np.bool_)
    starts[1:] = values[1:] != values[:-1]
    return starts


def place_in_run(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The position 0, 1, 2, .. within each run of equal values."""
    here = np.arange(len(values))
    return here - np.maximum.accumulate(np.where(_run_starts(values), here, 0))
