"""Objects cut out of their images, as squares with some of what is around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vocdet.inputs.images import Image
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
