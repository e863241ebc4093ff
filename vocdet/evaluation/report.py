"""All metrics of an evaluation, from one matching pass of boxes and one of masks.

The operating point (thresholds, precision, recall, and correct, wrong and missed objects) refers to boxes, with masks,
too: the average precision of masks measures their quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.evaluation.bootstrap import Interval, bootstrap, bootstrap_counts
from vocdet.evaluation.coco_score import IOUS, CocoScore, object_areas, score_pairs
from vocdet.evaluation.confusion import Confusion, RecallGroup
from vocdet.evaluation.curves import Calibration, LabelCurve
from vocdet.evaluation.errors import Errors
from vocdet.evaluation.evidence import Evidence
from vocdet.evaluation.mask_report import MaskReport, evaluate_masks
from vocdet.evaluation.matching import box_pairs, match_voc, stack
from vocdet.evaluation.operating_point import IOU, OperatingPoint, best_thresholds, operating_point
from vocdet.evaluation.precision import VocScore, count_objects, mean_of, score_outcome
from vocdet.evaluation.protocols import ProtocolStep, protocol_steps
from vocdet.evaluation.resamples import Resampling

MINIMUM_TITLES = {"ap50": "AP50", "ap": "AP", "f1": "F1"}
MIN_THRESHOLD = np.float32(0.05)  # for a hardly learned label the best F1 can be at thousands of false detections


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of one label, or of all. None: undefined, as for a label without objects.

    Over all labels, average precision is the mean over labels; the rest counts all objects.
    """

    images: int  # with its objects
    objects: int  # neither difficult nor a crowd
    difficult: int  # objects left out: difficult ones, and crowd regions
    ap_voc07: float | None  # VOC, 11 points, IoU .5
    ap_voc: float | None  # VOC, area, IoU .5
    ap: float | None  # COCO, IoU .5:.95
    ap50: float | None  # COCO, IoU .5
    precision: float | None  # at the threshold, IoU .5; so are the rest
    recall: float | None
    f1: float | None
    correct: int  # objects with a detection of their label
    wrong: int  # other objects that a false detection overlaps
    missed: int  # the remaining objects
    false: int  # detections without an object, or of a taken one


@dataclass(frozen=True, slots=True)
class LabelMetrics(Metrics):
    """Metrics of one label."""

    label: str
    threshold: float  # score from which its detections count


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Detections at the thresholds in images without objects."""

    images: int  # without objects
    alarmed: int  # of these, with a detection
    detections: int
    per_image: float | None  # detections per image without objects; None: there is no such image


@dataclass(frozen=True, slots=True, repr=False)
class EvalReport:
    """The result of an evaluation: a row for every label, the same over all, and COCO's twelve metrics.

    >>> report = vocdet.evaluate("shelf", detector)
    >>> report.images
    2
    >>> report.overall.objects
    4
    """

    images: int
    labels: tuple[LabelMetrics, ...]  # in the dataset's order
    overall: Metrics
    coco: dict[str, float | None]  # AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl
    interval: Interval | None = None  # on request
    masks: MaskReport | None = None  # if both detections and objects have masks
    false_alarms: FalseAlarms = FalseAlarms(0, 0, 0, None)
    evidence: Evidence | None = field(default=None, compare=False)  # None: read from a file

    def __repr__(self) -> str:
        overall = self.overall
        metrics = {"AP": overall.ap, "AP50": overall.ap50, "precision": overall.precision, "recall": overall.recall}
        if self.masks:
            metrics |= {"mask AP": self.masks.overall.ap, "mask AP50": self.masks.overall.ap50}
        known = "".join(f", {name} {value:.3f}" for name, value in metrics.items() if value is not None)
        sizes = f"{self.images} images, {overall.objects} objects, {len(self.labels)} labels"
        return f"<evaluation of {sizes}{known}>"

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """(L,) the threshold of every label, for `Detections.above`."""
        return np.array([row.threshold for row in self.labels], np.float32)

    def below(self, **least: float | None) -> tuple[str, ...]:
        """The overall metrics that do not reach their minimum, in words; None is no minimum.

        >>> report.below(ap50=1.1)
        ('AP50 is ..., below 1.1',)
        """
        failed = []
        for name, wanted in least.items():
            value: float | None = getattr(self.overall, name)
            if wanted is not None and not (value is not None and value >= wanted):
                shown = f"{'undefined' if value is None else f'{value:.4f}'}, below {wanted:g}"
                failed.append(f"{MINIMUM_TITLES.get(name, name)} is {shown}")
        return tuple(failed)

    @property
    def steps(self) -> tuple[ProtocolStep, ...]:
        """The average precision from VOC 2007's rules to COCO's, one difference at a time."""
        return protocol_steps(self._evidence.dataset, self._evidence.detections)

    @property
    def curves(self) -> tuple[LabelCurve, ...]:
        """Precision, recall and F1 of every label at each score threshold."""
        return self._evidence.curves

    @property
    def errors(self) -> Errors:
        """The errors by kind, and the AP50 that curing each kind would add."""
        return self._evidence.errors

    @property
    def confusion(self) -> Confusion:
        """Which labels are confused at the thresholds, with the background."""
        return self._evidence.confusion

    @property
    def recall_groups(self) -> tuple[RecallGroup, ...]:
        """Recall at the thresholds by size, shape, crowding, flags and position of the objects."""
        return self._evidence.recall_groups

    @property
    def calibration(self) -> Calibration:
        """How far the scores can be read as probabilities."""
        return self._evidence.calibration

    @property
    def _evidence(self) -> Evidence:
        if self.evidence is None:
            raise ValueError("a report without its detections")
        return self.evidence

    def analysis(self) -> dict[str, object]:
        """Errors, confusion matrix, recall by group, and calibration, for JSON."""
        errors, counts = self.errors, self.errors.counts()
        matrix = self.confusion.matrix.tolist()
        return {
            "errors": {name: {"count": counts[name], "ap50": cost} for name, cost in errors.costs.items()},
            "confusion": {"labels": [*self.confusion.labels, "background"], "objects_by_detections": matrix},
            "recall": [asdict(group) | {"recall": group.recall} for group in self.recall_groups],
            "calibration": asdict(self.calibration),
        }

    def as_dict(self) -> dict[str, object]:
        """The report as numbers, text and None for JSON, never NaN; without `interval` and `masks` if they are None."""
        content = asdict(replace(self, evidence=None))
        del content["evidence"]
        for block in (content, content["masks"] or {}):
            if block.get("interval", ...) is None:
                del block["interval"]
        if self.masks is None:
            del content["masks"]
        return content


def evaluate(
    dataset: Dataset,
    detections: Sequence[Detections],
    *,
    thresholds: NDArray[np.float32] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> EvalReport:
    """All metrics of the detections in a dataset; item i of `detections` belongs to image i.

    `thresholds` (L,) are those of the model. By default each label gets the one with the best F1 on these images, at
    least .05, which is slightly optimistic for precision and recall; a label without true detections gets .5. Average
    precision uses all detections: pass them with a low score limit. The size of an object is its annotated area, else
    that of its mask, else that of its box. The metrics of masks need masks of detections
    and objects. `resamples` adds an interval for every metric, drawn with `seed` (see `bootstrap`). `ValueError`
    for lengths that do not fit the dataset.
    """
    if len(detections) != len(dataset):
        raise ValueError(f"detections of {len(detections)} images for a dataset of {len(dataset)}")
    labels = len(dataset.labels)
    if thresholds is not None and len(thresholds) != labels:
        raise ValueError(f"{len(thresholds)} thresholds for {labels} labels")
    table = stack(detections, labels)
    sizes = object_areas(dataset.objects)
    pairs = box_pairs(dataset.objects, table, floor=float(IOUS[0]))
    match = match_voc(pairs, dataset.objects, len(table), IOU)
    count = count_objects(dataset.objects, labels)
    if thresholds is None:
        best = best_thresholds(table, match.outcome, count)
        thresholds = np.maximum(best, MIN_THRESHOLD)
    point = operating_point(dataset.objects, table, match, np.asarray(thresholds, np.float32))
    voc = score_outcome(match.outcome, table, count)
    coco = score_pairs(pairs, table, dataset.objects, labels, sizes)
    evidence = Evidence(dataset, table, match, point.thresholds)
    drawing = Resampling(len(dataset), resamples, seed)
    drawn = partial(bootstrap, detections=table, drawing=drawing, labels=labels)
    interval = None
    if resamples:
        of_averages = drawn(coco, match.outcome, objects=dataset.objects)
        interval = bootstrap_counts(of_averages, evidence, point, drawing)
    masks = table.mask is not None and len(dataset.objects.segmentation.rows) > 0
    return _eval_report(
        dataset, voc, coco, point,
        interval=interval,
        masks=evaluate_masks(dataset, table, sizes, drawn if resamples else None) if masks else None,
        evidence=evidence,
    )  # fmt: skip


def _false_alarms(evidence: Evidence) -> FalseAlarms:
    false, empty = evidence.alarms
    count = len(empty)
    return FalseAlarms(count, len(np.unique(false)), len(false), len(false) / count if count else None)


def _eval_report(
    dataset: Dataset,
    voc: VocScore,
    coco: CocoScore,
    point: OperatingPoint,
    *,
    interval: Interval | None,
    masks: MaskReport | None,
    evidence: Evidence,
) -> EvalReport:
    labels = len(dataset.labels)
    left_out = dataset.objects.difficult | dataset.objects.crowd
    difficult = np.bincount(dataset.objects.label[left_out], minlength=labels)
    shown = dataset.objects.take(~left_out)
    images = np.bincount(np.unique(np.stack([shown.label, shown.image]), axis=1)[0], minlength=labels)

    rows = []
    for i, label in enumerate(dataset.labels):
        metrics = _metrics(voc, coco, point, slice(i, i + 1), int(images[i]), int(difficult[i]))
        rows.append(LabelMetrics(**asdict(metrics), label=label, threshold=float(point.thresholds[i])))
    overall = _metrics(voc, coco, point, slice(None), len(np.unique(shown.image)), int(difficult.sum()))
    alarms = _false_alarms(evidence)
    return EvalReport(len(dataset), tuple(rows), overall, coco.summary, interval, masks, alarms, evidence)


def _metrics(
    voc: VocScore, coco: CocoScore, point: OperatingPoint, labels: slice, images: int, difficult: int
) -> Metrics:
    correct, wrong, missed, false = (
        int(counts[labels].sum()) for counts in (point.correct, point.wrong, point.missed, point.false)
    )
    objects, kept = correct + wrong + missed, correct + false
    return Metrics(
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
