"""The meaning of the numbers in VOC files, decided once for a dataset.

`zero`: 0-based and half-open, as in a `Dataset` (labelImg, Roboflow, CVAT).
`one`: 1-based and inclusive (VOC devkit, MATLAB); 1 is subtracted from xmin and ymin, nothing from xmax and ymax.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.formats.scan import Coordinates, CoordinatesChoice
from vocdet.formats.shared.values import number_text

_DEVKIT = re.compile(r"\bThe VOC20\d\d Database\b|\bPASCAL VOC20\d\d\b")


def decide(
    choice: CoordinatesChoice, boxes: Boxes, sizes: NDArray[np.int32], databases: Sequence[str]
) -> tuple[Coordinates, str]:
    """The convention of a dataset and the reason, from its boxes as written (M, 4), their image sizes (M, 2) as width
    and height, and the <source> texts of its files.

    A 0 means `zero`, because 1-based numbers have none. Otherwise, the devkit's <source> text in most files means
    `one`. Everything else is `zero`: labelImg also writes 1 for a box that starts at 0, and the full width for one
    that ends at the edge, so these numbers prove nothing.
    """
    if choice != "auto":
        return choice, "as requested"
    zeros = int(((boxes[:, :2] >= 0) & (boxes[:, :2] < 1)).any(axis=1).sum())
    if zeros:
        return "zero", f"{_boxes(zeros)} at 0, which 1-based numbers never do"
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
    """Convert boxes as written (M, 4) to boxes of a `Dataset`: 0-based and half-open."""
    if coordinates == "zero":
        return boxes
    shifted = boxes.copy()
    shifted[:, :2] -= 1
    # 1.1 - 1 is 0.10000000000000009 in binary: decimal arithmetic makes writing give 1.1 again.
    for row, side in np.argwhere(boxes[:, :2] % 1 != 0):
        shifted[row, side] = float(Decimal(repr(float(boxes[row, side]))) - 1)
    return shifted


def minimum_value(value: float, coordinates: Coordinates) -> float:
    """Convert an xmin, ymin or polygon coordinate as written to that of a `Dataset`."""
    return value if coordinates == "zero" else float(Decimal(repr(float(value))) - 1)


def minimum_text(value: float, coordinates: Coordinates) -> str:
    """The text of an xmin or ymin of a `Dataset`, the inverse of `to_pixels`."""
    if coordinates == "zero":
        return number_text(value)
    return number_text(float(Decimal(repr(float(value))) + 1))


def _boxes(count: int) -> str:
    return "1 box starts" if count == 1 else f"{count} boxes start"
