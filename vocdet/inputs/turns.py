"""Pictures that have no way up, turned over and by a quarter, with their boxes and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vocdet.boxes import Boxes
from vocdet.inputs.images import Image
from vocdet.mask_crops import MaskCrops


@dataclass(frozen=True, slots=True)
class Turn:
    """First upside down, then rows made columns, each or not: with a mirror, all eight ways a square can lie."""

    over: bool
    quarter: bool


def random_turn(rng: np.random.Generator, *, quarter: bool | None = None) -> Turn:
    """Any turn, each as often; with `quarter` as it is said, which pictures that are no squares need."""
    over = bool(rng.random() < 0.5)
    return Turn(over, bool(rng.random() < 0.5) if quarter is None else quarter)


def turn_image(image: Image, turn: Turn) -> Image:
    """A picture (H, W, 3) turned: (W, H, 3) by a quarter."""
    image = image[::-1] if turn.over else image
    return np.ascontiguousarray(image.transpose(1, 0, 2) if turn.quarter else image)


def turn_boxes(boxes: Boxes, turn: Turn, height: int) -> Boxes:
    """The boxes (N, 4) of a picture of this height, turned with it."""
    if turn.over:
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1)
    return boxes[:, [1, 0, 3, 2]] if turn.quarter else boxes


def turn_masks(masks: MaskCrops, turn: Turn, height: int) -> MaskCrops:
    """The masks of a picture of this height, turned with it."""
    cuts = []
    for i, (x0, y0, _, y1) in enumerate(masks.where.tolist()):
        mask = masks.crop(i)
        if turn.over:
            y0, mask = height - y1, mask[::-1]
        cuts.append((y0, x0, mask.T) if turn.quarter else (x0, y0, mask))
    return MaskCrops.of(cuts)
