"""A mask as one polygon, for formats that have nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.masks import Polygons, Rle

Point: TypeAlias = "tuple[float, float]"
Ring: TypeAlias = "list[Point]"  # the corners of an outline, in order

MOST_COMPARED = 100  # polygons of one object; more of them are drawn


def as_polygon(segmentation: Polygons | Rle, height: int, width: int) -> list[float] | None:
    """One polygon (x1, y1, x2, y2, ...) that covers what a mask covers of its image; None if that is nothing.

    A polygon is clipped to the image. Polygons apart from each other are joined by lines without area. An RLE, and
    polygons that may overlap, follow the edges of their pixels, with holes. `MaskError` as from `masks.pixels`.
    """
    if isinstance(segmentation, Rle) or not _are_apart(segmentation):
        rings = outlines(masks.pixels(segmentation, height, width))
    else:
        rings = [clipped(list(zip(one[::2], one[1::2], strict=True)), height, width) for one in segmentation]
    rings = [ring for ring in rings if len(ring) >= 3 and _area(ring) > 0]
    return list(chain.from_iterable(_one_outline(rings))) if rings else None


def outlines(mask: NDArray[np.bool_]) -> list[Ring]:
    """The edges of the pixels of a mask (H, W): one ring around each piece and one around each hole.

    Pixels that touch only at a corner are separate pieces.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    leads_to: dict[tuple[int, int], list[tuple[int, int]]] = {}  # with the mask on the right-hand side
    across, down = np.diff(padded[:, 1:-1], axis=0), np.diff(padded[1:-1], axis=1)
    for y, x in np.argwhere(across).tolist():
        first, last = ((x, y), (x + 1, y)) if across[y, x] > 0 else ((x + 1, y), (x, y))
        leads_to.setdefault(first, []).append(last)
    for y, x in np.argwhere(down).tolist():
        first, last = ((x, y + 1), (x, y)) if down[y, x] > 0 else ((x, y), (x, y + 1))
        leads_to.setdefault(first, []).append(last)
    rings = []
    while leads_to:
        start = next(iter(leads_to))
        rings.append(_ring_from(start, leads_to))
    return rings


def _ring_from(start: tuple[int, int], leads_to: dict[tuple[int, int], list[tuple[int, int]]]) -> Ring:
    """Follow the edges from a corner until they return to it, and take them out; corners on a line are left out."""
    ring: Ring = []
    place, (dx, dy) = start, (0, 0)
    while True:
        choices = leads_to[place]
        right = place[0] - dy, place[1] + dx  # stays with the same pixel where two touch at a corner
        after = right if right in choices else choices[0]
        choices.remove(after)
        if not choices:
            del leads_to[place]
        step = after[0] - place[0], after[1] - place[1]
        if step != (dx, dy):
            ring.append(place)
        place, (dx, dy) = after, step
        if place == start and (not leads_to.get(place) or (place[0] - dy, place[1] + dx) not in leads_to[place]):
            return ring


def clipped(ring: Ring, height: int, width: int) -> Ring:
    """The part of an outline inside an image (Sutherland and Hodgman, 1974)."""
    for axis, limit, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        inside = [sign * (point[axis] - limit) >= 0 for point in ring]
        if all(inside):
            continue
        kept: Ring = []
        for i, point in enumerate(ring):
            before = ring[i - 1]
            if inside[i] != inside[i - 1]:
                share = (limit - before[axis]) / (point[axis] - before[axis])
                other = before[1 - axis] + share * (point[1 - axis] - before[1 - axis])
                kept.append((limit, other) if axis == 0 else (other, limit))
            if inside[i]:
                kept.append(point)
        ring = kept
    return ring


def _are_apart(polygons: Polygons) -> bool:
    """Whether the boxes around polygons do not overlap."""
    if len(polygons) > MOST_COMPARED:
        return False
    boxes = np.array([masks.bounds([polygon]) for polygon in polygons])
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    overlap = (low < high).all(axis=2)
    np.fill_diagonal(overlap, val=False)
    return not overlap.any()


def _one_outline(rings: Sequence[Ring]) -> Ring:
    """One outline along all rings; the lines from each to the next are followed in both directions."""
    out = [point for ring in rings for point in ([*ring, ring[0]] if len(rings) > 1 else ring)]
    return out + [ring[0] for ring in rings[-2:0:-1]]


def _area(ring: Ring) -> float:
    return masks.area([[number for point in ring for number in point]])
