"""COCO's twelve metrics of boxes or masks (cocodataset.org/#detection-eval), equal to those of pycocotools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import area
from vocdet.data.dataset import Objects
from vocdet.data.mask_areas import mask_areas
from vocdet.evaluation.matching import FALSE, IGNORED, TRUE, DetectionTable, Outcome, OverlapPairs, match_coco
from vocdet.evaluation.precision import by_label, mean_of

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100  # of a label in an image
AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}  # square pixels
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True, slots=True, eq=False)
class SizedOutcome:
    """The detections matched with the objects of one size."""

    size: str  # a key of `AREAS`
    outcome: Outcome  # (T, D)
    ignored: NDArray[np.bool_]  # (M,) objects that are not counted


@dataclass(frozen=True, slots=True, eq=False)
class CocoScore:
    """COCO's metrics over all labels, and average precision of every label.

    A label without objects (of that size) is left out of the means: NaN here, -1 in pycocotools.
    """

    summary: dict[str, float | None]  # the twelve by name; None: no such object
    ap: NDArray[np.float64]  # (L,) mean over IoU .5:.95
    ap50: NDArray[np.float64]  # (L,) at IoU .5
    sized: tuple[SizedOutcome, ...]


def object_areas(objects: Objects) -> NDArray[np.float64]:
    """(M,) areas in square pixels: as annotated, else of the mask, else of the box."""
    unknown = np.flatnonzero(np.isnan(objects.area))
    measured = mask_areas(objects.segmentation.take(unknown)).area
    areas = objects.area.copy()
    areas[unknown] = np.where(np.isnan(measured), area(objects.box[unknown]), measured)
    return areas


def score_pairs(
    pairs: OverlapPairs,
    detections: DetectionTable,
    objects: Objects,
    labels: int,
    areas: NDArray[np.float64],
    detection_areas: NDArray[np.float64] | None = None,
) -> CocoScore:
    """COCO's metrics for pairs with an overlap of at least .5.

    `areas` (M,) are those of the objects; `detection_areas` (D,) are by default those of the boxes. Difficult objects
    are ignored: neither missed nor false. Crowd regions are ignored, too, and match any number of detections.
    """
    detection_sizes = area(detections.box) if detection_areas is None else detection_areas
    rows = [rows[detections.rank[rows] < MAX_DETECTIONS] for rows in by_label(detections, labels)]
    metrics: dict[str, float | None] = {}
    per_label = np.empty((labels, len(IOUS)))
    sized = []
    for name, (low, high) in AREAS.items():
        ignored = objects.difficult | objects.crowd | (areas < low) | (areas > high)
        outcome = match_coco(pairs, detections, ignored, objects.crowd, IOUS)
        outside = (detection_sizes < low) | (detection_sizes > high)
        outcome[:, outside] = np.where(outcome[:, outside] == FALSE, IGNORED, outcome[:, outside])
        sized.append(SizedOutcome(name, outcome, ignored))
        count = np.bincount(objects.label[~ignored], minlength=labels)
        average = average_precision_101(outcome, rows, count)  # (L, T)
        metrics |= {
            f"AP{name}": mean_of(average.mean(axis=1)),
            f"AR{name or MAX_DETECTIONS}": _average_recall(outcome, detections, count, MAX_DETECTIONS),
        }
        if not name:
            per_label = average
            metrics |= {f"AR{limit}": _average_recall(outcome, detections, count, limit) for limit in (1, 10)}
    metrics |= {"AP50": mean_of(per_label[:, 0]), "AP75": mean_of(per_label[:, 5])}
    return CocoScore({name: metrics[name] for name in NAMES}, per_label.mean(axis=1), per_label[:, 0], tuple(sized))


def average_precision_101(
    outcome: Outcome, rows: list[NDArray[np.int64]], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(L, T) the mean precision at 101 recalls, of every label and IoU; NaN for a label without objects."""
    average = np.full((len(rows), len(outcome)), np.nan)
    for label in np.flatnonzero(count):
        mine = outcome[:, rows[label]]  # (T, D)
        true = mine == TRUE
        right = np.cumsum(true, axis=1, dtype=np.int32)
        precision = np.where(true, right, 0) / (np.cumsum(mine != IGNORED, axis=1, dtype=np.int32) + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        level, place = np.nonzero(true)  # recall grows only there
        reached = np.searchsorted(RECALLS, right[level, place] / count[label], side="right")
        gain = np.diff(reached, prepend=0)
        firsts = np.flatnonzero(np.diff(level, prepend=-1))
        gain[firsts] = reached[firsts]
        sampled = np.zeros((len(outcome), len(RECALLS)))  # 0 beyond the highest recall
        below = np.arange(len(RECALLS)) < np.bincount(level, gain, len(outcome))[:, None]
        sampled[below] = np.repeat(best[level, place], gain)
        average[label] = sampled.mean(axis=1)
    return average


def _average_recall(outcome: Outcome, detections: DetectionTable, count: NDArray[np.int64], limit: int) -> float | None:
    """The mean recall over labels and IoUs, with the best `limit` detections of every image."""
    labels = np.flatnonzero(count)
    among = detections.rank < limit
    shares = [
        np.bincount(detections.label[among & (level == TRUE)], minlength=len(count))[labels] / count[labels]
        for level in outcome
    ]
    return mean_of(np.asarray(shares))
