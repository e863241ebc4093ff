"""SSD applied to images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.inputs.bridge import to_detections
from vocdet.inputs.images import Image, resize
from vocdet.models.ssd.detect import SCORE, DetectionLimits, detect
from vocdet.models.ssd.model import SsdLite
from vocdet.runtimes.predictor import thresholds_of


class SsdPredictor:
    """Detects objects in images of any size; see `vocdet.runtimes.predictor.Predictor`."""

    def __init__(self, model: SsdLite, thresholds: Sequence[float] | None = None) -> None:
        self._model = model.eval()
        self._device = model.grid.device
        self.labels = model.spec.labels
        self.levels: Levels | None = None
        self.size = model.spec.size
        self.thresholds: NDArray[np.float32] = thresholds_of(self.labels, thresholds)  # (L,)

    def detect(self, images: Sequence[Image], *, score: float = SCORE) -> list[Detections]:
        """The detections above `score` in each RGB image (H, W, 3) uint8, best first, in pixels of that image."""
        if not images:
            return []
        batch = torch.from_numpy(np.stack([resize(image, self.size) for image in images]))
        sides = [(image.shape[1], image.shape[0]) for image in images]
        return self.detect_resized(batch.permute(0, 3, 1, 2), sides, score=score)

    @torch.inference_mode()
    def detect_resized(
        self, batch: Tensor, sides: Sequence[tuple[int, int]], *, score: float = SCORE
    ) -> list[Detections]:
        """The same for a batch (B, 3, H, W) at the input size; `sides` are the original (width, height)."""
        offsets, logits = self._model(batch.to(self._device))
        return self.detections(offsets, logits, sides, score=score)

    def detections(
        self, offsets: Tensor, logits: Tensor, sides: Sequence[tuple[int, int]], *, score: float = SCORE
    ) -> list[Detections]:
        """The same from the model's outputs for such a batch."""
        cells = self._model.spec.neck == "pan"
        detected = detect(offsets, logits, self._model.grid, self.size, DetectionLimits(score), cells=cells)
        height, width = self.size
        return [
            to_detections(f.boxes, f.scores, f.classes, scale=(w / width, h / height))
            for f, (w, h) in zip(detected, sides, strict=True)
        ]
