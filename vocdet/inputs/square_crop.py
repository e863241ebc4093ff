"""Objects cropped from their images as squares, with context."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.inputs.images import Image, resize
from vocdet.inputs.transforms import FILL, View, draw_view


def context_square(box: NDArray[np.float64], context: float) -> tuple[float, float, float]:
    """Center x, y and side of the square around a box (4,): its longer side, grown by `context` of it on every side;
    pixels.
    """
    x0, y0, x1, y1 = box.tolist()
    return (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0) * (1 + 2 * context)


def square_view(
    center: tuple[float, float], side: float, width: float, height: float, *, mirrored: bool = False
) -> View:
    """A square, in pixels, as a view of an image of this size; it may extend beyond the image."""
    (x, y), half = center, side / 2
    return View((x - half) / width, (y - half) / height, (x + half) / width, (y + half) / height, mirrored)


def crop_square(image: Image, box: NDArray[np.float64], *, context: float, size: int | None = None) -> Image:
    """The square around a box (4,) of `image`, gray beyond the image: (size, size, 3).

    Without a size the pixels are those of the image, from the one nearest to the square's corner.
    """
    height, width = image.shape[:2]
    x, y, side = context_square(box, context)
    if size is not None:
        crop = np.full((size, size, 3), FILL, np.uint8)
        draw_view(crop, image, square_view((x, y), side, width, height), (0, 0, size, size))
        return crop
    whole = max(round(side), 1)
    left, top = round(x - whole / 2), round(y - whole / 2)
    crop = np.full((whole, whole, 3), FILL, np.uint8)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + whole, width), min(top + whole, height)
    crop[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return crop


def crop_rotated(
    canvas: Image, image: Image, center: tuple[float, float], side: float, *, angle: float, mirrored: bool = False
) -> None:
    """Draw a square of `image` into `canvas` (S, S, 3): rotated clockwise by `angle`, then mirrored.

    Center and side are pixels of the image, the angle is in radians. Beyond the image it is gray.
    """
    size = len(canvas)
    (x, y), reach = center, side / np.sqrt(2) + 2  # half a diagonal, and a margin for interpolation
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
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        rotation[0] *= -1
    # pixel i covers [i, i + 1), so its center is at i + 1/2 on both sides
    shift = (size - 1) / 2 - rotation @ (np.array([x, y]) - 0.5)
    matrix = np.column_stack([rotation, shift])
    canvas[:] = cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(FILL,) * 3)
