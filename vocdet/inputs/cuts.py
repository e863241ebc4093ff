"""Objects cut out of their images, as squares with some of what is around them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.inputs.images import Image, resize
from vocdet.inputs.transforms import FILL, View, show


def square(box: NDArray[np.float64], context: float) -> tuple[float, float, float]:
    """Centre x, y and side of the square round a box (4,): its longer side, and `context` of that all round; pixels."""
    x0, y0, x1, y1 = box.tolist()
    return (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0) * (1 + 2 * context)


def square_view(
    centre: tuple[float, float], side: float, width: float, height: float, *, mirrored: bool = False
) -> View:
    """A square, in pixels, as a view of an image of this size; it may reach beyond the image."""
    (x, y), half = centre, side / 2
    return View((x - half) / width, (y - half) / height, (x + half) / width, (y + half) / height, mirrored)


def cut(image: Image, box: NDArray[np.float64], *, context: float, size: int | None = None) -> Image:
    """The square round a box (4,) of `image`, gray where that ends: (size, size, 3).

    Without a size the pixels are those of the image, from the one that the square begins nearest to.
    """
    height, width = image.shape[:2]
    x, y, side = square(box, context)
    if size is not None:
        crop = np.full((size, size, 3), FILL, np.uint8)
        show(crop, image, square_view((x, y), side, width, height), (0, 0, size, size))
        return crop
    whole = max(round(side), 1)
    left, top = round(x - whole / 2), round(y - whole / 2)
    crop = np.full((whole, whole, 3), FILL, np.uint8)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + whole, width), min(top + whole, height)
    crop[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return crop


def cut_turned(
    canvas: Image, image: Image, centre: tuple[float, float], side: float, *, angle: float, mirrored: bool = False
) -> None:
    """Show a square of `image` in `canvas` (S, S, 3), which is changed: turned clockwise by `angle`, then mirrored.

    Centre and side are pixels of the image, the angle is in radians. Where the image ends it is gray.
    """
    size = len(canvas)
    (x, y), reach = centre, side / np.sqrt(2) + 2  # half a diagonal, and what is needed to look between pixels
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    part = image[top : int(y + reach) + 1, left : int(x + reach) + 1]
    x, y = x - left, y - top
    while side > 2 * size and min(part.shape[:2]) > 1:  # bilinear sampling skips pixels when it shrinks by more
        half = (part.shape[0] // 2, part.shape[1] // 2)
        x, y, side = x * half[1] / part.shape[1], y * half[0] / part.shape[0], side / 2
        part = resize(part, half)
    if not part.size:
        canvas[:] = FILL
        return
    scale = size / side
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn[0] *= -1
    # pixel i covers [i, i + 1), so its centre is at i + 1/2 on both sides
    shift = (size - 1) / 2 - turn @ (np.array([x, y]) - 0.5)
    matrix = np.column_stack([turn, shift])
    canvas[:] = cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(FILL,) * 3)
