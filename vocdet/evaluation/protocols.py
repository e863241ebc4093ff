"""Why protocols give different average precision for the same detections: one difference at a time, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vocdet.data.dataset import Dataset
from vocdet.evaluation.coco_score import IOUS, MAX_DETECTIONS, average_precision_101
from vocdet.evaluation.matching import IGNORED, TRUE, DetectionTable, box_pairs, match_coco, match_voc
from vocdet.evaluation.operating_point import IOU
from vocdet.evaluation.precision import by_label, count_objects, mean_of, score_outcome


@dataclass(frozen=True, slots=True)
class ProtocolStep:
    """The mean average precision after one more difference."""

    name: str
    value: float | None
    why: str


def protocol_steps(dataset: Dataset, detections: DetectionTable) -> tuple[ProtocolStep, ...]:
    """From VOC 2007's average precision to COCO's AP; each step changes one rule of the one before.

    The last one is beside the others: VOC 2010 with a pixel more in width and height.
    """
    objects, labels = dataset.objects, len(dataset.labels)
    count = count_objects(objects, labels)
    rows = by_label(detections, labels)
    pairs = box_pairs(objects, detections, floor=IOU)
    voc = match_voc(pairs, objects, len(detections), IOU).outcome
    devkit = score_outcome(voc, detections, count)
    points = average_precision_101(voc[None], rows, count)
    ignored = objects.difficult | objects.crowd
    coco = match_coco(pairs, detections, ignored, objects.crowd, IOUS)
    every = average_precision_101(coco[:1], rows, count)
    best = [mine[detections.rank[mine] < MAX_DETECTIONS] for mine in rows]
    limited = average_precision_101(coco, best, count)
    wide = match_voc(box_pairs(objects, detections, floor=IOU, inclusive=True), objects, len(detections), IOU).outcome
    plus = score_outcome(wide, detections, count).ap
    other = int(((voc == TRUE) != (coco[0] == TRUE)).sum())
    apart = int(((voc == IGNORED) != (coco[0] == IGNORED)).sum())
    cut = sum(map(len, rows)) - sum(map(len, best))
    by_iou = ", ".join(f"{iou:.2f}: {mean_of(column) or 0:.3f}" for iou, column in zip(IOUS, limited.T, strict=True))
    own, taken = "a detection belongs to the object it overlaps most", "a detection takes the next free object"
    values = (
        ("VOC 2007", devkit.ap07, f"11 recalls, IoU .5; {own}"),
        ("VOC 2010", devkit.ap, "the area under the curve instead of 11 recalls"),
        ("101 recalls", points[:, 0], "101 recalls instead of the area"),
        ("COCO matching", every[:, 0], f"{taken}: {other} become correct or false, {apart} ignored or not"),
        ("AP50", limited[:, 0], f"at most {MAX_DETECTIONS} detections of a label in an image: {cut} left out"),
        ("AP", limited.mean(axis=1), f"the mean over IoU .5 to .95: {by_iou}"),
        ("VOC 2010, +1 pixel", plus, "width xmax - xmin + 1, as scripts compute it from 0-based numbers"),
    )
    return tuple(ProtocolStep(name, mean_of(value), why) for name, value, why in values)


def differences(steps: Sequence[ProtocolStep]) -> list[float | None]:
    """How much each step changes the value, the last one that of VOC 2010; None for the first, and without objects."""
    values = [step.value for step in steps]
    changes = [None if a is None or b is None else b - a for a, b in zip(values, values[1:-1], strict=False)]
    beside = None if values[-1] is None or values[1] is None else values[-1] - values[1]
    return [None, *changes, beside]
