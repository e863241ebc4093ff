"""Objects of one picture laid over another, along their masks (Ghiasi et al. 2021, Simple Copy-Paste)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.inputs.mask_views import bounded, tight
from vocdet.inputs.stacks import Sample
from vocdet.inputs.transforms import VISIBLE
from vocdet.mask_crops import Cut, MaskCrops

CHOSEN = 0.5  # of the objects that can be pasted


def paste(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    """`sample`, whose image is changed, under some of the objects of `other`, a picture of the same size.

    Of the objects that have masks a random part is pasted, one at least. What they hide is taken off the
    masks and boxes below; an object of which less than a quarter is left is gone. Of one without a mask its box counts,
    which is never cut.
    """
    if sample.masks is None or other.masks is None:
        raise ValueError("pasting takes masks")
    known = np.flatnonzero(other.masks.known)
    if not len(known):
        return sample
    drawn = rng.random(len(known))
    chosen = known[(drawn < CHOSEN) | (drawn == drawn.min())]
    pasted = other.masks.take(chosen)
    cover = np.zeros(sample.image.shape[:2], np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(pasted.where.tolist()):
        cover[y0:y1, x0:x1] |= pasted.crop(i)
    cv2.copyTo(other.image, cover, sample.image)
    rows, boxes, left = _left(sample.boxes, sample.masks, cover)
    return Sample(
        sample.image,
        np.concatenate([boxes, other.boxes[chosen]]),
        np.concatenate([sample.labels[rows], other.labels[chosen]]),
        tuple(dict.fromkeys(sample.rows + other.rows)),
        MaskCrops.joined([left, pasted]),
    )


def _left(
    boxes: NDArray[np.float64], masks: MaskCrops, cover: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.float64], MaskCrops]:
    """The objects that still count under a cover (H, W) of 0 and 1: their rows, boxes and masks."""
    rows: list[int] = []
    kept: list[NDArray[np.float64]] = []
    cuts: list[Cut | None] = []
    for i, known in enumerate(masks.known.tolist()):
        box, cut = boxes[i], None
        if known:
            x0, y0, x1, y1 = masks.where[i].tolist()
            mask, hidden = masks.crop(i), cover[y0:y1, x0:x1]
            visible = mask & (1 - hidden)
            before, after = int(np.count_nonzero(mask)), int(np.count_nonzero(visible))
            cut = (x0, y0, mask) if after == before else tight(x0, y0, visible)
            smaller = box if after == before or cut is None else bounded(box, cut)
            if cut is None or smaller is None or after < VISIBLE * before:
                continue
            box = smaller
        elif _hidden(box, cover) > 1 - VISIBLE:
            continue
        rows.append(i)
        kept.append(box)
        cuts.append(cut)
    return np.array(rows, np.int64), np.array(kept, np.float64).reshape(-1, 4), MaskCrops.of(cuts)


def _hidden(box: NDArray[np.float64], cover: NDArray[np.uint8]) -> float:
    """The share of a box that is covered."""
    x0, y0 = np.floor(box[:2]).astype(int).tolist()
    x1, y1 = np.ceil(box[2:]).astype(int).tolist()
    part = cover[y0:y1, x0:x1]
    return float(np.mean(part)) if part.size else 0.0
