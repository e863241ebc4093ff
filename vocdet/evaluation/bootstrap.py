"""Confidence intervals of metrics: the bootstrap (Efron 1979) over images. See `resamples` for how it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset, Objects
from vocdet.data.detections import Detections
from vocdet.evaluation.coco_score import IOUS, NAMES, CocoScore, SizedOutcome
from vocdet.evaluation.curves import score_bins
from vocdet.evaluation.errors import KINDS
from vocdet.evaluation.evidence import Evidence
from vocdet.evaluation.mask_pairs import mask_pairs
from vocdet.evaluation.matching import FALSE, IGNORED, TRUE, DetectionTable, Outcome, box_pairs, match_coco, stack
from vocdet.evaluation.operating_point import OperatingPoint
from vocdet.evaluation.resamples import (
    BOUNDED_METRICS,
    RESAMPLES,
    Resampling,
    Values,
    drawn_coco,
    drawn_costs,
    drawn_sums,
    drawn_voc,
    mean_of_labels,
    shares,
)

CONFIDENCE = 0.95  # of the resamples inside the interval
COST_RESAMPLES = 200  # for the costs of errors, whose average precisions are seven
AVERAGES = ("ap_voc07", "ap_voc", "ap", "ap50")
COUNTS = ("correct", "wrong", "missed", "false")

Bounds: TypeAlias = "tuple[float, float] | None"


@dataclass(frozen=True, slots=True)
class Interval:
    """The central `share` of a metric over all resamples (percentiles). None: no object, no detection.

    `overall` and `labels` have the names of `Metrics`: ap_voc07, ap_voc, ap, ap50, and for boxes precision, recall, f1,
    correct, wrong, missed and false, at the thresholds of the whole dataset. The rest is that of boxes, too.
    """

    share: float
    resamples: int
    seed: int
    bounds: dict[str, Bounds]  # COCO's twelve metrics
    overall: dict[str, Bounds] = field(default_factory=dict)
    labels: tuple[dict[str, Bounds], ...] = ()
    errors: dict[str, dict[str, Bounds]] = field(
        default_factory=dict
    )  # count of each kind, and ap50, of `COST_RESAMPLES`
    recall: tuple[Bounds, ...] = ()  # in the order of the groups
    calibration: Bounds = None  # of its error
    false_alarms: dict[str, Bounds] = field(default_factory=dict)  # alarmed, detections, per_image


def bootstrap(
    coco: CocoScore,
    voc: Outcome,
    detections: DetectionTable,
    objects: Objects,
    drawing: Resampling,
    labels: int,
) -> Interval:
    """The intervals of the average precision and recall of boxes or masks; deterministic by `seed`.

    A label without objects in a resample is left out of the means of that resample.
    """
    values: dict[str, Values] = {}  # (L, R)
    for sized in coco.sized:
        names = BOUNDED_METRICS if not sized.size else (f"AP{sized.size}", f"AR{sized.size}")
        places = range(len(names)) if not sized.size else (0, -1)
        drawn = drawn_coco(sized, detections, objects, drawing, labels)
        values |= {name: drawn[:, place] for name, place in zip(names, places, strict=True)}
    of_voc = drawn_voc(voc, detections, objects, drawing, labels)
    averages = np.stack([*of_voc.swapaxes(0, 1), values["AP"], values["AP50"]], axis=1)
    rows = tuple(dict(zip(AVERAGES, map(_middle, row), strict=True)) for row in averages)
    overall = dict(zip(AVERAGES, map(_middle, mean_of_labels(averages)), strict=True))
    bounds = {name: _middle(mean_of_labels(values[name][:, None])[0]) for name in NAMES}
    return Interval(CONFIDENCE, drawing.resamples, drawing.seed, bounds, overall, rows)


def bootstrap_counts(interval: Interval, evidence: Evidence, point: OperatingPoint, drawing: Resampling) -> Interval:
    """The interval with those of everything at the thresholds, of the errors and of calibration; see `Interval`."""
    every, *rows = _points(evidence, point, drawing)
    return replace(
        interval,
        overall=interval.overall | every,
        labels=tuple(row | own for row, own in zip(interval.labels, rows, strict=True)),
        errors=_errors(evidence, drawing),
        recall=_recalls(evidence, drawing),
        calibration=_calibration(evidence, drawing),
        false_alarms=_false_alarms(evidence, drawing),
    )


def _points(evidence: Evidence, point: OperatingPoint, drawing: Resampling) -> list[dict[str, Bounds]]:
    """The intervals of all labels together, then of each."""
    detections, objects, labels = evidence.detections, evidence.dataset.objects, len(point.thresholds)
    kept, outcome = detections.score >= point.thresholds[detections.label], evidence.match.outcome
    columns: list[tuple[DetectionTable | Objects, NDArray[np.bool_]]] = [
        (detections, kept & (outcome == TRUE)),
        (objects, point.confused),
        (objects, ~(objects.difficult | objects.crowd)),
        (detections, kept & (outcome == FALSE)),
    ]
    image = np.concatenate([table.image[rows] for table, rows in columns])
    column = np.concatenate(
        [table.label[rows].astype(np.int64) + i * labels for i, (table, rows) in enumerate(columns)]
    )
    sums = drawn_sums(drawing, image, column, labels * len(columns)).reshape(len(columns), labels, -1)
    bounds = []
    for correct, wrong, count, false in (sums.sum(axis=1), *sums.swapaxes(0, 1)):
        ratios = shares(correct, correct + false), shares(correct, count), shares(2 * correct, correct + false + count)
        ratios = *ratios[:2], np.where(count > 0, ratios[2], np.nan)
        counts = correct, wrong, count - correct - wrong, false
        row = zip(("precision", "recall", "f1", *COUNTS), map(_middle, (*ratios, *counts)), strict=True)
        bounds.append(dict(row))
    return bounds


def _errors(evidence: Evidence, drawing: Resampling) -> dict[str, dict[str, Bounds]]:
    errors, detections, objects = evidence.errors, evidence.detections, evidence.dataset.objects
    wrong = np.flatnonzero((errors.kind > 0) & (errors.kind < len(KINDS)))
    image = np.concatenate([detections.image[wrong], objects.image[errors.missed]])
    column = np.concatenate([errors.kind[wrong] - 1, np.full(len(errors.missed), len(KINDS) - 1)])
    counts = drawn_sums(drawing, image, column, len(KINDS))
    few = replace(drawing, resamples=min(drawing.resamples, COST_RESAMPLES))
    costs = drawn_costs(errors, detections.image, objects, few, len(evidence.dataset.labels))
    bounds = {name: {"count": _middle(counts[i]), "ap50": _middle(costs[i])} for i, name in enumerate(KINDS)}
    return {name: bounds[name] for name in errors.costs}


def _recalls(evidence: Evidence, drawing: Resampling) -> tuple[Bounds, ...]:
    objects, groups = evidence.dataset.objects, evidence.grouped
    rows, column = np.nonzero(groups.T)
    count = drawn_sums(drawing, objects.image[rows], column, len(groups))
    right = evidence.confusion.correct[rows]
    correct = drawn_sums(drawing, objects.image[rows[right]], column[right], len(groups))
    return tuple(map(_middle, shares(correct, count)))


def _calibration(evidence: Evidence, drawing: Resampling) -> Bounds:
    outcome, detections = evidence.match.outcome, evidence.detections
    counted = np.flatnonzero(outcome != IGNORED)
    image, score, bins = detections.image[counted], detections.score[counted], len(evidence.calibration.bins)
    apart = drawn_sums(drawing, image, score_bins(score, bins), bins, score - (outcome[counted] == TRUE).astype(float))
    count = drawn_sums(drawing, image, np.zeros(len(image), np.int64), 1)[0]
    return _middle(shares(np.abs(apart).sum(axis=0), count))


def _false_alarms(evidence: Evidence, drawing: Resampling) -> dict[str, Bounds]:
    shown, empty = evidence.alarms
    images = [empty, np.unique(shown), shown]
    column = np.repeat(np.arange(3), [len(one) for one in images])
    count, alarmed, false = drawn_sums(drawing, np.concatenate(images), column, 3)
    if not len(empty):
        return {}
    each = {"alarmed": alarmed, "detections": false, "per_image": shares(false, count)}
    return {name: _middle(values) for name, values in each.items()}


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
    return np.asarray(
        mean_of_labels(_drawn_of_all_sizes(dataset, table, drawing, masks=masks))[BOUNDED_METRICS.index(metric)]
    )


def resampled_by_label(
    dataset: Dataset, detections: Sequence[Detections], metric: str, drawing: Resampling
) -> NDArray[np.float64]:
    """(L + 1, R) a metric of `BOUNDED_METRICS` of every label, and of all, in each resample; NaN without objects."""
    drawn = _drawn_of_all_sizes(dataset, stack(detections, len(dataset.labels)), drawing)
    return np.concatenate([drawn, mean_of_labels(drawn)[None]])[:, BOUNDED_METRICS.index(metric)]


def _drawn_of_all_sizes(dataset: Dataset, table: DetectionTable, drawing: Resampling, *, masks: bool = False) -> Values:
    """(L, 6, R) `BOUNDED_METRICS` of every label in each resample."""
    objects = dataset.objects
    if masks:
        common = mask_pairs(dataset, table, floor=float(IOUS[0]))
        pairs, objects = common.pairs, common.objects(objects)
    else:
        pairs = box_pairs(objects, table, floor=float(IOUS[0]))
    ignored = objects.difficult | objects.crowd
    outcome = SizedOutcome("", match_coco(pairs, table, ignored, objects.crowd, IOUS), ignored)
    return drawn_coco(outcome, table, objects, drawing, len(dataset.labels))


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


def _middle(values: NDArray[np.float64]) -> tuple[float, float] | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))).tolist()
    return low, high
