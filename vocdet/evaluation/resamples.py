"""Metrics in resamples of the images, as the bootstrap (Efron 1979) draws them: as many, with replacement.

Matching does not depend on the other images, so it happens once; in a resample the detections and objects of an image
count as often as it was drawn. The metrics of a resample equal those of the dataset of its images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Objects
from vocdet.evaluation.coco_score import MAX_DETECTIONS, SizedOutcome
from vocdet.evaluation.errors import KINDS, Errors
from vocdet.evaluation.matching import IGNORED, TRUE, DetectionTable, Outcome
from vocdet.evaluation.precision import by_label

RESAMPLES = 1000
AR_LIMITS = (1, 10, MAX_DETECTIONS)  # detections an image
BOUNDED_METRICS = ("AP", "AP50", "AP75", *(f"AR{limit}" for limit in AR_LIMITS))

_BLOCK_ELEMENTS = 4_000_000  # elements of a temporary array

Draws = NDArray[np.uint8]  # (R, N) how often each resample draws each image, which is never 256 times
Values = NDArray[np.float64]
Indices = NDArray[np.integer[Any]]


class Points(NamedTuple):
    """Recalls from 0 to 1, to the bit as the protocol computes them from 0, 1, .. `last`."""

    last: int
    recall: Callable[[Values], Values]


COCO_POINTS = Points(100, lambda number: number * 0.01)
TIDE_POINTS = Points(100, lambda number: number / 100)
VOC_POINTS = Points(10, lambda number: number * 0.1)


@dataclass(frozen=True, slots=True)
class Resampling:
    """How images are drawn: `resamples` times as many as there are, with replacement."""

    images: int
    resamples: int = RESAMPLES
    seed: int = 0


def draws(drawing: Resampling, widest: int) -> Iterator[Draws]:
    """The resamples in blocks of bounded size, for arrays of up to `widest` elements for each; the same by `seed`."""
    at_once = max(1, _BLOCK_ELEMENTS // max(1, drawing.images, widest))
    for start in range(0, drawing.resamples if drawing.images else 0, at_once):
        yield _all_draws(drawing)[start : start + at_once]


@lru_cache(maxsize=2)  # all resamples, and those of the costs
def _all_draws(drawing: Resampling) -> Draws:
    numbers, images = np.random.default_rng(drawing.seed), drawing.images
    drawn = np.empty((drawing.resamples, images), np.uint8)
    for row in drawn:
        row[:] = np.bincount(numbers.integers(0, images, images), minlength=images)
    return drawn


def drawn_sums(
    drawing: Resampling, image: Indices, column: Indices, columns: int, values: Values | None = None
) -> Values:
    """(C, R) in each resample, the sum in every column of values (E,), by default 1, that belong to an image each."""
    images = max(1, drawing.images)
    step = max(1, _BLOCK_ELEMENTS // images)
    order = np.argsort(column, kind="stable")
    image, column, values = image[order], column[order], None if values is None else values[order]
    cuts = np.searchsorted(column, np.arange(0, columns + step, step))
    sums = [np.empty((columns, 0))]
    for weights in draws(drawing, 0):
        block = []
        for first, low, high in zip(range(0, columns, step), cuts[:-1].tolist(), cuts[1:].tolist(), strict=False):
            width = min(step, columns - first)
            place = (column[low:high] - first) * images + image[low:high]
            counts = np.bincount(place, None if values is None else values[low:high], width * images)
            block.append(counts.reshape(width, images) @ weights.T.astype(np.float64))
        sums.append(np.concatenate(block) if block else np.empty((0, len(weights))))
    return np.concatenate(sums, axis=1)


def drawn_coco(
    sized: SizedOutcome, detections: DetectionTable, objects: Objects, drawing: Resampling, labels: int
) -> Values:
    """(L, 6, R) `BOUNDED_METRICS` of every label in each resample; NaN without objects."""
    best = [rows[detections.rank[rows] < MAX_DETECTIONS] for rows in by_label(detections, labels)]
    rows = [_up_to_last(mine, sized.outcome[:, mine]) for mine in best]
    where = _images_by_label(objects, np.flatnonzero(~sized.ignored), labels)
    blocks = [np.empty((labels, len(BOUNDED_METRICS), 0))]
    for weights in draws(drawing, max(map(len, (*rows, *where)), default=0)):
        block = np.full((labels, len(BOUNDED_METRICS), len(weights)), np.nan)
        for label in (label for label, images in enumerate(where) if len(images)):
            mine = rows[label]
            count = weights[:, where[label]].sum(axis=1, dtype=np.float64)
            ranked = weights[:, detections.image[mine]]
            block[label] = _coco_of_draws(sized.outcome[:, mine], ranked, detections.rank[mine], count)
        blocks.append(block)
    return np.concatenate(blocks, axis=2)


def drawn_voc(
    outcome: Outcome, detections: DetectionTable, objects: Objects, drawing: Resampling, labels: int
) -> Values:
    """(L, 2, R) VOC's average precision of 11 points and under the curve, of every label; NaN without objects."""
    rows = [_up_to_last(mine, outcome[None, mine]) for mine in by_label(detections, labels)]
    where = _images_by_label(objects, np.flatnonzero(~(objects.difficult | objects.crowd)), labels)
    blocks = [np.empty((labels, 2, 0))]
    for weights in draws(drawing, max(map(len, (*rows, *where)), default=0)):
        block = np.full((labels, 2, len(weights)), np.nan)
        for label in (label for label, images in enumerate(where) if len(images)):
            mine = rows[label]
            count = weights[:, where[label]].sum(axis=1, dtype=np.float64)
            ranked = weights[:, detections.image[mine]]
            (curve,) = _curves(outcome[None, mine], ranked)
            recall = curve.right / _nonzero(count)
            block[label, 0] = np.where(count > 0, _mean_at(VOC_POINTS, recall, curve.precision), np.nan)
            area = (curve.precision * np.diff(recall, axis=1, prepend=0)).sum(axis=1)
            block[label, 1] = np.where(count > 0, area, np.nan)
        blocks.append(block)
    return np.concatenate(blocks, axis=2)


def drawn_costs(errors: Errors, image: NDArray[np.int64], objects: Objects, drawing: Resampling, labels: int) -> Values:
    """(6, R) the AP50 that curing each of `KINDS` would add in each resample; `image` (D,) is the detections'."""
    means = [_drawn_mean(errors, name, image, objects, drawing, labels) for name in ("", *KINDS)]
    return np.maximum(np.stack(means[1:]) - means[0], 0)


def _drawn_mean(
    errors: Errors, name: str, image: NDArray[np.int64], objects: Objects, drawing: Resampling, labels: int
) -> Values:
    """(R,) the mean over the labels that have objects or detections; 0 without any."""
    ranking = errors.rankings[name]
    spans = np.split(np.arange(len(ranking.label)), np.searchsorted(ranking.label, np.arange(1, labels)))[:labels]
    where = _images_by_label(objects, ranking.objects, labels)
    means = [np.empty(0)]
    for weights in draws(drawing, max(map(len, (*spans, *where)), default=0)):
        total, known = np.zeros(len(weights)), np.zeros(len(weights))
        for mine, images in zip(spans, where, strict=True):
            count = weights[:, images].sum(axis=1, dtype=np.float64)
            found = image[ranking.detection[mine]]
            known += (count > 0) | (weights[:, found].any(axis=1) if not count.all() else False)
            true = ranking.true[mine]
            if len(images) and true.any():
                up_to_last = np.flatnonzero(true)[-1] + 1
                (curve,) = _curves(true[None, :up_to_last].astype(np.int8), weights[:, found[:up_to_last]])
                value = _mean_at(TIDE_POINTS, curve.right / _nonzero(count), curve.precision)
                total += np.where(count > 0, value, 0)
        means.append(total / np.maximum(known, 1))
    return np.concatenate(means)


def mean_of_labels(metrics: Values) -> Values:
    """(K, R) means over labels (L, K, R); NaN where no label has an object."""
    known = ~np.isnan(metrics)
    total = np.where(known, metrics, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0)))


def _images_by_label(objects: Objects, rows: NDArray[np.int64], labels: int) -> Sequence[Indices]:
    """The image of each of these objects, by label."""
    order = rows[np.argsort(objects.label[rows], kind="stable")]
    return np.split(objects.image[order], np.searchsorted(objects.label[order], np.arange(1, labels)))[:labels]


def _up_to_last(rows: NDArray[np.int64], outcome: Outcome) -> NDArray[np.int64]:
    """The detections that count at any IoU, up to the last one that is true at any."""
    true = np.flatnonzero((outcome == TRUE).any(axis=0))
    kept = (outcome[:, : true[-1] + 1 if len(true) else 0] != IGNORED).any(axis=0)
    return rows[np.flatnonzero(kept)]


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """In each resample, what is reached at the P true detections of a label at one IoU, best score first."""

    true: NDArray[np.int64]  # (P,) their places
    right: NDArray[np.int32]  # (R, P) true detections so far
    precision: Values  # (R, P) there, or the best one after it


def _curves(outcome: Outcome, weights: Draws) -> Iterator[_Curve]:
    """The curve at every IoU, from outcomes (T, D) and how often each of these detections is drawn (R, D).

    Recall grows, and precision peaks, only at true detections. All others that always count are added up once.
    """
    counts = outcome != IGNORED
    always = counts.all(axis=0)
    places = np.flatnonzero((outcome == TRUE).any(axis=0) | (counts.any(axis=0) & ~always))
    always[places] = False
    others = np.cumsum(weights * always, axis=1, dtype=np.int32)[:, places]
    drawn = weights[:, places].astype(np.int32)
    kept, last = others, None
    for level, counted in zip(outcome[:, places], counts[:, places], strict=True):
        if last is None or not np.array_equal(counted, last):
            kept, last = others + np.cumsum(drawn * counted, axis=1, dtype=np.int32), counted
        true = np.flatnonzero(level == TRUE)
        right = np.cumsum(drawn[:, true], axis=1, dtype=np.int32)
        precision = right / (kept[:, true] + np.spacing(1))
        bits = precision.view(np.int64)  # ordered as the numbers are, which are not negative; several times faster
        best = np.maximum.accumulate(bits[:, ::-1], axis=1)[:, ::-1].view(np.float64)
        yield _Curve(places[true], right, best)


def _mean_at(points: Points, recall: Values, precision: Values) -> Values:
    """(R,) the mean of the best precision at recalls that are evenly spaced from 0 to 1, or above; 0 if not reached."""
    if not recall.shape[1]:
        return np.zeros(len(recall))
    reached = np.rint(recall * points.last)
    reached += points.recall(reached) <= recall  # how many of the points
    total = np.einsum("rp,rp->r", precision[:, 1:], reached[:, 1:] - reached[:, :-1])
    return np.asarray((total + precision[:, 0] * reached[:, 0]) / (points.last + 1))


def _coco_of_draws(outcome: Outcome, weights: Draws, rank: NDArray[np.int64], objects: Values) -> Values:
    """(6, R) of one label, from its outcomes (T, D) at every IoU; NaN where a resample has no `objects` (R,)."""
    there = _nonzero(objects)
    precisions = [_mean_at(COCO_POINTS, one.right / there, one.precision) for one in _curves(outcome, weights)]
    levels = (outcome == TRUE).mean(axis=0)  # the share of the IoUs at which a detection is true
    limits = np.stack([levels * (rank < limit) for limit in AR_LIMITS])
    recalls = weights.astype(np.float64) @ limits.T / there  # (R, 3)
    metrics = np.stack([np.mean(precisions, axis=0), precisions[0], precisions[5], *recalls.T])
    metrics[:, ~(objects > 0)] = np.nan
    return metrics


def _nonzero(objects: Values) -> Values:
    """(R, 1) to divide by; 1 where a resample has no object."""
    return np.maximum(objects, 1)[:, None]


def shares(part: Sequence[Values] | Values, whole: Values) -> Values:
    """Part by whole, NaN where the whole is 0."""
    some = np.asarray(part)
    unknown = np.full(np.broadcast_shapes(some.shape, whole.shape), np.nan)
    return np.asarray(np.divide(some, whole, out=unknown, where=whole > 0))
