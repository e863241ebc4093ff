"""The only place that converts between labels (from 0) and classes (0 for background, labels from 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from vocdet.boxes import Boxes
from vocdet.data.detections import Detections
from vocdet.data.texts import Texts


def to_classes(labels: Tensor) -> Tensor:
    """Labels, -1 for padding, as a detector's classes, 0 for background and padding."""
    return labels + 1


def to_detections(
    boxes: Tensor, scores: Tensor, classes: Tensor, *, scale: tuple[float, float], masks: Sequence[bytes] | None = None
) -> Detections:
    """A detector's boxes (N, 4), in pixels of its input, and classes from 1 as detections in pixels of the image.

    `scale` is the image's width and height divided by the input's. `masks` are compressed RLEs in pixels of the image.
    """
    factor = np.array([scale[0], scale[1], scale[0], scale[1]])
    scaled: Boxes = boxes.cpu().double().numpy() * factor
    column = None if masks is None else Texts.of(masks)
    return Detections(scaled, scores.float().cpu().numpy(), classes.cpu().numpy() - 1, column)
