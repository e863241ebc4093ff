"""Masks under a view: drawn where their objects appear, and nowhere else.

A mask is drawn in the frame of its image as the view moves and scales it, as if the whole image were drawn at that
scale and then cut and mirrored: what a mask looks like does not depend on where a crop begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.inputs.object_masks import ObjectMasks
from vocdet.inputs.transforms import View
from vocdet.mask_crops import Cut, Mask, MaskCrops

Into = tuple[int, int, int, int]
THINNEST = 2  # pixels each way of what is left of a box

_DECIMALS = 6  # of a coordinate: moved there and back, it is what it was


def see_masks(
    found: ObjectMasks,
    objects: NDArray[np.int64],
    boxes: Boxes,
    *,
    cut: NDArray[np.bool_],
    size: tuple[int, int],
    view: View,
    into: Into,
) -> tuple[NDArray[np.int64], Boxes, MaskCrops]:
    """The masks of `objects` (K,) of an image of `size` (width, height) in the rectangle `into`: rows, boxes, masks.

    `boxes` (K, 4) are what is seen of theirs there, `cut` (K,) says which of them the view cuts. Of those, the box
    becomes that of what is seen of the mask, and an object of whose mask less than two pixels each way are seen is
    none: `rows` (N,) are the others. The mask of one that is not cut may be too thin for any pixel; then it has none.
    """  # fmt: skip
    rows, kept, drawn = [], [], []
    usable = found.usable
    for i, row in enumerate(objects.tolist()):
        box, seen = boxes[i], None
        if usable[row]:
            seen = seen_mask(found, row, size, view, into)
            if cut[i]:
                tight = None if seen is None else bounded(box, seen)
                if tight is None:
                    continue
                box = tight
        rows.append(i)
        kept.append(box)
        drawn.append(seen)
    return np.array(rows, np.int64), np.array(kept, np.float64).reshape(-1, 4), MaskCrops.of(drawn)


def bounded(box: NDArray[np.float64], seen: Cut) -> NDArray[np.float64] | None:
    """The part of a box (4,) that a mask fills the bounds of; None where that is too thin to be an object's."""
    x0, y0, mask = seen
    low = np.maximum(box[:2], (x0, y0))
    high = np.minimum(box[2:], (x0 + mask.shape[1], y0 + mask.shape[0]))
    return np.concatenate([low, high]) if (high - low >= THINNEST).all() else None


def seen_mask(found: ObjectMasks, row: int, size: tuple[int, int], view: View, into: Into) -> Cut | None:
    """What is seen of an object's mask in the rectangle `into`, cut to its bounds; None: no pixel of it."""
    left, top, right, bottom = into
    target = (right - left, bottom - top)
    scale = np.array(target) / (np.array([view.x1 - view.x0, view.y1 - view.y0]) * size)
    begin = np.round(np.array([view.x0, view.y0]) * size * scale, _DECIMALS)  # of the view, in pixels of the rectangle
    ends = np.array(size) * scale - begin
    # of the image in the rectangle: x0, y0, x1, y1
    shown = np.concatenate([np.maximum(np.rint(-begin), 0), np.minimum(np.rint(ends), target)]).astype(np.int64)
    if found.rle[row]:
        whole = _resampled(found.counts(row), size, scale, begin, shown)
    else:
        whole = _drawn(found.polygons(row), scale, begin, shown)
    seen = None if whole is None else tight(*whole)
    if seen is None:
        return None
    x0, y0, mask = seen
    if view.mirrored:
        x0, mask = target[0] - x0 - mask.shape[1], mask[:, ::-1]
    return left + x0, top + y0, mask


def tight(x0: int, y0: int, mask: Mask) -> Cut | None:
    """A mask that begins at this pixel, cut to its bounds; None where it has no pixel."""
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(xs):
        return None
    left, top = int(xs[0]), int(ys[0])
    return x0 + left, y0 + top, mask[top : int(ys[-1]) + 1, left : int(xs[-1]) + 1]


def _drawn(
    polygons: Sequence[NDArray[np.float64]],
    scale: NDArray[np.float64],
    begin: NDArray[np.float64],
    shown: NDArray[np.int64],
) -> Cut | None:
    """Polygons in a rectangle where the image fills `shown`."""
    moved = [np.round(polygon * scale - begin, _DECIMALS) for polygon in polygons]
    points = np.concatenate(moved)
    low, high = points.min(axis=0), points.max(axis=0)
    first = np.maximum(np.floor(low), shown[:2]).astype(np.int64)
    last = np.minimum(np.ceil(high), shown[2:]).astype(np.int64)
    if (last <= first).any():
        return None
    # pycocotools rounds numbers below zero towards it: only what lies beyond the image may be below
    corner = np.floor(-begin)
    origin = np.where(low >= corner, np.floor(low), corner)
    width, height = (last - origin).astype(np.int64).tolist()
    placed = [np.round(polygon - origin, _DECIMALS).reshape(-1) for polygon in moved]
    try:
        counts = masks.drawn_counts(placed, height, width)
    except masks.MaskError:  # an outline that nobody could have drawn
        return None
    x, y = (first - origin).astype(np.int64).tolist()
    return int(first[0]), int(first[1]), masks.window(counts, height, (x, y, width, height)).astype(np.uint8)


def _resampled(
    counts: NDArray[np.int64],
    size: tuple[int, int],
    scale: NDArray[np.float64],
    begin: NDArray[np.float64],
    shown: NDArray[np.int64],
) -> Cut | None:
    """The mask of these run lengths in a rectangle where the image fills `shown`: pixels of which half is covered."""
    bounds = masks.counts_bounds(counts, size[1])
    if bounds is None:
        return None
    low, high = np.array(bounds[:2]), np.array(bounds[2:])
    first = np.maximum(np.floor(np.round(low * scale - begin, _DECIMALS)), shown[:2]).astype(np.int64)
    last = np.minimum(np.ceil(np.round(high * scale - begin, _DECIMALS)), shown[2:]).astype(np.int64)
    if (last <= first).any():
        return None
    # where every pixel begins in the image, and the last one ends
    xs, ys = ((np.arange(first[k], last[k] + 1) + begin[k]) / scale[k] for k in (0, 1))
    x0, y0 = max(int(xs[0]), 0), max(int(ys[0]), 0)
    x1, y1 = min(int(np.ceil(xs[-1] - 1e-6)), size[0]), min(int(np.ceil(ys[-1] - 1e-6)), size[1])
    part = masks.window(counts, size[1], (x0, y0, x1, y1)).astype(np.float32)
    covered = _averaged(_averaged(part, ys - y0).T, xs - x0).T
    return int(first[0]), int(first[1]), (covered > 0.5 - 1e-3).astype(np.uint8)


def _averaged(values: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """Means of rows (n, m) between one edge and the next, in rows; beyond the rows there is nothing: (edges - 1, m)."""
    n = len(values)
    sums = np.zeros((n + 1, values.shape[1]), np.float32)
    np.cumsum(values, axis=0, out=sums[1:])
    place = np.clip(edges, 0, n)
    whole = np.minimum(place.astype(np.int64), n - 1)
    at = sums[whole] + (place - whole).astype(np.float32)[:, None] * values[whole]
    return np.asarray(np.diff(at, axis=0) / np.diff(edges).astype(np.float32)[:, None], np.float32)
