"""Confidence intervals of metrics: the bootstrap (Efron 1979) over images.

A resample draws as many images with replacement. Matching does not depend on the other images, so it happens once; in a
resample the detections and objects of an image count as often as it was drawn. The metrics of a resample equal those
of `coco_score` for a dataset of these images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset, Objects
from vocdet.data.detections import Detections
from vocdet.evaluation.coco_score import IOUS, MAX_DETECTIONS, RECALLS
from vocdet.evaluation.mask_pairs import mask_pairs
from vocdet.evaluation.matching import (
    FALSE,
    IGNORED,
    TRUE,
    DetectionTable,
    Outcome,
    OverlapPairs,
    box_pairs,
    match_coco,
    match_voc,
    stack,
)

CONFIDENCE = 0.95  # of the resamples inside the interval
RESAMPLES = 1000
AR_LIMITS = (1, 10, MAX_DETECTIONS)  # detections an image
BOUNDED_METRICS = ("AP", "AP50", "AP75", *(f"AR{limit}" for limit in AR_LIMITS))

_BLOCK_ELEMENTS = 4_000_000  # elements of a temporary array

AVERAGES = {"ap_voc07": 6, "ap_voc": 7, "ap": 0, "ap50": 1}  # places among the metrics of a resample

Bounds: TypeAlias = "tuple[float, float] | None"
Draws = NDArray[np.float64]  # (R, N) how often each resample draws each image


@dataclass(frozen=True, slots=True)
class Resampling:
    """How images are drawn: `resamples` times as many as there are, with replacement."""

    images: int
    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """The central `share` of a metric over all resamples (percentiles).

    `overall` and `labels` have the names of `Metrics`: ap_voc07, ap_voc, ap, ap50, and for boxes precision, recall and
    f1 at the thresholds of the whole dataset.
    """

    share: float
    resamples: int
    seed: int
    bounds: dict[str, Bounds]  # AP, AP50, AP75, AR1, AR10, AR100; None: no object
    overall: dict[str, Bounds] = field(default_factory=dict)
    labels: tuple[dict[str, Bounds], ...] = ()


def bootstrap(
    pairs: OverlapPairs,
    detections: DetectionTable,
    objects: Objects,
    drawing: Resampling,
    *,
    labels: int = 0,
    thresholds: NDArray[np.float32] | None = None,
) -> Interval:
    """The interval of AP and AR of all sizes, for pairs with an overlap of at least .5; deterministic by `seed`.

    `labels` is the number of labels with an interval of their own, `thresholds` (L,) add those of precision, recall and
    F1. A label without objects in a resample is left out of the means of that resample.
    """
    voc = match_voc(pairs, objects, len(detections), float(IOUS[0])).outcome
    known, values = _resampled(pairs, detections, objects, drawing, voc)
    mean = _mean(values)
    bounds = {name: _middle(row) for name, row in zip(BOUNDED_METRICS, mean, strict=False)}
    rows = [dict.fromkeys(AVERAGES) for _ in range(labels)]
    for label, row in zip(known.tolist(), values, strict=True):
        if label < labels:
            rows[label] = {name: _middle(row[i]) for name, i in AVERAGES.items()}
    overall = {name: _middle(mean[i]) for name, i in AVERAGES.items()}
    if thresholds is not None:
        every, *each = _points(detections, objects, drawing, voc, thresholds)
        overall |= every
        rows = [row | own for row, own in zip(rows, each, strict=True)]
    return Interval(CONFIDENCE, drawing.resamples, drawing.seed, bounds, overall, tuple(rows))


def _points(
    detections: DetectionTable, objects: Objects, drawing: Resampling, voc: Outcome, thresholds: NDArray[np.float32]
) -> list[dict[str, Bounds]]:
    """The intervals of precision, recall and F1: of all labels together, then of each."""
    kept = detections.score >= thresholds[detections.label]
    wanted = ~(objects.difficult | objects.crowd)
    parts = [
        (detections.image[kept & (voc == TRUE)], detections.label[kept & (voc == TRUE)]),
        (detections.image[kept & (voc == FALSE)], detections.label[kept & (voc == FALSE)]),
        (objects.image[wanted], objects.label[wanted]),
    ]
    chosen = [[image for image, _ in parts]]
    chosen += [[image[of == label] for image, of in parts] for label in range(len(thresholds))]
    drawn: list[list[NDArray[np.float64]]] = [[] for _ in chosen]
    widest = max([drawing.images, *(len(image) for image, _ in parts)])
    for weights in _resample_draws(drawing, widest):
        for pieces, images in zip(drawn, chosen, strict=True):
            pieces.append(np.stack([weights[:, image].sum(axis=1) for image in images]))
    bounds = []
    for pieces in drawn:
        correct, false, count = np.concatenate(pieces, axis=1) if pieces else np.zeros((3, 0))
        with np.errstate(invalid="ignore"):  # NaN where nothing is drawn
            shares = correct / (correct + false), correct / count, 2 * correct / (correct + false + count)
            shares = *shares[:2], np.where(count > 0, shares[2], np.nan)
        bounds.append(dict(zip(("precision", "recall", "f1"), map(_middle, shares), strict=True)))
    return bounds


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
    drawing = Resampling(len(dataset), RESAMPLES, seed)
    first, second = (
        resampled_metric(dataset, stack(one, len(dataset.labels)), metric, drawing, masks=masks)
        for one in (before, after)
    )
    return _middle(second - first)


def resampled_metric(
    dataset: Dataset, table: DetectionTable, metric: str, drawing: Resampling, *, masks: bool = False
) -> NDArray[np.float64]:
    """(R,) a metric of `BOUNDED_METRICS` in each resample; NaN in one without objects."""
    pairs, objects = box_pairs(dataset.objects, table, floor=float(IOUS[0])), dataset.objects
    if masks:
        common = mask_pairs(dataset, table, floor=float(IOUS[0]))
        pairs, objects = common.pairs, common.objects(dataset.objects)
    _, drawn = _resampled(pairs, table, objects, drawing)
    return np.asarray(_mean(drawn)[BOUNDED_METRICS.index(metric)])


def resampled_by_label(
    dataset: Dataset, detections: Sequence[Detections], metric: str, drawing: Resampling
) -> NDArray[np.float64]:
    """(L + 1, R) a metric of `BOUNDED_METRICS` of every label, and of all, in each resample; NaN without objects."""
    table = stack(detections, len(dataset.labels))
    known, drawn = _resampled(box_pairs(dataset.objects, table, floor=float(IOUS[0])), table, dataset.objects, drawing)
    values = np.full((len(dataset.labels) + 1, drawn.shape[2]), np.nan)
    place = BOUNDED_METRICS.index(metric)
    values[known], values[-1] = drawn[:, place], _mean(drawn)[place]
    return values


def paired_test(
    before: NDArray[np.float64], after: NDArray[np.float64], *, seed: int = 0
) -> tuple[Bounds, float | None]:
    """The interval of a mean metric's growth from some runs to others, and the p-value of no difference (two-sided).

    The values (S, R) and (T, R) are those of `resampled_metric`. Of several runs, as of several seeds, each resample
    also draws as many with replacement; with three seeds, such an interval is rather too narrow. (None, None) without
    objects.
    """
    numbers = np.random.default_rng(seed)
    means = []
    for values in (before, after):
        drawn = numbers.integers(0, len(values), values.shape) if len(values) > 1 else np.zeros(values.shape, np.int64)
        means.append(np.take_along_axis(values, drawn, axis=0).mean(axis=0))
    difference = means[1] - means[0]
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        return None, None
    fewest = min(int((difference <= 0).sum()), int((difference >= 0).sum()))
    return _middle(difference), min(1.0, 2 * (1 + fewest) / (1 + len(difference)))


def _resampled(
    pairs: OverlapPairs,
    detections: DetectionTable,
    objects: Objects,
    drawing: Resampling,
    voc: Outcome | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The labels with objects (L,), and the metrics (L, 8, R) of each resample: `BOUNDED_METRICS`, then VOC's."""
    ignored = objects.difficult | objects.crowd
    outcome = match_coco(pairs, detections, ignored, objects.crowd, IOUS)
    labels = np.unique(objects.label[~ignored]).astype(np.int64)
    best = detections.rank < MAX_DETECTIONS
    rows = [_rows(outcome, detections, (detections.label == label) & best) for label in labels]
    others = [] if voc is None else [_rows(voc[None], detections, detections.label == label) for label in labels]
    where = [objects.image[~ignored & (objects.label == label)] for label in labels]
    parts = [np.empty((len(labels), len(BOUNDED_METRICS) + 2 * (voc is not None), 0))]
    widest = max([drawing.images, *map(len, (*rows, *others, *where))])
    for weights in _resample_draws(drawing, widest) if len(labels) else ():
        blocks = []
        for i, mine in enumerate(rows):
            count = weights[:, where[i]].sum(axis=1)
            block = _metrics_of_draws(
                outcome[:, mine], weights[:, detections.image[mine]], detections.rank[mine], count
            )
            if voc is not None:
                own = others[i]
                block = np.concatenate([block, _voc_of_draws(voc[own], weights[:, detections.image[own]], count)])
            blocks.append(block)
        parts.append(np.stack(blocks))
    return labels, np.concatenate(parts, axis=2)


def _resample_draws(drawing: Resampling, widest: int) -> Iterator[Draws]:
    numbers = np.random.default_rng(drawing.seed)
    images, resamples = drawing.images, drawing.resamples
    at_once = max(1, _BLOCK_ELEMENTS // max(1, widest))
    for start in range(0, resamples if images else 0, at_once):
        drawn = [numbers.integers(0, images, images) for _ in range(min(at_once, resamples - start))]
        yield np.stack([np.bincount(one, minlength=images) for one in drawn]).astype(np.float64)


def _rows(outcome: Outcome, detections: DetectionTable, among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The detections of a label, best score first, up to the last one that is true at any IoU."""
    mine = np.flatnonzero(among)
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
        precision, right = _curve(one, weights, kept)
        reached = np.searchsorted(RECALLS, np.nan_to_num(right / there), side="right")
        precisions[level] = (precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    right = np.stack([weights @ ((outcome == TRUE) & (rank < limit)).T for limit in AR_LIMITS])  # (3, R, T)
    precisions[:, ~(objects > 0)] = np.nan
    return np.stack([precisions.mean(axis=0), precisions[0], precisions[5], *(right / there).mean(axis=2)])


def _curve(outcome: Outcome, weights: Draws, kept: Draws) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(R, P) the precision at each true detection or the best one after it, and the true detections up to there."""
    true = np.flatnonzero(outcome == TRUE)  # recall grows, and precision peaks, only there
    right = np.cumsum(weights[:, true], axis=1)
    precision = right / (kept[:, true] + np.spacing(1))
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1], right


def _voc_of_draws(outcome: Outcome, weights: Draws, objects: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, R) of one label: VOC's average precision of 11 points, and the area under the curve."""
    there = np.where(objects, objects, np.nan)[:, None]  # (R, 1)
    precision, right = _curve(outcome, weights, np.cumsum(weights * (outcome != IGNORED), axis=1))
    recall = right / there
    reached = np.searchsorted(np.arange(11) * 0.1, np.nan_to_num(recall), side="right")
    points = (precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / 11
    area = (precision * np.diff(recall, axis=1, prepend=0)).sum(axis=1)
    return np.where(objects > 0, np.stack([points, area]), np.nan)


def _mean(metrics: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, R) means over labels (L, K, R); NaN where no label has an object."""
    known = ~np.isnan(metrics)
    total = np.where(known, metrics, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0)))


def _middle(values: NDArray[np.float64]) -> tuple[float, float] | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))).tolist()
    return low, high
