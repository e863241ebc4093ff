"""Objects of one image pasted over another, along their masks (Ghiasi et al. 2021, Simple Copy-Paste)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.inputs.mask_views import bounded, tight
from vocdet.inputs.samples import Sample
from vocdet.inputs.transforms import VISIBLE
from vocdet.mask_crops import Cut, MaskCrops

CHOSEN = 0.5  # of the objects that can be pasted


def paste(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    """`sample` with some objects of `other`, a sample of the same size, pasted over it; the image of `sample` changes.

    A random part of the objects that have masks is pasted, at least one. What they hide is removed from the masks and
    boxes below; an object with less than a quarter visible is removed. One without a mask is judged by its box, which
    is never cropped. Crowds below remain, those of `other` are never pasted.
    """
    if sample.masks is None or other.masks is None:
        raise ValueError("pasting needs the masks of both samples")
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
    rows, boxes, masks = _remaining(sample.boxes, sample.masks, cover)
    return Sample(
        sample.image,
        np.concatenate([boxes, other.boxes[chosen]]),
        np.concatenate([sample.labels[rows], other.labels[chosen]]),
        tuple(dict.fromkeys(sample.rows + other.rows)),
        MaskCrops.joined([masks, pasted]),
        sample.crowds,
    )


def _remaining(
    boxes: NDArray[np.float64], masks: MaskCrops, cover: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.float64], MaskCrops]:
    """The objects that remain under a cover (H, W) of 0 and 1: rows, boxes and masks."""
    rows: list[int] = []
    remaining: list[NDArray[np.float64]] = []
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
        remaining.append(box)
        cuts.append(cut)
    return np.array(rows, np.int64), np.array(remaining, np.float64).reshape(-1, 4), MaskCrops.of(cuts)


def _hidden(box: NDArray[np.float64], cover: NDArray[np.uint8]) -> float:
    """The covered share of a box."""
    x0, y0 = np.floor(box[:2]).astype(int).tolist()
    x1, y1 = np.ceil(box[2:]).astype(int).tolist()
    part = cover[y0:y1, x0:x1]
    return float(np.mean(part)) if part.size else 0.0
