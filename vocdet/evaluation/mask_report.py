"""All figures of masks, from one matching pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset, Objects
from vocdet.evaluation.bootstrap import Interval
from vocdet.evaluation.coco_score import IOUS, score_pairs
from vocdet.evaluation.mask_pairs import mask_pairs
from vocdet.evaluation.matching import Found, Pairs, match_voc
from vocdet.evaluation.operating_point import IOU
from vocdet.evaluation.precision import counted, mean_of, score_outcome


@dataclass(frozen=True, slots=True)
class MaskFigures:
    """Average precision of masks, of one label or of all; None and means as in `Figures`."""

    objects: int  # to be found: neither difficult, nor a crowd, nor without a mask
    ap_voc07: float | None  # as VOC counts boxes, 11 points, IoU .5
    ap_voc: float | None  # the same, area
    ap: float | None  # COCO, IoU .5:.95
    ap50: float | None  # COCO, IoU .5


@dataclass(frozen=True, slots=True)
class LabelMaskFigures(MaskFigures):
    """Average precision of one label's masks."""

    label: str


@dataclass(frozen=True, slots=True)
class MaskReport:
    """What the masks are worth: the rows and figures of `EvalReport`, of masks instead of boxes."""

    labels: tuple[LabelMaskFigures, ...]
    overall: MaskFigures
    coco: dict[str, float | None]
    without: int  # objects left out as they have no mask, or none that can be used
    unreadable: int  # of those: masks that cannot be read, or are of another size than their image
    interval: Interval | None = None


def evaluate_masks(
    truth: Dataset,
    found: Found,
    areas: NDArray[np.float64],
    interval: Callable[[Pairs, Found, Objects], Interval] | None = None,
) -> MaskReport:
    """The figures of detections with masks; `areas` (M,) say how large the objects are."""
    labels = len(truth.labels)
    common = mask_pairs(truth, found, floor=float(IOUS[0]))
    objects = common.objects(truth.objects)
    count = counted(objects, labels)
    voc = score_outcome(match_voc(common.pairs, objects, len(found), IOU).outcome, found, count)
    coco = score_pairs(common.pairs, found, objects, labels, areas, common.found_area)

    def figures(rows: slice) -> MaskFigures:
        return MaskFigures(
            objects=int(count[rows].sum()),
            ap_voc07=mean_of(voc.ap07[rows]),
            ap_voc=mean_of(voc.ap[rows]),
            ap=mean_of(coco.ap[rows]),
            ap50=mean_of(coco.ap50[rows]),
        )

    wanted = ~(truth.objects.difficult | truth.objects.crowd)
    return MaskReport(
        tuple(LabelMaskFigures(**asdict(figures(slice(i, i + 1))), label=name) for i, name in enumerate(truth.labels)),
        figures(slice(None)),
        coco.summary,
        int((common.without & wanted).sum()),
        int((common.unreadable & wanted).sum()),
        interval(common.pairs, found, objects) if interval else None,
    )
