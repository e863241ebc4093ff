"""The only place where labels (from 0) meet classes (background 0, labels from 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from vocdet.boxes import Boxes
from vocdet.data.detections import Detections
from vocdet.data.texts import Texts


def classes_of(labels: Tensor) -> Tensor:
    """Labels, with -1 for padding, as a detector's classes, with 0 for background and padding."""
    return labels + 1


def detections_of(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    *,
    scale: tuple[float, float],
    masks: Sequence[bytes] | None = None,
) -> Detections:
    """A detector's boxes (N, 4), in pixels of its input, and classes from 1, as detections in the image's pixels.

    `scale` is the image's width and height divided by the input's. `masks` are compressed RLEs, in the image's pixels.
    """
    factor = np.array([scale[0], scale[1], scale[0], scale[1]])
    found: Boxes = boxes.cpu().double().numpy() * factor
    column = None if masks is None else Texts.of(masks)
    return Detections(found, scores.float().cpu().numpy(), classes.cpu().numpy() - 1, column)
