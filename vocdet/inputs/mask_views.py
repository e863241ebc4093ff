"""Masks in a view: drawn where their objects appear, and nowhere else.

A mask is drawn in the frame of its image as the view moves and scales it, as if the whole image were drawn at that
scale and then cropped and mirrored: the look of a mask does not depend on where a crop begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.inputs.object_masks import ObjectMasks
from vocdet.inputs.transforms import View
from vocdet.mask_crops import Cut, Mask, MaskCrops

THINNEST = 2  # pixels in both directions of what remains of a box

_POINT_DECIMALS = 6  # of a coordinate: moving it there and back restores it


@dataclass(frozen=True, slots=True)
class MaskFrame:
    """Where a view of an image appears."""

    size: tuple[int, int]  # width, height of the image
    view: View
    into: tuple[int, int, int, int]  # the rectangle x0, y0, x1, y1 of the output


def visible_masks(
    object_masks: ObjectMasks,
    objects: NDArray[np.int64],
    boxes: Boxes,
    *,
    truncated: NDArray[np.bool_],
    frame: MaskFrame,
) -> tuple[NDArray[np.int64], Boxes, MaskCrops]:
    """The masks of `objects` (K,) of an image in a frame: rows, boxes, masks.

    `boxes` (K, 4) are the visible parts of theirs, `truncated` (K,) tells which of them the view truncates. The box of
    a truncated object shrinks to the visible part of its mask; if that is less than two pixels in a direction, the
    object is left out: `rows` (N,) are the others. The mask of an object that is not truncated may be too thin for any
    pixel; then it has none.
    """
    rows, remaining, drawn = [], [], []
    usable = object_masks.usable
    for i, row in enumerate(objects.tolist()):
        box, mask = boxes[i], None
        if usable[row]:
            mask = visible_mask(object_masks, row, frame)
            if truncated[i]:
                tight = None if mask is None else bounded(box, mask)
                if tight is None:
                    continue
                box = tight
        rows.append(i)
        remaining.append(box)
        drawn.append(mask)
    return np.array(rows, np.int64), np.array(remaining, np.float64).reshape(-1, 4), MaskCrops.of(drawn)


def bounded(box: NDArray[np.float64], cut: Cut) -> NDArray[np.float64] | None:
    """The part of a box (4,) inside the bounds of a mask; None if it is too thin for an object."""
    x0, y0, mask = cut
    low = np.maximum(box[:2], (x0, y0))
    high = np.minimum(box[2:], (x0 + mask.shape[1], y0 + mask.shape[0]))
    return np.concatenate([low, high]) if (high - low >= THINNEST).all() else None


def visible_mask(object_masks: ObjectMasks, row: int, frame: MaskFrame) -> Cut | None:
    """The visible part of an object's mask, cut to its bounds; None: no pixel of it is visible."""
    (left, top, right, bottom), view, size = frame.into, frame.view, frame.size
    target = (right - left, bottom - top)
    scale = np.array(target) / (np.array([view.x1 - view.x0, view.y1 - view.y0]) * size)
    begin = np.round(
        np.array([view.x0, view.y0]) * size * scale, _POINT_DECIMALS
    )  # of the view, in pixels of the rectangle
    ends = np.array(size) * scale - begin
    # of the image in the rectangle: x0, y0, x1, y1
    shown = np.concatenate([np.maximum(np.rint(-begin), 0), np.minimum(np.rint(ends), target)]).astype(np.int64)
    if object_masks.rle[row]:
        whole = _resampled_runs(object_masks.counts(row), size, scale, begin, shown)
    else:
        whole = _drawn_polygons(object_masks.polygons(row), scale, begin, shown)
    cut = None if whole is None else tight(*whole)
    if cut is None:
        return None
    x0, y0, mask = cut
    if view.mirrored:
        x0, mask = target[0] - x0 - mask.shape[1], mask[:, ::-1]
    return left + x0, top + y0, mask


def tight(x0: int, y0: int, mask: Mask) -> Cut | None:
    """A mask that begins at this pixel, cut to its bounds; None if it has no pixel."""
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(xs):
        return None
    left, top = int(xs[0]), int(ys[0])
    return x0 + left, y0 + top, mask[top : int(ys[-1]) + 1, left : int(xs[-1]) + 1]


def _drawn_polygons(
    polygons: Sequence[NDArray[np.float64]],
    scale: NDArray[np.float64],
    begin: NDArray[np.float64],
    shown: NDArray[np.int64],
) -> Cut | None:
    """Polygons in a rectangle where the image fills `shown`."""
    moved = [np.round(polygon * scale - begin, _POINT_DECIMALS) for polygon in polygons]
    points = np.concatenate(moved)
    low, high = points.min(axis=0), points.max(axis=0)
    first = np.maximum(np.floor(low), shown[:2]).astype(np.int64)
    last = np.minimum(np.ceil(high), shown[2:]).astype(np.int64)
    if (last <= first).any():
        return None
    # pycocotools rounds negative numbers up: only coordinates beyond the image may be negative
    corner = np.floor(-begin)
    origin = np.where(low >= corner, np.floor(low), corner)
    width, height = (last - origin).astype(np.int64).tolist()
    placed = [np.round(polygon - origin, _POINT_DECIMALS).reshape(-1) for polygon in moved]
    try:
        counts = masks.drawn_counts(placed, height, width)
    except masks.MaskError:  # a polygon without an area
        return None
    x, y = (first - origin).astype(np.int64).tolist()
    return int(first[0]), int(first[1]), masks.window(counts, height, (x, y, width, height)).astype(np.uint8)


def _resampled_runs(
    counts: NDArray[np.int64],
    size: tuple[int, int],
    scale: NDArray[np.float64],
    begin: NDArray[np.float64],
    shown: NDArray[np.int64],
) -> Cut | None:
    """The mask of these run lengths in a rectangle where the image fills `shown`: pixels that are half covered."""
    bounds = masks.counts_bounds(counts, size[1])
    if bounds is None:
        return None
    low, high = np.array(bounds[:2]), np.array(bounds[2:])
    first = np.maximum(np.floor(np.round(low * scale - begin, _POINT_DECIMALS)), shown[:2]).astype(np.int64)
    last = np.minimum(np.ceil(np.round(high * scale - begin, _POINT_DECIMALS)), shown[2:]).astype(np.int64)
    if (last <= first).any():
        return None
    # where every pixel begins in the image, and where the last one ends
    xs, ys = ((np.arange(first[k], last[k] + 1) + begin[k]) / scale[k] for k in (0, 1))
    x0, y0 = max(int(xs[0]), 0), max(int(ys[0]), 0)
    x1, y1 = min(int(np.ceil(xs[-1] - 1e-6)), size[0]), min(int(np.ceil(ys[-1] - 1e-6)), size[1])
    part = masks.window(counts, size[1], (x0, y0, x1, y1)).astype(np.float32)
    covered = _averaged(_averaged(part, ys - y0).T, xs - x0).T
    return int(first[0]), int(first[1]), (covered > 0.5 - 1e-3).astype(np.uint8)


def _averaged(values: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """Means of rows (n, m) from one edge to the next, (edges - 1, m); beyond the rows there are zeros."""
    n = len(values)
    sums = np.zeros((n + 1, values.shape[1]), np.float32)
    np.cumsum(values, axis=0, out=sums[1:])
    place = np.clip(edges, 0, n)
    whole = np.minimum(place.astype(np.int64), n - 1)
    at = sums[whole] + (place - whole).astype(np.float32)[:, None] * values[whole]
    return np.asarray(np.diff(at, axis=0) / np.diff(edges).astype(np.float32)[:, None], np.float32)
