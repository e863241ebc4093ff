"""What tiles of an image show, merged so that no seam is visible.

Two tiles see the same object if what both can see of it agrees: the boxes, clipped to the overlap of the tiles. So an
object on a seam is one, whether a tile shows all of it or none does, and neighbors of one label stay two.

This file and `vocdet.boxes` need NumPy alone: an export of a detector that was trained on tiles takes them along.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes, area, box_ious, shared_areas

Windows = NDArray[np.int64]  # (V, 4) x0, y0, x1, y1 in whole pixels of the image

SAME_OBJECT = 0.5  # IoU of what two tiles see, from which it is one object
INSIDE = 0.7  # share of a truncated box inside another box, from which it is a part of that object
AGAIN = 0.6  # IoU of two results, from which they are one object after all
EDGE = 0.01  # of a tile's side: a box that ends so close to a seam is truncated by it


def tile_views(width: int, height: int, size: int, overlap: float = 0.2, whole: bool = False) -> Windows:
    """The tiles of an image, row by row, with `whole` last the image itself; an image no larger than a tile is one."""
    xs, ys = (_starts(side, size, overlap) for side in (width, height))
    corners = np.array([(x, y) for y in ys for x in xs], np.int64)
    windows = np.concatenate([corners, np.minimum(corners + size, (width, height))], axis=1)
    if not whole or len(windows) == 1:
        return windows
    return np.concatenate([windows, [[0, 0, width, height]]])


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin, evenly spread, with at least this overlap."""
    if side <= tile:
        return [0]
    shared = math.ceil(overlap * tile)
    count = math.ceil((side - shared) / (tile - shared))
    return [round(start) for start in np.linspace(0, side - tile, count)]


@dataclass(frozen=True)
class Merged:
    """One object."""

    rows: list[int]  # all its detections
    shown: list[int]  # those that its box and its mask are made of
    box: NDArray[np.float64]  # (4,)
    score: float


@dataclass(frozen=True)
class _Seen:
    """All detections in all tiles, in pixels of the image."""

    boxes: Boxes  # (N, 4)
    scores: NDArray[np.float32]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    view: NDArray[np.int64]  # (N,) the tile
    truncated: NDArray[np.bool_]  # (N,) by a seam


def merge(
    found: Sequence[tuple[Boxes, NDArray[np.float32], NDArray[np.int64]]], windows: Windows, size: tuple[int, int]
) -> list[Merged]:
    """The objects in an image of `size` (width, height), best first, from what its windows (V, 4) show.

    `found` has boxes (N, 4) in pixels of the window, scores (N,) and labels (N,) of every window; rows count through
    all of them. An object that a tile shows whole has the box, the mask and the best score it got there; one that only
    the whole image shows has those, and one that nothing shows whole has the union of its parts. Different labels never
    merge.
    """
    seen = _in_image(found, windows, size)
    whole = (windows[:, 2:] - windows[:, :2] == size).all(axis=1)  # (V,) of the whole image
    results = [_result(seen, rows, whole) for rows in _groups(seen, windows)]
    return [results[i] for i in _distinct(results, seen, windows, whole)]


def _in_image(
    found: Sequence[tuple[Boxes, NDArray[np.float32], NDArray[np.int64]]], windows: Windows, size: tuple[int, int]
) -> _Seen:
    view = np.repeat(np.arange(len(found)), [len(boxes) for boxes, _, _ in found])
    boxes = np.concatenate([one[0] for one in found]) + np.tile(windows[view, :2], 2)
    edge = np.maximum(2, EDGE * (windows[:, 2:] - windows[:, :2]).max(axis=1))[view, None]  # (N, 1)
    inner = windows[view] != (0, 0, *size)  # (N, 4) sides of the tile that are seams
    near = np.concatenate([boxes[:, :2] - windows[view, :2] <= edge, windows[view, 2:] - boxes[:, 2:] <= edge], axis=1)
    scores, labels = (np.concatenate([one[column] for one in found]) for column in (1, 2))
    return _Seen(boxes, scores, labels, view, (near & inner).any(axis=1))


def _groups(seen: _Seen, windows: Windows) -> list[list[int]]:
    """The detections of each object: at most one from every view, the surest pairs first."""
    pairs = _seam_pairs(seen, windows)
    group = np.arange(len(seen.view))
    members = {row: [row] for row in range(len(group))}
    for a, b in pairs:
        first, second = int(group[a]), int(group[b])
        if first == second or set(seen.view[members[first]]) & set(seen.view[members[second]]):
            continue
        group[members[second]] = first
        members[first] += members.pop(second)
    return list(members.values())


def _seam_pairs(seen: _Seen, windows: Windows) -> list[tuple[int, int]]:
    """Pairs of detections of one label in different tiles that may be one object, the surest first."""
    rows_of = [np.flatnonzero(seen.view == view) for view in range(len(windows))]
    found: list[tuple[float, int, int]] = []
    for first, a in enumerate(rows_of):
        for second in range(first + 1, len(rows_of)):
            b = rows_of[second]
            low = np.maximum(windows[first, :2], windows[second, :2])
            high = np.minimum(windows[first, 2:], windows[second, 2:])
            if not len(a) or not len(b) or (low >= high).any():
                continue
            quality = _agreement(seen, a, b, (low, high))
            for i, j in np.argwhere(quality > 0).tolist():
                sure = float(np.sqrt(seen.scores[a[i]] * seen.scores[b[j]]))
                found.append((float(quality[i, j]) * sure, int(a[i]), int(b[j])))
    found.sort(key=lambda one: (-one[0], one[1], one[2]))
    return [(a, b) for _, a, b in found]


def _agreement(
    seen: _Seen, a: NDArray[np.int64], b: NDArray[np.int64], shared: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[np.float64]:
    """(A, B) how well what two tiles see in the region they share agrees; 0: not the same object."""
    low, high = shared
    one, other = (
        np.concatenate([np.maximum(seen.boxes[rows, :2], low), np.minimum(seen.boxes[rows, 2:], high)], axis=1)
        for rows in (a, b)
    )
    common = shared_areas(one, other)
    iou = box_ious(one, other, common)
    inside_b = seen.truncated[a, None] & (common >= INSIDE * _areas(seen.boxes[a])[:, None])
    inside_a = seen.truncated[None, b] & (common >= INSIDE * _areas(seen.boxes[b])[None])
    quality = np.where(iou >= SAME_OBJECT, iou, np.where(inside_a | inside_b, SAME_OBJECT / 2, 0.0))
    return np.asarray(quality * (seen.labels[a, None] == seen.labels[None, b]))


def _result(seen: _Seen, rows: list[int], whole: NDArray[np.bool_]) -> Merged:
    score = float(seen.scores[rows].max())
    complete = [row for row in rows if not seen.truncated[row]]
    if complete:  # in a tile rather than in the whole image, where it is smaller
        best = max(complete, key=lambda row: (not whole[seen.view[row]], float(seen.scores[row])))
        return Merged(rows, [best], seen.boxes[best], score)
    boxes = seen.boxes[rows]
    return Merged(rows, rows, np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]), score)


def _distinct(results: list[Merged], seen: _Seen, windows: Windows, whole: NDArray[np.bool_]) -> list[int]:
    """The results to keep, best first: without repetitions, and without what the whole image shows as one but tiles
    show as several."""
    if not results:
        return []
    boxes = np.array([one.box for one in results])
    labels = np.array([seen.labels[one.rows[0]] for one in results])
    views = [set(seen.view[one.rows].tolist()) for one in results]
    common = shared_areas(boxes, boxes)
    iou, inside = box_ious(boxes, boxes, common), common / _areas(boxes)[:, None]
    complete = np.array([not seen.truncated[one.shown].any() and not whole[seen.view[one.shown]].any()
                         for one in results])  # fmt: skip
    kept: list[int] = []
    for i in sorted(range(len(results)), key=lambda i: (-results[i].score, i)):
        alike = labels == labels[i]
        if any(alike[k] and iou[i, k] >= AGAIN and not views[i] & views[k] for k in kept):
            continue
        if whole[seen.view[results[i].rows]].all():  # only the whole image shows it
            fits = ((windows[~whole, :2] <= boxes[i, :2]) & (boxes[i, 2:] <= windows[~whole, 2:])).all(axis=1).any()
            if fits and (alike & complete & (inside[:, i] >= INSIDE)).sum() > 1:
                continue
        kept.append(i)
    return kept


def _areas(boxes: Boxes) -> NDArray[np.float64]:
    return np.maximum(area(boxes), 1e-9)
