"""Draw masks: a tint, and an outline that is visible on dark and on light."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.data.texts import Texts
from vocdet.inputs.images import Image
from vocdet.mask_crops import Cut, MaskCrops

Color = tuple[int, int, int]

TINT = 0.4  # opacity of the label's color
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def cut_masks(segmentations: Texts, height: int, width: int) -> MaskCrops:
    """The masks of segmentations in an image of this size; invalid and empty ones are left empty."""
    return MaskCrops.of([cut_mask(segmentations[row], height, width) for row in range(len(segmentations))])


def cut_mask(segmentation: bytes, height: int, width: int) -> Cut | None:
    """The mask of a segmentation inside its bounding rectangle; None for an invalid or empty one.

    Only the columns of that rectangle are decoded, so that many small masks in a large image need little memory.
    """
    counts = masks.counts_of(segmentation, height, width)
    if counts is None:
        return None
    bounds = masks.counts_bounds(counts, height)
    return None if bounds is None else (bounds[0], bounds[1], masks.window(counts, height, bounds).astype(np.uint8))


def scaled_masks(crops: MaskCrops, scale: float) -> MaskCrops:
    """Masks for an image that was resized by a factor."""
    cuts: list[Cut | None] = []
    for i, place in enumerate(crops.where):
        x0, y0, x1, y1 = np.rint(place * scale).astype(int).tolist()
        there = x1 > x0 and y1 > y0
        crop = cv2.resize(crops.crop(i), (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST) if there else None
        cuts.append(None if crop is None else (x0, y0, np.asarray(crop, np.uint8)))
    return MaskCrops.of(cuts)


def tint(drawn: Image, crops: MaskCrops, colors: Sequence[Color], line: int) -> None:
    """Draw masks into `drawn` in place, the last on top, with outlines about `line` pixels wide between two edges."""
    line |= 1
    height, width = drawn.shape[:2]
    for i, ((x0, y0, x1, y1), color) in enumerate(zip(crops.where.tolist(), colors, strict=True)):
        if x1 <= x0 or x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            continue  # an empty mask, or one outside the image
        mask = np.ascontiguousarray(crops.crop(i))
        window = drawn[y0:y1, x0:x1]
        tinted = cv2.addWeighted(window, 1 - TINT, np.full_like(window, color), TINT, 0)
        np.copyto(window, tinted, where=mask[..., None] != 0)
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        edge = BLACK if luminance(color) > 110 else WHITE
        for ink, thickness in ((edge, line + 2), (color, line)):  # both odd: the edge is symmetric
            cv2.drawContours(drawn, outlines, -1, ink, thickness, offset=(x0, y0))


def luminance(color: Color) -> float:
    """The luminance of an RGB color, 0 to 255."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def numbered(crops: MaskCrops, numbers: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    """The number (1 to 254) of the topmost mask at every pixel (H, W), 0 for background; the first mask is on top."""
    values = np.zeros((height, width), np.uint8)
    for i in range(len(crops) - 1, -1, -1):
        x0, y0, x1, y1 = crops.where[i].tolist()
        values[y0:y1, x0:x1][crops.crop(i) != 0] = numbers[i]
    return values
