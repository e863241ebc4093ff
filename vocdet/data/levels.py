"""Images with more than 8 bits a sample: the range of their values that becomes black to white."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = (8, 10, 12, 14, 16, 32)  # that cameras and sensors use
_FILLED = 0.5  # of the range of its bits, from which on an image is taken to fill it
_OUTLIERS = 0.1  # per cent of the values at either end that may be outliers
_MARGIN = 0.05  # of the range of the values, on either side: other images of the dataset may go beyond
_SAMPLED_VALUES = 200_000  # values of an image
_NO_DATA = 1e30  # values beyond stand for missing ones


@dataclass(frozen=True, slots=True)
class Levels:
    """Values at and below `low` become black, at and above `high` white."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"levels from {self.low} to {self.high}")

    def __str__(self) -> str:
        return f"{self.low:.6g} to {self.high:.6g}"

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """The pixels as uint8, in the same shape; NaN becomes black."""
        if pixels.dtype in (np.uint16, np.int16):
            limits = np.iinfo(pixels.dtype)
            table = self._scaled(np.arange(limits.min, limits.max + 1, dtype=np.float64))
            return np.asarray(np.roll(table, limits.min)[pixels.view(np.uint16)], np.uint8)
        return self._scaled(pixels)

    def _scaled(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        shares = (np.nan_to_num(values.astype(np.float64), nan=self.low) - self.low) / (self.high - self.low)
        return np.asarray(np.rint(255 * np.clip(shares, 0, 1)), np.uint8)

    def joined(self, other: Levels | None) -> Levels:
        """The levels of two datasets together."""
        return self if other is None else Levels(min(self.low, other.low), max(self.high, other.high))


FULL = Levels(0, 65535)  # all of 16 bits


def choose_levels(images: Iterable[NDArray[Any]]) -> Levels:
    """The levels for all of these images together, whose samples have more than 8 bits.

    Unsigned values that fill the bits in use get all of these bits, and floats that fill 0 to 1 that range. Values in a
    narrow window, such as those of a thermal camera, get the window, without the outermost values and with a margin.
    """
    facts = [found for image in images if (found := _values(image)) is not None]
    if not facts:
        return FULL
    leasts, lows, highs, mosts = zip(*facts, strict=True)
    least, low, high, most = min(leasts), min(lows), max(highs), max(mosts)
    full = 1.0
    if most > 1 and all(value.is_integer() for value in leasts + mosts):
        full = next((2.0**bits - 1 for bits in _BITS if most < 2.0**bits), 0.0)
    if least >= 0 and most <= full and high - low >= _FILLED * full:
        return Levels(0, full)
    margin = _MARGIN * (high - low) or max(1.0, abs(low)) * _MARGIN
    return Levels(low - margin, high + margin)


def _values(image: NDArray[Any]) -> tuple[float, float, float, float] | None:
    """The least value, the lowest and highest without outliers, and the greatest; None if there are none."""
    values = image.reshape(-1)
    values = values[:: max(1, len(values) // _SAMPLED_VALUES)].astype(np.float64)
    values = values[np.abs(values) < _NO_DATA]  # drops NaN, too
    if not len(values):
        return None
    low, high = np.percentile(values, (_OUTLIERS, 100 - _OUTLIERS)).tolist()
    return float(values.min()), low, high, float(values.max())
