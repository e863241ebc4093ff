"""Labels and numbers as annotation files spell them."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.errors import AnnotationError, Place, VocdetError, raise_all
from vocdet.files import first_bytes
from vocdet.formats.shared.limited import read_text

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() also accepts 5_0, ５０ and nan
NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)

_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_ELEMENT = re.compile(rb"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)[\s/>]")
_EXPONENT_FROM = 1e16  # from here on, Python writes exponents too


def root_element(path: Path) -> str:
    """The name of the first element of an XML file, without its namespace prefix; "" where it has none.

    Only the first bytes are inspected, and nothing is parsed.
    """
    begin = first_bytes(path, 4096)
    wide = begin[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in begin[:4]
    match = _ELEMENT.search(_COMMENT.sub(b"", begin.replace(b"\0", b"") if wide else begin))
    return match[1].decode("latin-1") if match else ""


@lru_cache(4096)  # thousands of objects share a few labels
def clean_label(text: str) -> str:
    """A label without surrounding space and with single spaces inside, for comparison and display."""
    return " ".join(text.split())


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a label list: one label a line, in the order of their indices. Blank lines are skipped.

    AnnotationError if the file cannot be read, has no labels, or repeats one.
    """
    text = read_text(path, "give a text file with one label a line", "the label list ")
    lines: dict[str, int] = {}
    errors: list[VocdetError] = []
    for number, line in enumerate(text.splitlines(), 1):
        label = clean_label(line)
        if label in lines:
            problem = f"repeats the label {label!r} of line {lines[label]}"
            errors.append(AnnotationError(problem, place=Place(path, number), hint="delete one of the two lines"))
        elif label:
            lines[label] = number
    if not lines:
        raise AnnotationError("has no labels", place=path, hint="write one label a line")
    raise_all(errors)
    return tuple(lines)


def snapped(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Remove the binary noise of decimal arithmetic, as in 0.30000000000000004.

    A value within 1e-9 of a number with six decimals becomes that number.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # absurd numbers in a file
        rounded = np.round(values, 6)
        return np.where(np.abs(rounded - values) < 1e-9, rounded, values)


def extent(box: NDArray[np.float64]) -> tuple[float, float]:
    """Width and height of a box (4,), with no more decimals than its sides have."""
    xmin, ymin, xmax, ymax = (Decimal(repr(float(value))) for value in box)
    return float(xmax - xmin), float(ymax - ymin)


def number_text(value: float) -> str:
    """The shortest JSON that reads back as `value`: 8e-6, not 8e-06; whole numbers have no decimal point."""
    if abs(value) < _EXPONENT_FROM and value == int(value):
        return str(int(value))
    mantissa, _, exponent = repr(float(value)).partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def number_texts(values: NDArray[np.float64]) -> list[str]:
    """`number_text` of every value (N,)."""
    if (values == np.rint(values)).all() and (np.abs(values) < 2**53).all():
        return list(map(str, values.astype(np.int64).tolist()))
    return list(map(number_text, values.tolist()))


def as_whole(value: float) -> float:
    """A number as an integer, if it is one: 3 for 3.0."""
    return int(value) if value == int(value) else value


class ShapeError(ValueError):
    """Why a shape in a file is not an object."""
