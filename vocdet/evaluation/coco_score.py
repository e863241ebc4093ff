"""COCO's twelve figures of boxes or masks (cocodataset.org/#detection-eval), equal to those of pycocotools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import area
from vocdet.data.dataset import Dataset, Objects
from vocdet.data.detections import Detections
from vocdet.data.mask_areas import mask_areas
from vocdet.evaluation.mask_pairs import mask_pairs
from vocdet.evaluation.matching import FALSE, IGNORED, TRUE, Found, Outcome, Pairs, box_pairs, match_coco, stack
from vocdet.evaluation.precision import by_label, mean_of

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 100  # detections of one label in one image that count
AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}  # square pixels
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True, slots=True, eq=False)
class CocoScore:
    """COCO's figures over all labels, and average precision of every label.

    A label without objects (of that size) counts in no mean: NaN here, -1 in pycocotools.
    """

    summary: dict[str, float | None]  # the twelve by name; None: there is nothing of this kind to find
    ap: NDArray[np.float64]  # (L,) mean over IoU .5:.95
    ap50: NDArray[np.float64]  # (L,) at IoU .5


def coco_score(
    truth: Dataset, found: Sequence[Detections], *, areas: NDArray[np.float64] | None = None, masks: bool = False
) -> CocoScore:
    """COCO's figures of boxes, or of masks. Row i of `found` is image i.

    `areas` (M,) says how large the objects are, where that is not the area of their boxes: COCO's own
    annotations count the pixels of the mask. Difficult objects are ignored: neither missed when not found
    nor false when found. Crowd regions are ignored too, and take any number of detections. Of masks, an object
    without one is ignored as a difficult one is (see `mask_pairs`), and a detection is as large as its mask: so it
    is in pycocotools for results that carry no boxes beside their masks.
    """
    if len(found) != len(truth):
        raise ValueError(f"detections of {len(found)} images for a dataset of {len(truth)}")
    table = stack(found, len(truth.labels))
    if masks:
        common = mask_pairs(truth, table, floor=float(IOUS[0]))
        objects = common.objects(truth.objects)
        return score_pairs(common.pairs, table, objects, len(truth.labels), areas, common.found_area)
    pairs = box_pairs(truth.objects, table, floor=float(IOUS[0]))
    return score_pairs(pairs, table, truth.objects, len(truth.labels), areas)


def object_areas(objects: Objects) -> NDArray[np.float64]:
    """(M,) how large every object is: as its source says, else its mask, else its box. Square pixels."""
    silent = np.flatnonzero(np.isnan(objects.area))
    measured = mask_areas(objects.segmentation.take(silent)).area
    areas = objects.area.copy()
    areas[silent] = np.where(np.isnan(measured), area(objects.box[silent]), measured)
    return areas


def score_pairs(
    pairs: Pairs,
    found: Found,
    objects: Objects,
    labels: int,
    areas: NDArray[np.float64] | None = None,
    found_areas: NDArray[np.float64] | None = None,
) -> CocoScore:
    """COCO's figures for pairs down to an overlap of .5.

    `areas` (M,) and `found_areas` (D,) are those of objects and detections where they are not those of their boxes.
    """
    sizes = area(objects.box) if areas is None else areas
    found_sizes = area(found.box) if found_areas is None else found_areas
    if len(sizes) != len(objects):
        raise ValueError(f"{len(sizes)} areas for {len(objects)} objects")
    rows = [rows[found.rank[rows] < MOST] for rows in by_label(found, labels)]
    figures: dict[str, float | None] = {}
    per_label = np.empty((labels, len(IOUS)))
    for name, (low, high) in AREAS.items():
        ignored = objects.difficult | objects.crowd | (sizes < low) | (sizes > high)
        outcome = match_coco(pairs, found, ignored, objects.crowd, IOUS)
        outside = (found_sizes < low) | (found_sizes > high)
        outcome[:, outside] = np.where(outcome[:, outside] == FALSE, IGNORED, outcome[:, outside])
        count = np.bincount(objects.label[~ignored], minlength=labels)
        average = _average_precision(outcome, rows, count)  # (L, T)
        figures |= {
            f"AP{name}": mean_of(average.mean(axis=1)),
            f"AR{name or MOST}": _average_recall(outcome, found, count, MOST),
        }
        if not name:
            per_label = average
            figures |= {f"AR{most}": _average_recall(outcome, found, count, most) for most in (1, 10)}
    figures |= {"AP50": mean_of(per_label[:, 0]), "AP75": mean_of(per_label[:, 5])}
    return CocoScore({name: figures[name] for name in NAMES}, per_label.mean(axis=1), per_label[:, 0])


def _average_precision(
    outcome: Outcome, rows: list[NDArray[np.int64]], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(L, T) of every label; NaN where there is nothing to find."""
    average = np.full((len(rows), len(outcome)), np.nan)
    for label in np.flatnonzero(count):
        mine = outcome[:, rows[label]]  # (T, D)
        right = np.cumsum(mine == TRUE, axis=1, dtype=np.float64)
        kept = right + np.cumsum(mine == FALSE, axis=1, dtype=np.float64)
        precision = right / (kept + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        precision = np.pad(precision, ((0, 0), (0, 1)))  # 0 for a recall that is not reached
        for level, recall in enumerate(right / count[label]):
            average[label, level] = precision[level, np.searchsorted(recall, RECALLS)].mean()
    return average


def _average_recall(outcome: Outcome, found: Found, count: NDArray[np.int64], most: int) -> float | None:
    """The mean over labels and IoUs of the share found by the best `most` detections of every image."""
    labels = np.flatnonzero(count)
    among = found.rank < most
    shares = [
        np.bincount(found.label[among & (level == TRUE)], minlength=len(count))[labels] / count[labels]
        for level in outcome
    ]
    return mean_of(np.asarray(shares))
