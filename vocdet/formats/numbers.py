"""How a number is written in an annotation file: as people write one, and in no other of the ways Python takes."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() would take 5_0, ５０ and nan


def snapped(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums and differences of decimals without the noise that adding them in binary makes, as 0.30000000000000004.

    A value nearer than 1e-9 to a number with six decimals becomes it.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers that no image has
        rounded = np.round(values, 6)
        return np.where(np.abs(rounded - values) < 1e-9, rounded, values)


def extent(box: NDArray[np.float64]) -> tuple[float, float]:
    """Width and height of a box, with no more decimals than its sides have."""
    xmin, ymin, xmax, ymax = (Decimal(repr(float(value))) for value in box)
    return float(xmax - xmin), float(ymax - ymin)


def number_text(value: float) -> str:
    """A coordinate as it is written: whole numbers without a point, others as short as they read back the same."""
    return str(int(value)) if abs(value) < _MOST_DIGITS and value == int(value) else repr(float(value))


def number_texts(values: NDArray[np.float64]) -> list[str]:
    """`number_text` of many."""
    if (values == np.rint(values)).all() and (np.abs(values) < 2**53).all():
        return list(map(str, values.astype(np.int64).tolist()))
    return [
        str(int(value)) if abs(value) < _MOST_DIGITS and value == int(value) else repr(value)
        for value in values.tolist()
    ]


_MOST_DIGITS = 1e16  # from here on Python, too, writes exponents
