"""Images without an up in any orientation, with their boxes and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vocdet.boxes import Boxes
from vocdet.inputs.images import Image
from vocdet.mask_crops import MaskCrops


@dataclass(frozen=True, slots=True)
class Orientation:
    """A vertical flip, then a transposition, each or not: with a mirror, all eight orientations of a square."""

    flipped: bool
    transposed: bool


def random_orientation(rng: np.random.Generator, *, transposed: bool | None = None) -> Orientation:
    """Any orientation with equal chance. `transposed` fixes that part, for images that are not square."""
    flipped = bool(rng.random() < 0.5)
    return Orientation(flipped, bool(rng.random() < 0.5) if transposed is None else transposed)


def orient_image(image: Image, orientation: Orientation) -> Image:
    """An image (H, W, 3) in this orientation: (W, H, 3) if transposed."""
    image = image[::-1] if orientation.flipped else image
    return np.ascontiguousarray(image.transpose(1, 0, 2) if orientation.transposed else image)


def orient_boxes(boxes: Boxes, orientation: Orientation, height: int) -> Boxes:
    """The boxes (N, 4) of an image of this height in this orientation."""
    if orientation.flipped:
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1)
    return boxes[:, [1, 0, 3, 2]] if orientation.transposed else boxes


def orient_masks(masks: MaskCrops, orientation: Orientation, height: int) -> MaskCrops:
    """The masks of an image of this height in this orientation."""
    cuts = []
    for i, (x0, y0, _, y1) in enumerate(masks.where.tolist()):
        mask = masks.crop(i)
        if orientation.flipped:
            y0, mask = height - y1, mask[::-1]
        cuts.append((y0, x0, mask.T) if orientation.transposed else (x0, y0, mask))
    return MaskCrops.of(cuts)
