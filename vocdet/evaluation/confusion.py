"""Which labels are confused, and which objects are found: counts at the score thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.evaluation.matching import FALSE, TRUE, DetectionTable, VocMatch, box_pairs
from vocdet.evaluation.operating_point import IOU

AT_EDGE = 0.01  # of the width or height: a box that comes this close to the edge of its image touches it
OVERLAP = 0.3  # IoU with another object from which an object is crowded


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Objects by row, detections by column; the last row and column are the background.

    A row adds up to the objects of its label, a column to the detections of its label that count; the diagonal is what
    the table calls correct. Only where neither is correct, an object and a detection of another label are a pair, one
    to one, the largest overlap of at least .5 first.
    """

    labels: tuple[str, ...]
    matrix: NDArray[np.int64]  # (L + 1, L + 1)
    object_pair: NDArray[np.int64]  # (M,) the detection that an object is counted with; -1: background
    correct: NDArray[np.bool_]  # (M,) objects that a detection of their label has
    detection_pair: NDArray[np.int64]  # (D,) the object of a detection; -1: background; -2: not counted


@dataclass(frozen=True, slots=True)
class RecallGroup:
    """The objects with one property, and how many of them are detected."""

    by: str  # size, shape, crowding, truncated, occluded, position
    group: str
    objects: int
    correct: int

    @property
    def recall(self) -> float | None:
        """The share that is detected; None without objects."""
        return self.correct / self.objects if self.objects else None


def confusion_matrix(
    dataset: Dataset, detections: DetectionTable, match: VocMatch, thresholds: NDArray[np.float32]
) -> Confusion:
    """The confusion matrix of the detections that reach the thresholds (L,) of their labels."""
    objects, labels = dataset.objects, len(dataset.labels)
    kept = detections.score >= thresholds[detections.label]
    wanted = ~(objects.difficult | objects.crowd)
    right, false = (np.flatnonzero(kept & (match.outcome == kind)) for kind in (TRUE, FALSE))
    object_pair = np.full(len(objects), -1)
    detection_pair = np.full(len(detections), -2)
    detection_pair[false] = -1
    object_pair[match.object[right]], detection_pair[right] = right, match.object[right]
    correct = object_pair >= 0
    free = np.flatnonzero(wanted & (object_pair < 0))
    pairs = box_pairs(objects.take(free), detections.take(false), floor=IOU, across_labels=True)
    order = np.lexsort((pairs.object, -detections.score[false[pairs.detection]], -pairs.overlap))
    for one, other in zip(false[pairs.detection[order]].tolist(), free[pairs.object[order]].tolist(), strict=True):
        differ = detections.label[one] != objects.label[other]
        if differ and detection_pair[one] < 0 and object_pair[other] < 0:
            detection_pair[one], object_pair[other] = other, one
    matrix = np.zeros((labels + 1, labels + 1), np.int64)
    shown = np.flatnonzero(wanted)
    partner = object_pair[shown]
    column = np.where(partner >= 0, detections.label[partner] if len(detections) else labels, labels)
    np.add.at(matrix, (objects.label[shown], column), 1)
    np.add.at(matrix[labels], detections.label[detection_pair == -1], 1)
    return Confusion(dataset.labels, matrix, object_pair, correct, detection_pair)


GROUPS = (
    ("size", "small"), ("size", "medium"), ("size", "large"), ("shape", "tall"), ("shape", "square"), ("shape", "wide"),
    ("crowding", "alone"), ("crowding", "touching"), ("crowding", "crowded"), ("truncated", "no"), ("truncated", "yes"),
    ("occluded", "no"), ("occluded", "yes"), ("position", "middle"), ("position", "between"), ("position", "edge"),
)  # fmt: skip


def recall_groups(confusion: Confusion, grouped: NDArray[np.bool_]) -> tuple[RecallGroup, ...]:
    """Recall of the objects in each of these groups, as `object_groups` gives them."""
    count, correct = grouped.sum(axis=1).tolist(), (grouped & confusion.correct).sum(axis=1).tolist()
    return tuple(RecallGroup(*name, *counts) for name, *counts in zip(GROUPS, count, correct, strict=True))


def object_groups(dataset: Dataset, areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(G, M) which objects are in each of `GROUPS`: size (as COCO has it), shape, crowding, flags and position.

    `areas` (M,) are those of the objects. Difficult ones and crowds are in none.
    """
    objects = dataset.objects
    box = objects.box
    size = np.stack([dataset.images.widths[objects.image], dataset.images.heights[objects.image]], axis=1)
    wide, high = np.maximum(box[:, 2] - box[:, 0], 1e-9), np.maximum(box[:, 3] - box[:, 1], 1e-9)
    ratio = wide / high
    near = box_pairs(objects, _as_detections(dataset), floor=1e-9, across_labels=True)
    near = near.take(near.detection != near.object)
    overlap = np.zeros(len(objects))
    np.maximum.at(overlap, near.detection, near.overlap)
    edge = ((box[:, :2] <= AT_EDGE * size) | (box[:, 2:] >= (1 - AT_EDGE) * size)).any(axis=1)
    middle = (np.abs((box[:, :2] + box[:, 2:]) / 2 / size - 0.5) <= 1 / 6).all(axis=1) & ~edge
    groups = [
        areas < 32**2, (areas >= 32**2) & (areas < 96**2), areas >= 96**2,
        ratio <= 0.75, (ratio > 0.75) & (ratio <= 4 / 3), ratio > 4 / 3,
        overlap == 0, (overlap > 0) & (overlap < OVERLAP), overlap >= OVERLAP,
        ~objects.truncated, objects.truncated, ~objects.occluded, objects.occluded, middle, ~middle & ~edge, edge,
    ]  # fmt: skip
    return np.stack(groups) & ~(objects.difficult | objects.crowd)


def _as_detections(dataset: Dataset) -> DetectionTable:
    objects = dataset.objects
    image, label = objects.image.astype(np.int64), objects.label.astype(np.int64)
    count = len(objects)
    return DetectionTable(image, label, objects.box, np.ones(count, np.float32), np.arange(count))
