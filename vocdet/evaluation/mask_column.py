"""The masks of a column, verified and measured together; polygons are drawn only where they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.data.mask_areas import outlines_of
from vocdet.data.mask_runs import measured_runs, runs_of
from vocdet.data.texts import Texts

CocoRle: TypeAlias = "dict[str, Any]"  # size and compressed counts, for pycocotools
_Polygons: TypeAlias = "list[NDArray[np.float64]]"  # each x1, y1, x2, y2, ...

_CHUNK = 1000  # polygons that are verified together


@dataclass(frozen=True, slots=True, eq=False)
class MaskColumn:
    """The masks of N rows."""

    valid: NDArray[np.bool_]  # (N,) has a mask of its image's size
    box: Boxes  # (N, 4) around each valid mask, and up to two pixels larger around polygons
    area: NDArray[np.float64]  # (N,) pixels; NaN of polygons, which are not drawn yet
    size: NDArray[np.int64]  # (N, 2) height and width of the images
    rles: dict[int, CocoRle]  # by row
    polygons: dict[int, _Polygons]  # by row; the other valid masks

    def take(self, rows: NDArray[np.int64]) -> list[CocoRle]:
        """The masks of these rows, which are valid; polygons as pycocotools fills them."""
        waiting: dict[tuple[int, int], list[int]] = {}
        drawn: dict[int, CocoRle] = {}
        sizes = self.size[rows].tolist()
        for row, (height, width) in zip(rows.tolist(), sizes, strict=True):
            if row in self.polygons:
                waiting.setdefault((height, width), []).append(row)
        for (height, width), some in waiting.items():
            flat = coco.frPyObjects(list(chain.from_iterable(self.polygons[row] for row in some)), height, width)
            pieces = iter(flat)
            for row in some:
                own = [next(pieces) for _ in self.polygons[row]]
                drawn[row] = own[0] if len(own) == 1 else coco.merge(own)
        return [drawn[row] if row in drawn else self.rles[row] for row in rows.tolist()]

    def areas(self) -> NDArray[np.float64]:
        """(N,) pixels of every mask."""
        rows = np.fromiter(self.polygons, np.int64, len(self.polygons))
        area = self.area.copy()
        area[rows] = [coco.area(rle) for rle in self.take(rows)]
        return area


def mask_column(texts: Texts, size: NDArray[np.int64]) -> MaskColumn:
    """The valid masks of a column, whose images have these heights and widths (N, 2)."""
    count = len(texts)
    column = MaskColumn(np.zeros(count, np.bool_), np.zeros((count, 4)), np.zeros(count), size, {}, {})  # filled below
    starts = np.concatenate([[0], texts.ends[:-1]]).astype(np.int64)[: len(texts.rows)]
    is_list = texts.data[starts] == ord("[") if len(starts) else np.zeros(0, np.bool_)
    lists = texts.rows[is_list]
    rest = [_add_runs(column, texts, texts.rows[~is_list])]
    rest += [_add_polygons(column, texts, lists[first : first + _CHUNK]) for first in range(0, len(lists), _CHUNK)]
    for row in np.concatenate(rest).tolist():
        rle = masks.compressed(texts[row], *size[row].tolist())
        if rle is not None:
            column.rles[row], column.area[row] = rle, coco.area(rle)
    column.valid[[*column.rles, *column.polygons]] = True
    if column.rles:
        box = coco.toBbox(list(column.rles.values()))
        box[:, 2:] += box[:, :2]
        column.box[list(column.rles)] = box
    return column


def _add_runs(column: MaskColumn, texts: Texts, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add compressed RLEs without drawing them; the result are the rows if some of them are something else."""
    runs = runs_of(texts.take(rows))
    if runs is None:
        return rows
    measured = measured_runs(runs)
    fits = np.flatnonzero(measured.valid & (runs.sizes == column.size[rows]).all(axis=1))
    column.area[rows[fits]] = measured.area[fits]
    sizes = runs.sizes.tolist()
    column.rles.update(
        {
            row: {"size": sizes[i], "counts": runs.counts[i]}
            for row, i in zip(rows[fits].tolist(), fits.tolist(), strict=True)
        }
    )
    return rows[:0]


def _add_polygons(column: MaskColumn, texts: Texts, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add polygons that lie inside or near their images; the result are the other rows."""
    outlines = outlines_of(texts.take(rows).values())
    if outlines is None:
        return rows
    ends = np.cumsum(outlines.counts)
    firsts, polygon = outlines.first_polygons(), outlines.points
    low, high = (pick.reduceat(polygon, ends - outlines.counts) for pick in (np.minimum, np.maximum))  # (P, 2)
    size = np.repeat(column.size[rows, ::-1], outlines.each, axis=0)  # (P, 2) width, height
    usual = ((low <= size) & (high >= 0)).all(axis=1) & (size.prod(axis=1) <= masks.MOST_PIXELS)
    usual &= outlines.counts * ((high - low).max(axis=1) + 1) <= masks.LONGEST_OUTLINE
    usual = np.logical_and.reduceat(usual, firsts)
    where = outlines.bounds() + (-1, -1, 1, 1)
    limit = np.tile(column.size[rows, ::-1], 2)
    column.box[rows] = np.clip(np.concatenate([np.floor(where[:, :2]), np.ceil(where[:, 2:])], axis=1), 0, limit)
    column.area[rows] = np.nan
    pieces = np.split(polygon.reshape(-1), 2 * ends[:-1])
    for row, first, each in zip(
        rows[usual].tolist(), firsts[usual].tolist(), outlines.each[usual].tolist(), strict=True
    ):
        column.polygons[row] = pieces[first : first + each]
    return rows[~usual]
