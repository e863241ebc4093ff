"""The areas of all masks of a dataset, and the masks that are invalid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.data.texts import Texts

_CHUNK = 1000  # masks that are measured together
_POLYGONS = msgspec.json.Decoder(list[list[list[float]]])


@dataclass(frozen=True, slots=True, eq=False)
class MaskAreas:
    """The measurements of a column of masks."""

    area: NDArray[np.float64]  # (M,) as `masks.area`, with six decimals; NaN without a valid mask
    errors: dict[int, masks.MaskError]  # by row
    sizes: dict[int, tuple[int, int]]  # height and width of RLEs, by row
    bounds: NDArray[np.float64]  # (M, 4) xmin, ymin, xmax, ymax of polygons; NaN for all others


def mask_areas(segmentations: Texts) -> MaskAreas:
    """Parse and measure every mask of a column."""
    count = len(segmentations)
    measured = MaskAreas(np.full(count, np.nan), {}, {}, np.full((count, 4), np.nan))
    rows, ends, data = segmentations.rows, segmentations.ends, segmentations.data
    starts = ends - np.diff(ends, prepend=0)
    outlined = data[starts] == ord("[")

    def texts(places: NDArray[np.int64]) -> list[memoryview]:
        return [data.data[a:b] for a, b in zip(starts[places].tolist(), ends[places].tolist(), strict=True)]

    others, polygons = np.flatnonzero(~outlined), np.flatnonzero(outlined)
    for row, text in zip(rows[others].tolist(), texts(others), strict=True):
        _measure(row, bytes(text), measured)
    for first in range(0, len(polygons), _CHUNK):
        chunk = polygons[first : first + _CHUNK]
        found = texts(chunk)
        outlines = outlines_of(found)
        if outlines is not None:
            measured.area[rows[chunk]], measured.bounds[rows[chunk]] = outlines.areas(), outlines.bounds()
            continue
        for row, text in zip(rows[chunk].tolist(), found, strict=True):
            _measure(row, bytes(text), measured)
    return measured


def _measure(row: int, text: bytes, measured: MaskAreas) -> None:
    try:
        segmentation = masks.parse(text)
    except masks.MaskError as error:
        measured.errors[row] = error
        return
    if isinstance(segmentation, masks.Rle):
        measured.area[row] = segmentation.area
        measured.sizes[row] = segmentation.height, segmentation.width
        return
    alone = outlines_of([text])  # the same to the last digit as in a chunk
    measured.area[row] = round(masks.area(segmentation), 6) if alone is None else alone.areas()[0]
    measured.bounds[row] = masks.bounds(segmentation)


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """The polygons of several objects, one after the other."""

    each: NDArray[np.int64]  # (K,) polygons of every object, one or more
    counts: NDArray[np.int64]  # (P,) points of every polygon, three or more
    points: NDArray[np.float64]  # (sum of counts, 2) x, y

    def areas(self) -> NDArray[np.float64]:
        """(K,) square pixels by the shoelace formula, every polygon by itself, with six decimals."""
        cross, firsts = self._triangles()
        single = np.abs(np.add.reduceat(cross, firsts)) / 2
        return np.asarray(np.round(np.add.reduceat(single, self.first_polygons()), 6), np.float64)

    def lines(self) -> NDArray[np.bool_]:
        """(K,) whether all polygons of an object are lines, or points. The area of one that crosses itself may be 0."""
        cross, firsts = self._triangles()
        return np.asarray(np.add.reduceat(np.abs(cross), firsts[self.first_polygons()]) == 0)

    def _triangles(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Twice the signed area of the triangle of each side and its polygon's first point; the first of each."""
        ends = np.cumsum(self.counts)
        firsts = ends - self.counts
        points = self.points - np.repeat(self.points[firsts], self.counts, axis=0)  # far out no decimals would be left
        following = np.arange(1, len(points) + 1)
        following[ends - 1] = firsts  # a polygon's last point is followed by its first
        return points[:, 0] * points[following, 1] - points[following, 0] * points[:, 1], firsts

    def bounds(self) -> NDArray[np.float64]:
        """(K, 4) xmin, ymin, xmax, ymax of all points of an object."""
        firsts = (np.cumsum(self.counts) - self.counts)[self.first_polygons()]
        return np.concatenate(
            [np.minimum.reduceat(self.points, firsts), np.maximum.reduceat(self.points, firsts)], axis=1
        )

    def first_polygons(self) -> NDArray[np.int64]:
        """(K,) the first polygon of every object."""
        return np.asarray(np.cumsum(self.each) - self.each)


def outlines_of(texts: Sequence[bytes | memoryview]) -> Outlines | None:
    """The polygons in the JSON of one or more polygon lists; None if one of them is invalid."""
    try:
        lists = _POLYGONS.decode(b"[" + b",".join(texts) + b"]")
    except (msgspec.DecodeError, RecursionError):
        return None
    if len(lists) != len(texts):
        return None
    each = np.fromiter(map(len, lists), np.int64, len(lists))
    flat = list(chain.from_iterable(lists))
    lengths = np.fromiter(map(len, flat), np.int64, len(flat))
    if not each.all() or (lengths % 2).any() or (lengths < 6).any():
        return None
    numbers = np.fromiter(chain.from_iterable(flat), np.float64, int(lengths.sum()))
    if not (np.abs(numbers) <= masks.FURTHEST).all():
        return None
    return Outlines(each, lengths // 2, numbers.reshape(-1, 2))


def same_area(stated: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(M,) whether stated areas equal measured ones."""
    return np.abs(stated - measured) <= 1e-6 * np.maximum(1.0, measured)
