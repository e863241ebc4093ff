"""Masks of objects, each cropped to a rectangle of whole pixels, all in one array of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]  # (h, w) 0 or 1
Cut: TypeAlias = "tuple[int, int, Mask]"  # x0, y0 and the pixels from there on


@dataclass(frozen=True, slots=True, eq=False)
class MaskCrops:
    """Masks of objects, each cropped to a rectangle that contains it; row i is the mask of object i."""

    where: NDArray[np.int32]  # (K, 4) x0, y0, x1, y1 in pixels of the network's input; all 0: this object has no mask
    pixels: NDArray[np.uint8]  # (sum of areas,) 0 or 1; crop after crop, each row by row
    starts: NDArray[np.int64] = field(init=False)  # (K,) where each crop begins in `pixels`

    def __post_init__(self) -> None:
        if self.where.ndim != 2 or self.where.shape[1] != 4 or self.where.dtype != np.int32:
            raise ValueError(f"places of masks of shape {self.where.shape} and type {self.where.dtype}")
        if self.pixels.ndim != 1 or self.pixels.dtype != np.uint8:
            raise ValueError(f"pixels of masks of shape {self.pixels.shape} and type {self.pixels.dtype}")
        sides = self.where[:, 2:].astype(np.int64) - self.where[:, :2]
        areas = sides.prod(axis=1)
        if (sides < 0).any() or int(areas.sum()) != len(self.pixels):
            raise ValueError(f"{len(self.pixels)} pixels for masks of {int(areas.sum())}")
        object.__setattr__(self, "starts", np.cumsum(areas) - areas)

    def __len__(self) -> int:
        return len(self.where)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(K,) whether an object has a mask."""
        return np.asarray((self.where[:, 2:] > self.where[:, :2]).all(axis=1))

    def crop(self, i: int) -> Mask:
        """The mask of object i inside its rectangle: a view (h, w) of `pixels`, (0, 0) where it has none."""
        x0, y0, x1, y1 = self.where[i].tolist()
        start = int(self.starts[i])
        return self.pixels[start : start + (y1 - y0) * (x1 - x0)].reshape(y1 - y0, x1 - x0)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> MaskCrops:
        """The masks of these rows (indices, or a boolean per row), in this order; the pixels are copied."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return MaskCrops(self.where[chosen], _packed_row([self.crop(int(i)) for i in chosen]))

    def part(self, start: int, stop: int) -> MaskCrops:
        """The masks from row `start` up to `stop`, as views."""
        ends = np.append(self.starts, len(self.pixels))
        return MaskCrops(self.where[start:stop], self.pixels[int(ends[start]) : int(ends[stop])])

    @classmethod
    def none(cls, count: int) -> MaskCrops:
        """`count` objects without masks."""
        return cls(np.zeros((count, 4), np.int32), np.zeros(0, np.uint8))

    @classmethod
    def of(cls, cuts: Sequence[Cut | None]) -> MaskCrops:
        """Masks (h, w), each with the pixel x0, y0 where it starts; None and an empty mask: the object has none."""
        where = np.zeros((len(cuts), 4), np.int32)
        masks: list[Mask] = []
        for i, cut in enumerate(cuts):
            if cut is not None and cut[2].size:
                x0, y0, mask = cut
                where[i] = (x0, y0, x0 + mask.shape[1], y0 + mask.shape[0])
                masks.append(mask)
        return cls(where, _packed_row(masks))

    @staticmethod
    def joined(parts: Sequence[MaskCrops]) -> MaskCrops:
        """The masks of all parts, one after another, at unchanged places."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return MaskCrops.none(0)
        return MaskCrops(np.concatenate([p.where for p in parts]), np.concatenate([p.pixels for p in parts]))


def _packed_row(masks: Iterable[Mask]) -> NDArray[np.uint8]:
    flat = [mask.reshape(-1) for mask in masks]
    return np.concatenate(flat) if flat else np.zeros(0, np.uint8)
