"""Anchors of an SSD: the same shapes at every cell of a feature map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vocdet.recipes.schema import LastMap

MAX_ANCHOR, MAX_DENSITY = 4.0, 8  # limits of a valid anchor, far beyond useful ones


class Shape(NamedTuple):
    """A box at the center of every cell of a map; with a density of 2, four boxes at the quarter points."""

    width: float  # as a share of the input's
    height: float
    density: int = 1

    @property
    def number(self) -> int:
        """Anchors at a cell."""
        return self.density**2


@dataclass(frozen=True, slots=True)
class Anchors:
    """The anchor shapes at every cell of every feature map, finest map first."""

    shapes: tuple[tuple[Shape, ...], ...]

    def __post_init__(self) -> None:
        for shape in (shape for shapes in self.shapes for shape in shapes):
            if not (
                0 < shape.width <= MAX_ANCHOR and 0 < shape.height <= MAX_ANCHOR and 1 <= shape.density <= MAX_DENSITY
            ):
                raise ValueError(f"an anchor of {shape.width} x {shape.height} with a density of {shape.density}")
        if not all(self.shapes):
            raise ValueError("a map without anchors")

    @property
    def counts(self) -> tuple[int, ...]:
        """Anchors at a cell, for every map."""
        return tuple(sum(shape.number for shape in shapes) for shapes in self.shapes)

    def grid(self, maps: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
        """(A, 4) xmin, ymin, xmax, ymax as shares of the input, for maps of these (height, width).

        Order: maps, then rows, columns, shapes, as in torchvision's DefaultBoxGenerator, with the same rounding: else
        small objects inside several anchors would match another of the equal ones.
        """
        if len(maps) != len(self.shapes):
            raise ValueError(f"{len(maps)} maps for the anchors of {len(self.shapes)}")
        grids = []
        for (h, w), shapes in zip(maps, self.shapes, strict=True):
            cy, cx = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
            centers = np.stack([cx, cy], axis=-1).reshape(-1, 1, 2)  # (h*w, 1, 2)
            sides = np.array([(s.width, s.height) for s in shapes for _ in range(s.number)], np.float32)  # (anchors, 2)
            moved = centers + np.concatenate([_offsets(s.density) for s in shapes]) / np.array([w, h])
            moved, half = moved.astype(np.float32), sides / 2
            grids.append(np.concatenate([moved - half, moved + half], axis=-1).reshape(-1, 4))
        return np.concatenate(grids)


def _offsets(density: int) -> NDArray[np.float64]:
    """(density**2, 2) x, y from a cell's center, in cells."""
    along = (np.arange(density) + 0.5) / density - 0.5
    y, x = np.meshgrid(along, along, indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def torchvision_anchors() -> Anchors:
    """torchvision's anchors: scales .2 to .95 over six maps, ratios 1, 1', 2, 1/2, 3, 1/3, sides at most 1."""
    scales = [0.2 + 0.75 * k / 5 for k in range(6)] + [1.0]
    levels = []
    for scale, above in zip(scales[:-1], scales[1:], strict=True):
        between = math.sqrt(scale * above)
        shapes = [Shape(scale, scale), Shape(between, between)]
        for ratio in (2, 3):
            long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            shapes += [Shape(long, short), Shape(short, long)]
        levels.append(tuple(Shape(min(s.width, 1.0), min(s.height, 1.0)) for s in shapes))
    return Anchors(tuple(levels))


def map_sizes(
    size: tuple[int, int], maps: int = 6, *, last_map: LastMap = "conv", finest: int = 16
) -> tuple[tuple[int, int], ...]:
    """(height, width) of the maps of an SSD for an input of `size`: strides 16, 32, 64 and so on, from `finest` on.

    A last map by global average pooling has one cell.
    """

    def halved(n: int, times: int) -> int:
        for _ in range(times):
            n = (n + 1) // 2
        return n

    before = finest.bit_length() - 1
    sizes = [(halved(size[0], before + k), halved(size[1], before + k)) for k in range(maps)]
    return (*sizes[:-1], (1, 1)) if last_map == "pool" else tuple(sizes)
