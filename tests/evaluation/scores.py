"""The metrics of one protocol for a dataset and its detections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import area
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.evaluation.coco_score import IOUS, CocoScore, score_pairs
from vocdet.evaluation.mask_pairs import mask_pairs
from vocdet.evaluation.matching import box_pairs, match_voc, stack
from vocdet.evaluation.precision import VocScore, count_objects, mean_of, score_outcome


def coco_score(
    dataset: Dataset, detections: Sequence[Detections], *, areas: NDArray[np.float64] | None = None, masks: bool = False
) -> CocoScore:
    """COCO's metrics of boxes, or of masks; `areas` (M,) are those of the objects, by default those of their boxes."""
    table, labels = stack(detections, len(dataset.labels)), len(dataset.labels)
    sizes = area(dataset.objects.box) if areas is None else areas
    if masks:
        common = mask_pairs(dataset, table, floor=float(IOUS[0]))
        objects = common.objects(dataset.objects)
        return score_pairs(common.pairs, table, objects, labels, sizes, common.detection_areas)
    return score_pairs(box_pairs(dataset.objects, table, floor=float(IOUS[0])), table, dataset.objects, labels, sizes)


def voc_score(
    dataset: Dataset, detections: Sequence[Detections], *, iou: float = 0.5, inclusive: bool = False
) -> VocScore:
    """VOC's average precision at any IoU."""
    table = stack(detections, len(dataset.labels))
    pairs = box_pairs(dataset.objects, table, floor=iou, inclusive=inclusive)
    match = match_voc(pairs, dataset.objects, len(table), iou)
    return score_outcome(match.outcome, table, count_objects(dataset.objects, len(dataset.labels)))


def mean_ap(score: VocScore) -> float | None:
    """The mean over labels of the area under the curve."""
    return mean_of(score.ap)


def mean_ap07(score: VocScore) -> float | None:
    """The mean over labels of the 11 points."""
    return mean_of(score.ap07)
