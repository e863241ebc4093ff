"""All figures of one evaluation, from one matching pass of boxes and one of masks.

The operating point - thresholds, precision, recall and what is correct, wrong or missed - is that of boxes, also where
there are masks: an object is found when its box is, and how well its mask fits is told by the masks' average precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.evaluation.bootstrap import Interval, bootstrap
from vocdet.evaluation.coco_score import IOUS, CocoScore, object_areas, score_pairs
from vocdet.evaluation.mask_report import MaskReport, evaluate_masks
from vocdet.evaluation.matching import box_pairs, match_voc, stack
from vocdet.evaluation.operating_point import IOU, OperatingPoint, best_thresholds, operating_point
from vocdet.evaluation.precision import VocScore, counted, mean_of, score_outcome

LOWEST_THRESHOLD = np.float32(0.05)  # of a label that is hardly learned, the best F1 may lie among thousands of guesses


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one label, or of all. None: not defined, as for a label of which there is nothing to find.

    Over all labels, average precision is the mean over labels, and the rest is counted over all objects.
    """

    images: int  # that show one of its objects
    objects: int  # to be found
    difficult: int  # left out: difficult ones, and crowd regions
    ap_voc07: float | None  # VOC, 11 points, IoU .5
    ap_voc: float | None  # VOC, area, IoU .5
    ap: float | None  # COCO, IoU .5:.95
    ap50: float | None  # COCO, IoU .5
    precision: float | None  # at the threshold, IoU .5, and so for the rest
    recall: float | None
    f1: float | None
    correct: int  # objects found
    wrong: int  # objects on which something false is drawn
    missed: int  # objects on which nothing is drawn
    false: int  # detections that belong to no object, or to one that is taken


@dataclass(frozen=True, slots=True)
class LabelFigures(Figures):
    """Figures of one label."""

    label: str
    threshold: float  # score from which its detections count


@dataclass(frozen=True, slots=True)
class EvalReport:
    """What an evaluation found out: a row for every label, the same over all, and COCO's twelve figures."""

    images: int
    labels: tuple[LabelFigures, ...]  # in the dataset's order
    overall: Figures
    coco: dict[str, float | None]  # AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl
    interval: Interval | None = None  # where it was asked for
    masks: MaskReport | None = None  # where both the detections and the objects have any

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """(L,) the threshold of every label, to be kept with the model; fits `Detections.above`."""
        return np.array([row.threshold for row in self.labels], np.float32)

    def as_dict(self) -> dict[str, object]:
        """The report for a JSON file: plain numbers, text and None; no NaN. What there is not is not in it."""
        content = asdict(self)
        for block in (content, content["masks"] or {}):
            if block.get("interval", ...) is None:
                del block["interval"]
        if self.masks is None:
            del content["masks"]
        return content


def evaluate(
    truth: Dataset,
    found: Sequence[Detections],
    *,
    thresholds: NDArray[np.float32] | None = None,
    default_threshold: float = 0.5,
    areas: NDArray[np.float64] | None = None,
    masks: bool | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> EvalReport:
    """Every figure for detections of all images of a dataset; row i of `found` is image i.

    `thresholds` (L,) are those a model came with. Without them each label gets the one with its best F1 on
    these very images, but at least .05, which flatters precision and recall a little; a label of which nothing is
    found gets `default_threshold`. Nothing else depends on them: average precision takes all detections given, so pass
    them with a low cut. `areas` (M,) are those of `coco_score`; without them an object is as large as its source says,
    else as its mask, else as its box. `masks` says whether to score masks too; None: where detections and objects have
    any. With `resamples` there is an interval for AP and AR, drawn with `seed` (see `bootstrap`).
    """
    if len(found) != len(truth):
        raise ValueError(f"detections of {len(found)} images for a dataset of {len(truth)}")
    labels = len(truth.labels)
    if thresholds is not None and len(thresholds) != labels:
        raise ValueError(f"{len(thresholds)} thresholds for {labels} labels")
    table = stack(found, labels)
    sizes = object_areas(truth.objects) if areas is None else areas
    pairs = box_pairs(truth.objects, table, floor=float(IOUS[0]))
    match = match_voc(pairs, truth.objects, len(table), IOU)
    count = counted(truth.objects, labels)
    if thresholds is None:
        best = best_thresholds(table, match.outcome, count, default=default_threshold)
        thresholds = np.maximum(best, LOWEST_THRESHOLD)
    point = operating_point(truth.objects, table, match, np.asarray(thresholds, np.float32))
    voc = score_outcome(match.outcome, table, count)
    coco = score_pairs(pairs, table, truth.objects, labels, sizes)
    drawn = partial(bootstrap, images=len(truth), resamples=resamples, seed=seed)
    if masks is None:
        masks = table.mask is not None and len(truth.objects.segmentation.rows) > 0
    return _report(
        truth, voc, coco, point,
        interval=drawn(pairs, table, truth.objects) if resamples else None,
        masks=evaluate_masks(truth, table, sizes, drawn if resamples else None) if masks else None,
    )  # fmt: skip


def _report(
    truth: Dataset,
    voc: VocScore,
    coco: CocoScore,
    point: OperatingPoint,
    *,
    interval: Interval | None,
    masks: MaskReport | None,
) -> EvalReport:
    labels = len(truth.labels)
    left_out = truth.objects.difficult | truth.objects.crowd
    difficult = np.bincount(truth.objects.label[left_out], minlength=labels)
    shown = truth.objects.take(~left_out)
    images = np.bincount(np.unique(np.stack([shown.label, shown.image]), axis=1)[0], minlength=labels)

    rows = []
    for i, label in enumerate(truth.labels):
        figures = _figures(voc, coco, point, slice(i, i + 1), int(images[i]), int(difficult[i]))
        rows.append(LabelFigures(**asdict(figures), label=label, threshold=float(point.thresholds[i])))
    overall = _figures(voc, coco, point, slice(None), len(np.unique(shown.image)), int(difficult.sum()))
    return EvalReport(len(truth), tuple(rows), overall, coco.summary, interval, masks)


def _figures(
    voc: VocScore, coco: CocoScore, point: OperatingPoint, labels: slice, images: int, difficult: int
) -> Figures:
    correct, wrong, missed, false = (
        int(counts[labels].sum()) for counts in (point.correct, point.wrong, point.missed, point.false)
    )
    objects, kept = correct + wrong + missed, correct + false
    return Figures(
        images=images,
        objects=objects,
        difficult=difficult,
        ap_voc07=mean_of(voc.ap07[labels]),
        ap_voc=mean_of(voc.ap[labels]),
        ap=mean_of(coco.ap[labels]),
        ap50=mean_of(coco.ap50[labels]),
        precision=correct / kept if kept else None,
        recall=correct / objects if objects else None,
        f1=2 * correct / (kept + objects) if objects else None,
        correct=correct,
        wrong=wrong,
        missed=missed,
        false=false,
    )
