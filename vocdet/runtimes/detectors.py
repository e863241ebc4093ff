"""Exported detectors applied to images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.data.texts import Texts
from vocdet.inputs.images import Image, fit_size, resize
from vocdet.runtimes.description import Description
from vocdet.runtimes.masks import pasted
from vocdet.runtimes.predictor import thresholds_of

# An image (H, W, 3) uint8 to the outputs of a file: boxes (N, 4), scores (N,), labels (N,) and perhaps masks (N, m, m)
# of the detections at the thresholds, then the same of all candidates.
Run = Callable[[Image], Sequence[NDArray[Any]]]

CANDIDATE_SCORES = {"ssd": 0.001, "maskrcnn": 0.05}  # of a candidate, at least


class ExportedPredictor:
    """Detects objects in images of any size; see `vocdet.runtimes.predictor.Predictor`.

    Images are resized here, exactly as for the model that was exported; the file resizes what it gets from others.
    """

    def __init__(self, run: Run, description: Description) -> None:
        self.run = run
        self.description = description
        self.labels = description.labels
        self.levels: Levels | None = description.levels
        self.thresholds: NDArray[np.float32] = thresholds_of(self.labels, description.thresholds or None)  # (L,)
        self._score = CANDIDATE_SCORES[description.task]

    def detect(self, images: Sequence[Image], *, score: float | None = None) -> list[Detections]:
        """The detections above `score` in each RGB image (H, W, 3) uint8, best first, in pixels of that image."""
        return [self._detect(image, self._score if score is None else score) for image in images]

    def _detect(self, image: Image, score: float) -> Detections:
        height, width = image.shape[:2]
        first, second = self.description.size
        size = (first, second) if self.description.task == "ssd" else fit_size(width, height, first, second)
        return self.candidates(resize(image, size), (height, width), score)

    def candidates(self, image: Image, size: tuple[int, int], score: float = 0.0) -> Detections:
        """The detections in an image that is not resized before, in pixels of an image of `size` (height, width)."""
        outputs = self.run(image)
        boxes, scores, labels, *masks = outputs[len(outputs) // 2 :]
        rows = np.flatnonzero(scores > score)
        scale = np.array([size[1] / image.shape[1], size[0] / image.shape[0]] * 2)
        placed = boxes[rows].astype(np.float64) * scale
        drawn = Texts.of(pasted(masks[0][rows], placed, *size)) if masks else None
        return Detections(placed, scores[rows], labels[rows], drawn)
