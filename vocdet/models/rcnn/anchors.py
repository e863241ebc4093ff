"""Anchors of a feature pyramid, for Faster and Mask R-CNN. Lin et al. 2017, section 4.1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRIDES = (4, 8, 16, 32, 64)  # pixels, of the pyramid's levels
MAX_SIDE, MAX_RATIO, MAX_AT_A_CELL = 8192.0, 32.0, 32  # limits of valid anchors, far beyond useful ones


@dataclass(frozen=True, slots=True)
class PyramidAnchors:
    """Boxes of every side and every ratio at each cell of each level; the default is the paper's and torchvision's."""

    sides: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))  # px of the input, by level
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width; the area is always side²

    def __post_init__(self) -> None:
        if len(self.sides) != len(STRIDES):
            raise ValueError(f"anchors for {len(self.sides)} levels, not {len(STRIDES)}")
        if len({len(sides) for sides in self.sides}) != 1 or not 1 <= self.count <= MAX_AT_A_CELL:
            raise ValueError(f"a level needs as many sides as the others, and 1 to {MAX_AT_A_CELL} anchors at a cell")
        if not all(1 <= side <= MAX_SIDE for sides in self.sides for side in sides):
            raise ValueError(f"a side that is not from 1 to {MAX_SIDE:g} pixels")
        if not all(1 / MAX_RATIO <= ratio <= MAX_RATIO for ratio in self.ratios):
            raise ValueError(f"a ratio that is not from 1/{MAX_RATIO:g} to {MAX_RATIO:g}")

    @property
    def count(self) -> int:
        """Anchors at a cell, equal on all levels, which share a head."""
        return len(self.sides[0]) * len(self.ratios)

    def cell(self) -> list[NDArray[np.float32]]:
        """(count, 4) boxes around the origin for every level, sorted by ratio, then side.

        Rounded to whole pixels as by torchvision's AnchorGenerator, for published weights.
        """
        high = np.sqrt(np.array(self.ratios, np.float32))
        wide = 1 / high
        cells = []
        for sides in self.sides:
            side = np.array(sides, np.float32)
            w, h = (wide[:, None] * side).ravel(), (high[:, None] * side).ravel()
            cells.append(np.round(np.stack([-w, -h, w, h], axis=1) / 2).astype(np.float32))
        return cells

    def grid(self, maps: tuple[tuple[int, int], ...], strides: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
        """(A, 4) pixels, for levels of these (height, width) and strides along y and x.

        Order: levels, then rows, columns, anchors of a cell. The anchors of a cell are centered on its top left corner.
        """
        if not len(maps) == len(strides) == len(self.sides):
            raise ValueError(f"{len(maps)} maps and {len(strides)} strides for {len(self.sides)} levels")
        grids = []
        for (height, width), (dy, dx), cell in zip(maps, strides, self.cell(), strict=True):
            y, x = np.meshgrid(np.arange(height) * dy, np.arange(width) * dx, indexing="ij")
            corners = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4).astype(np.float32)
            grids.append((corners + cell).reshape(-1, 4))
        return np.concatenate(grids)


USUAL_ANCHORS = PyramidAnchors()
