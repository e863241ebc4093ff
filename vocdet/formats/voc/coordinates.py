"""What the numbers in VOC files mean: decided here, once a dataset.

`zero`: 0-based and half-open, taken as written (labelImg, Roboflow, CVAT).
`one`: 1-based and inclusive (VOC devkit, MATLAB), so 1 is taken from xmin and ymin, and nothing from xmax and ymax.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.formats.source import Coordinates, CoordinatesChoice
from vocdet.formats.values import number_text

_DEVKIT = re.compile(r"\bThe VOC20\d\d Database\b|\bPASCAL VOC20\d\d\b")


def decide(
    asked: CoordinatesChoice, boxes: Boxes, sizes: NDArray[np.int32], databases: Sequence[str]
) -> tuple[Coordinates, str]:
    """The convention of a dataset and why: of its boxes as written (M, 4), the width and height of their
    images (M, 2), and the <source> texts of its files.

    A 0 decides for `zero`, as nothing 1-based has one. Without any, the devkit's own <source> text in most files
    decides for `one`. All else is `zero`: labelImg, too, writes 1 where a box starts at 0 and the full width
    where it ends at the edge, so such numbers alone prove nothing.
    """
    if asked != "auto":
        return asked, "as asked"
    zeros = int(((boxes[:, :2] >= 0) & (boxes[:, :2] < 1)).any(axis=1).sum())
    if zeros:
        return "zero", f"{_boxes(zeros)} at 0, which 1-based numbers do not have"
    devkit = sum(bool(_DEVKIT.search(text)) for text in databases)
    if 2 * devkit > len(databases):
        return "one", f"{devkit} of {len(databases)} files name the VOC devkit as their source, and no box starts at 0"
    edge = int((boxes[:, 2:] == sizes).any(axis=1).sum())
    ones = int((boxes[:, :2] == 1).any(axis=1).sum())
    if ones and edge:
        seen = f"{_boxes(ones)} at 1 and {edge} {'ends' if edge == 1 else 'end'} at the far edge, as labelImg writes it"
        return "zero", f"{seen}; no file names the VOC devkit"
    return "zero", "no file names the VOC devkit as its source"


def to_pixels(boxes: Boxes, coordinates: Coordinates) -> Boxes:
    """Boxes as written (M, 4) as boxes of a `Dataset`: 0-based and half-open."""
    if coordinates == "zero":
        return boxes
    shifted = boxes.copy()
    shifted[:, :2] -= 1
    # 1.1 - 1 is 0.10000000000000009: where there are decimals, count as people do, so that writing gives 1.1 again.
    for row, side in np.argwhere(boxes[:, :2] % 1 != 0):
        shifted[row, side] = float(Decimal(repr(float(boxes[row, side]))) - 1)
    return shifted


def minimum_value(value: float, coordinates: Coordinates) -> float:
    """An xmin, an ymin or a number of a polygon as written, as a `Dataset` has it."""
    return value if coordinates == "zero" else float(Decimal(repr(float(value))) - 1)


def minimum_text(value: float, coordinates: Coordinates) -> str:
    """An xmin or ymin of a `Dataset` as it is written: what `to_pixels` undoes."""
    if coordinates == "zero":
        return number_text(value)
    return number_text(float(Decimal(repr(float(value))) + 1))


def _boxes(count: int) -> str:
    return "1 box starts" if count == 1 else f"{count} boxes start"
