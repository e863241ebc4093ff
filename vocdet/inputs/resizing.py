"""One scale for images of every shape: the size of each, and of a batch that holds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.inputs.images import fit_size


@dataclass(frozen=True, slots=True)
class ResizeShortestEdge:
    """Every image keeps its shape: its shorter side gets `size` pixels, its longer one `longest` at most."""

    size: int
    longest: int
    scales: tuple[float, float] | None = None  # of both, drawn for every augmented sample; None: 1
    multiple: int = 32  # of a batch's height and width

    def __post_init__(self) -> None:
        low, high = self.scales or (1.0, 1.0)
        if min(self.size, self.longest, self.multiple) < 1 or not 0 < low <= high:
            raise ValueError(f"sides of {self.size}, {self.longest}, {self.multiple} pixels at {low} to {high}")

    def of(self, width: int, height: int, scale: float = 1.0) -> tuple[int, int]:
        """Height and width that an image of this size gets."""
        return fit_size(width, height, self.size * scale, self.longest * scale)

    def largest(self, width: int, height: int) -> tuple[int, int]:
        """Height and width that an image of this size gets at the largest scale."""
        return self.of(width, height, max(1.0, self.scales[1]) if self.scales else 1.0)

    def canvas(self, sizes: NDArray[np.int64]) -> tuple[int, int]:
        """Height and width that hold images of these sizes (B, 2), as multiples; one multiple if there is no image."""
        most = np.max(sizes, axis=0, initial=1)
        height, width = (-(-most // self.multiple) * self.multiple).tolist()
        return height, width
