"""Confidence intervals of metrics: the bootstrap (Efron 1979) over images.

A resample draws as many images with replacement. Matching does not depend on the other images, so it happens once; in a
resample the detections and objects of an image count as often as it was drawn. The metrics of a resample equal those
of `coco_score` for a dataset of these images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset, Objects
from vocdet.data.detections import Detections
from vocdet.evaluation.coco_score import IOUS, MAX_DETECTIONS, RECALLS
from vocdet.evaluation.mask_pairs import mask_pairs
from vocdet.evaluation.matching import (
    IGNORED,
    TRUE,
    DetectionTable,
    Outcome,
    OverlapPairs,
    box_pairs,
    match_coco,
    stack,
)

CONFIDENCE = 0.95  # of the resamples inside the interval
RESAMPLES = 1000
AR_LIMITS = (1, 10, MAX_DETECTIONS)  # detections an image
BOUNDED_METRICS = ("AP", "AP50", "AP75", *(f"AR{limit}" for limit in AR_LIMITS))

_BLOCK_ELEMENTS = 4_000_000  # elements of a temporary array

Draws = NDArray[np.float64]  # (R, N) how often each resample draws each image


@dataclass(frozen=True, slots=True)
class Interval:
    """The central `share` of a metric over all resamples (percentiles)."""

    share: float
    resamples: int
    seed: int
    bounds: dict[str, tuple[float, float] | None]  # AP, AP50, AP75, AR1, AR10, AR100; None: no object


def bootstrap(
    pairs: OverlapPairs,
    detections: DetectionTable,
    objects: Objects,
    images: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The interval of COCO's AP and AR of all sizes, for pairs with an overlap of at least .5; deterministic by `seed`.

    A label without objects in a resample is left out of the means of that resample.
    """
    values = _resampled(pairs, detections, objects, images, seed, resamples)
    return Interval(
        CONFIDENCE, resamples, seed, {name: _middle(row) for name, row in zip(BOUNDED_METRICS, values, strict=True)}
    )


def paired_difference(
    dataset: Dataset,
    before: Sequence[Detections],
    after: Sequence[Detections],
    metric: str,
    *,
    masks: bool = False,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The interval of how much higher `metric` (AP or AP50, of boxes or of masks) is for `after` than for `before`.

    Both are detections in every image of the dataset; each resample draws the same images for both, so what makes an
    image easy or hard cancels. None without objects.
    """
    values = []
    for detections in (before, after):
        table = stack(detections, len(dataset.labels))
        pairs, objects = box_pairs(dataset.objects, table, floor=float(IOUS[0])), dataset.objects
        if masks:
            common = mask_pairs(dataset, table, floor=float(IOUS[0]))
            pairs, objects = common.pairs, common.objects(dataset.objects)
        drawn = _resampled(pairs, table, objects, len(dataset), seed, RESAMPLES)
        values.append(drawn[BOUNDED_METRICS.index(metric)])
    return _middle(values[1] - values[0])


def _resampled(
    pairs: OverlapPairs, detections: DetectionTable, objects: Objects, images: int, seed: int, resamples: int
) -> NDArray[np.float64]:
    """(6, R) the metrics of every resample."""
    ignored = objects.difficult | objects.crowd
    outcome = match_coco(pairs, detections, ignored, objects.crowd, IOUS)
    labels = np.unique(objects.label[~ignored])
    rows = [_ranked_rows(outcome, detections, label) for label in labels]
    counts = np.zeros((len(labels), images))
    np.add.at(counts, (np.searchsorted(labels, objects.label[~ignored]), objects.image[~ignored]), 1)
    parts = [np.empty((len(BOUNDED_METRICS), 0))]
    widest = max([1, images, *map(len, rows)])
    for weights in _resample_draws(images if len(labels) else 0, resamples, max(1, _BLOCK_ELEMENTS // widest), seed):
        metrics = [
            _metrics_of_draws(
                outcome[:, mine], weights[:, detections.image[mine]], detections.rank[mine], weights @ count
            )
            for mine, count in zip(rows, counts, strict=True)
        ]
        parts.append(_mean(np.stack(metrics)))
    return np.concatenate(parts, axis=1)


def _resample_draws(images: int, resamples: int, at_once: int, seed: int) -> Iterator[Draws]:
    numbers = np.random.default_rng(seed)
    for start in range(0, resamples if images else 0, at_once):
        drawn = [numbers.integers(0, images, images) for _ in range(min(at_once, resamples - start))]
        yield np.stack([np.bincount(one, minlength=images) for one in drawn]).astype(np.float64)


def _ranked_rows(outcome: Outcome, detections: DetectionTable, label: int) -> NDArray[np.int64]:
    """The detections of a label, best score first, up to the last one that is true at any IoU."""
    mine = np.flatnonzero((detections.label == label) & (detections.rank < MAX_DETECTIONS))
    mine = mine[np.argsort(-detections.score[mine], kind="stable")]
    true = np.flatnonzero((outcome[:, mine] == TRUE).any(axis=0))
    return mine[: true[-1] + 1 if len(true) else 0]


def _metrics_of_draws(
    outcome: Outcome, weights: Draws, rank: NDArray[np.int64], objects: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(6, R) of one label, from its outcomes (T, D) at every IoU; NaN where a resample has no `objects` (R,)."""
    there = np.where(objects, objects, np.nan)[:, None]  # (R, 1)
    precisions = np.zeros((len(outcome), len(weights)))
    kept: Draws | None = None
    for level, one in enumerate(outcome):
        if kept is None or ((one == IGNORED) != (outcome[level - 1] == IGNORED)).any():
            kept = np.cumsum(weights * (one != IGNORED), axis=1)
        true = np.flatnonzero(one == TRUE)  # recall grows, and precision peaks, only there
        right = np.cumsum(weights[:, true], axis=1)  # (R, P)
        precision = right / (kept[:, true] + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, np.nan_to_num(right / there), side="right")
        precisions[level] = (precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    right = np.stack([weights @ ((outcome == TRUE) & (rank < limit)).T for limit in AR_LIMITS])  # (3, R, T)
    precisions[:, ~(objects > 0)] = np.nan
    return np.stack([precisions.mean(axis=0), precisions[0], precisions[5], *(right / there).mean(axis=2)])


def _mean(metrics: NDArray[np.float64]) -> NDArray[np.float64]:
    """(6, R) means over labels (L, 6, R); NaN where no label has an object."""
    known = ~np.isnan(metrics)
    total = np.where(known, metrics, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0)))


def _middle(values: NDArray[np.float64]) -> tuple[float, float] | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))).tolist()
    return low, high
