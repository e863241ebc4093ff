"""What an evaluation compared, and what follows from it; each result is computed at its first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.evaluation.coco_score import object_areas
from vocdet.evaluation.confusion import Confusion, RecallGroup, confusion_matrix, object_groups, recall_groups
from vocdet.evaluation.curves import Calibration, LabelCurve, calibration, label_curves
from vocdet.evaluation.errors import Errors, find_errors
from vocdet.evaluation.matching import IGNORED, TRUE, DetectionTable, VocMatch
from vocdet.evaluation.precision import count_objects


@dataclass(frozen=True, eq=False, repr=False)
class Evidence:
    """The ground truth and the detections of an evaluation, matched by the rules of VOC at IoU .5."""

    dataset: Dataset
    detections: DetectionTable
    match: VocMatch
    thresholds: NDArray[np.float32]  # (L,)

    @cached_property
    def curves(self) -> tuple[LabelCurve, ...]:
        """Precision and recall of every label at each of its scores."""
        labels = self.dataset.labels
        objects = count_objects(self.dataset.objects, len(labels))
        return label_curves(labels, self.detections, self.match.outcome, objects)

    @cached_property
    def errors(self) -> Errors:
        """The errors by kind, and what each costs."""
        return find_errors(self.dataset, self.detections)

    @cached_property
    def confusion(self) -> Confusion:
        """Objects by detections at the thresholds, with the background."""
        return confusion_matrix(self.dataset, self.detections, self.match, self.thresholds)

    @cached_property
    def recall_groups(self) -> tuple[RecallGroup, ...]:
        """Recall by size, shape, crowding, flags and position."""
        return recall_groups(self.confusion, self.grouped)

    @cached_property
    def grouped(self) -> NDArray[np.bool_]:
        """(G, M) which objects are in each group."""
        return object_groups(self.dataset, object_areas(self.dataset.objects))

    @cached_property
    def alarms(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The image of each detection at the thresholds in images without objects; these images."""
        empty = np.setdiff1d(np.arange(len(self.dataset)), self.dataset.objects.image)
        shown = self.detections.image[self.detections.score >= self.thresholds[self.detections.label]]
        return shown[np.isin(shown, empty)], empty

    @cached_property
    def calibration(self) -> Calibration:
        """How far scores can be read as probabilities."""
        counted = self.match.outcome != IGNORED
        return calibration(self.detections.score[counted], self.match.outcome[counted] == TRUE)
