"""The interface of all detectors, whatever their model and the library that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels

if TYPE_CHECKING:
    from vocdet.inputs.images import Image  # loads OpenCV, which metrics do not need

DEFAULT_THRESHOLD = 0.5  # of every label, where a checkpoint has no thresholds


class Predictor(Protocol):
    """Detects objects in images of any size. Images are RGB (H, W, 3) uint8, with the EXIF orientation applied."""

    levels: Levels | None  # of images with more than 8 bits a sample; None: each image gets its own

    @property
    def labels(self) -> tuple[str, ...]:
        """The names that `Detections.labels` indexes."""

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """(L,) the score from which a detection of each label counts: for `Detections.above`."""

    def detect(self, images: Sequence[Image], *, score: float = ...) -> list[Detections]:
        """The detections above `score` in each image, best first, in pixels of that image."""


def thresholds_of(labels: Sequence[str], known: Sequence[float] | None) -> NDArray[np.float32]:
    """(L,) the thresholds of a checkpoint, or the default for every label."""
    return np.array([DEFAULT_THRESHOLD] * len(labels) if known is None else known, np.float32)
