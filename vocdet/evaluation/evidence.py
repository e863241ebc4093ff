"""What an evaluation compared, and what follows from it: curves, calibration. Each is computed at its first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.evaluation.curves import Calibration, LabelCurve, calibration, label_curves
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
    def calibration(self) -> Calibration:
        """How far scores can be read as probabilities."""
        counted = self.match.outcome != IGNORED
        return calibration(self.detections.score[counted], self.match.outcome[counted] == TRUE)
