"""All metrics of masks, from one matching pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.evaluation.bootstrap import Interval
from vocdet.evaluation.coco_score import IOUS, score_pairs
from vocdet.evaluation.mask_pairs import mask_pairs
from vocdet.evaluation.matching import DetectionTable, match_voc
from vocdet.evaluation.operating_point import IOU
from vocdet.evaluation.precision import count_objects, mean_of, score_outcome


@dataclass(frozen=True, slots=True)
class MaskMetrics:
    """Average precision of masks, of one label or of all; None and means as in `Metrics`."""

    objects: int  # neither difficult, nor a crowd, nor without a mask
    ap_voc07: float | None  # as VOC counts boxes, 11 points, IoU .5
    ap_voc: float | None  # the same, area
    ap: float | None  # COCO, IoU .5:.95
    ap50: float | None  # COCO, IoU .5


@dataclass(frozen=True, slots=True)
class LabelMaskMetrics(MaskMetrics):
    """Average precision of one label's masks."""

    label: str


@dataclass(frozen=True, slots=True)
class MaskReport:
    """The metrics of `EvalReport` for masks instead of boxes."""

    labels: tuple[LabelMaskMetrics, ...]
    overall: MaskMetrics
    coco: dict[str, float | None]
    without: int  # objects left out for lack of a valid mask
    unreadable: int  # of those: with an invalid mask, or one of another size than the image
    interval: Interval | None = None


def evaluate_masks(
    dataset: Dataset,
    detections: DetectionTable,
    areas: NDArray[np.float64],
    interval: Callable[..., Interval] | None = None,
) -> MaskReport:
    """The metrics of detections with masks; `areas` (M,) are those of the objects in square pixels."""
    labels = len(dataset.labels)
    common = mask_pairs(dataset, detections, floor=float(IOUS[0]))
    objects = common.objects(dataset.objects)
    count = count_objects(objects, labels)
    outcome = match_voc(common.pairs, objects, len(detections), IOU).outcome
    voc = score_outcome(outcome, detections, count)
    coco = score_pairs(common.pairs, detections, objects, labels, areas, common.detection_areas)

    def metrics(rows: slice) -> MaskMetrics:
        return MaskMetrics(
            objects=int(count[rows].sum()),
            ap_voc07=mean_of(voc.ap07[rows]),
            ap_voc=mean_of(voc.ap[rows]),
            ap=mean_of(coco.ap[rows]),
            ap50=mean_of(coco.ap50[rows]),
        )

    wanted = ~(dataset.objects.difficult | dataset.objects.crowd)
    return MaskReport(
        tuple(
            LabelMaskMetrics(**asdict(metrics(slice(i, i + 1))), label=name) for i, name in enumerate(dataset.labels)
        ),
        metrics(slice(None)),
        coco.summary,
        int((common.without & wanted).sum()),
        int((common.unreadable & wanted).sum()),
        interval(coco, outcome, objects=objects) if interval else None,
    )
