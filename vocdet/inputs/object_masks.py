"""The masks of a dataset's objects, parsed once to polygons and run lengths; pixels are drawn when needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.data.dataset import Dataset
from vocdet.data.mask_areas import Outlines, outlines_of

PRECISION = 10_000  # of a pixel: exact for what COCO, labelme and Roboflow write
FURTHEST_POINT = 200_000  # pixels: three times the side of the largest mask
_CHUNK = 5000  # segmentations that are parsed together


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMasks:
    """Masks by object, as numbers: they take less memory than the JSON, and pixels are drawn when needed."""

    first: NDArray[np.int64]  # (M,) the first part of every object
    parts: NDArray[np.int32]  # (M,) the number of its parts: its polygons, or one RLE; 0: no usable mask
    rle: NDArray[np.bool_]  # (M,)
    ends: NDArray[np.int64]  # (P,) where each part ends in `numbers`
    numbers: NDArray[np.int32]  # x, y, ... in ten-thousandths of a pixel, or run lengths

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(M,) whether an object has a usable mask."""
        return np.asarray(self.parts > 0)

    def polygons(self, row: int) -> list[NDArray[np.float64]]:
        """The polygons (N, 2) of an object, in pixels of its image."""
        return [part.reshape(-1, 2) / PRECISION for part in self._parts(row)]

    def counts(self, row: int) -> NDArray[np.int64]:
        """The run lengths of an object whose mask is an RLE."""
        (part,) = self._parts(row)
        return part.astype(np.int64)

    def _parts(self, row: int) -> Iterator[NDArray[np.int32]]:
        first = int(self.first[row])
        for part in range(first, first + int(self.parts[row])):
            yield self.numbers[int(self.ends[part - 1]) if part else 0 : int(self.ends[part])]

    @staticmethod
    def of(dataset: Dataset, selected: NDArray[np.bool_] | None = None) -> ObjectMasks:
        """The masks of a dataset's objects, or of those that are `selected` (M,).

        An invalid mask, one without an area, outside its image or of another size counts as no mask; `mask_findings`
        reports it.
        """
        builder = _Builder(dataset)
        outlined: list[tuple[int, bytes]] = []
        for row, text in dataset.objects.segmentation.items():
            if selected is None or selected[row]:
                if text[:1] == b"[":
                    outlined.append((row, text))
                else:
                    builder.add(row, text)
        waiting = iter(outlined)
        while chunk := list(islice(waiting, _CHUNK)):
            outlines = outlines_of([text for _, text in chunk])
            if outlines is not None:
                builder.add_outlines(np.array([row for row, _ in chunk]), outlines)
            else:  # one of them is invalid
                for row, text in chunk:
                    builder.add(row, text)
        return builder.build()


def drawable_masks(dataset: Dataset) -> NDArray[np.bool_]:
    """(M,) whether each object of a dataset, crowds included, has a usable mask, from which a model can learn."""
    return ObjectMasks.of(dataset).usable


class _Builder:
    """Collects masks."""

    def __init__(self, dataset: Dataset) -> None:
        rows, images = dataset.objects.image, dataset.images
        self._sizes = np.column_stack([images.widths[rows], images.heights[rows]]).astype(np.int64)  # (M, 2)
        count = len(rows)
        self._first, self._parts = np.zeros(count, np.int64), np.zeros(count, np.int32)
        self._rle = np.zeros(count, np.bool_)
        self._count = 0
        self._lengths: list[NDArray[np.int64]] = []
        self._numbers: list[NDArray[np.int32]] = []

    def add(self, row: int, text: bytes) -> None:
        """Add one segmentation, unless it is invalid."""
        try:
            segmentation = masks.parse(text)
        except masks.MaskError:
            return
        if not isinstance(segmentation, masks.Rle):
            outlines = outlines_of([text])
            if outlines is not None:
                self.add_outlines(np.array([row]), outlines)
        elif (segmentation.width, segmentation.height) == tuple(self._sizes[row].tolist()) and segmentation.area:
            self._first[row], self._parts[row], self._rle[row] = self._count, 1, True
            self._append(np.array([len(segmentation.counts)]), np.array(segmentation.counts, np.int32))

    def add_outlines(self, rows: NDArray[np.int64], outlines: Outlines) -> None:
        """Add the polygons of these rows."""
        bounds = outlines.bounds()
        good = ~outlines.lines() & (np.abs(bounds) < FURTHEST_POINT).all(axis=1)
        good &= (bounds[:, 2:] > 0).all(axis=1) & (bounds[:, :2] < self._sizes[rows]).all(axis=1)
        self._first[rows] = self._count + outlines.first_polygons()
        self._parts[rows] = np.where(good, outlines.each, 0)
        points = np.where(np.repeat(np.repeat(good, outlines.each), outlines.counts)[:, None], outlines.points, 0)
        self._append(2 * outlines.counts, np.rint(points * PRECISION).astype(np.int32).reshape(-1))

    def build(self) -> ObjectMasks:
        """All masks added so far."""
        numbers = np.concatenate([*self._numbers, np.zeros(0, np.int32)])
        ends = np.cumsum(np.concatenate([*self._lengths, np.zeros(0, np.int64)]))
        return ObjectMasks(self._first, self._parts, self._rle, ends, numbers)

    def _append(self, lengths: NDArray[np.int64], numbers: NDArray[np.int32]) -> None:
        self._lengths.append(lengths)
        self._numbers.append(numbers)
        self._count += len(lengths)
