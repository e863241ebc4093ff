"""Image files as arrays."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from vocdet.data.dataset import AnnotatedImage
from vocdet.data.decoding import REDUCED, Image, decode
from vocdet.data.levels import Levels
from vocdet.errors import ImageError

__all__ = ["Image", "decode", "decode_as", "decode_image", "fit_size", "resize"]


def decode_image(image: AnnotatedImage) -> Image:
    """An image of a dataset, as its boxes refer to it."""
    return decode_as(image.path, image.width, image.height, upright=image.upright, levels=image.levels)


def decode_as(
    path: Path,
    width: int,
    height: int,
    *,
    upright: bool = False,
    levels: Levels | None = None,
    at_least: tuple[int, int] | None = None,
) -> Image:
    """The image of this size, the one that was annotated: `upright`, with its EXIF orientation applied, or as stored.

    It comes in the other of the two if only that has the size. With `at_least` (height, width) it may be smaller by an
    integer factor, but not smaller than that.
    """
    shrink = 1 if at_least is None else _shrink(width, height, at_least)
    sizes = {(height, width), (-(-height // shrink), -(-width // shrink))}
    try:
        image = decode(path, oriented=upright, shrink=shrink, levels=levels)
    except ImageError as error:
        hint = "export it again, or leave it out with `skip_bad=True`; `vocdet.check(dataset)` lists all such files"
        raise ImageError(error.problem, place=error.place, hint=hint) from error
    if image.shape[:2] in sizes:
        return image
    other = decode(path, oriented=not upright, shrink=shrink, levels=levels)
    if other.shape[:2] in sizes:
        return other
    if shrink > 1:
        return decode_as(path, width, height, upright=upright, levels=levels)  # for its size in the message
    raise ImageError(
        f"is {image.shape[1]}x{image.shape[0]} pixels, not {width}x{height}",
        place=path,
        hint="the file changed after the dataset was read: read it again",
    )


def _shrink(width: int, height: int, at_least: tuple[int, int]) -> int:
    """The largest factor by which decoding can shrink a JPEG."""
    return max(s for s in REDUCED if s == 1 or (height // s >= at_least[0] and width // s >= at_least[1]))


def resize(image: Image, size: tuple[int, int]) -> Image:
    """The image at `size` (height, width): by averaging if it shrinks by more than half, otherwise bilinear."""
    h, w = image.shape[:2]
    if (h, w) == size:
        return image
    shrink = min(h / size[0], w / size[1])
    method = cv2.INTER_AREA if shrink > 2 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.uint8)


def fit_size(width: int, height: int, size: float, longest: float) -> tuple[int, int]:
    """(height, width) of an image whose shorter side gets `size` pixels and whose longer one `longest` at most.

    As in torchvision's GeneralizedRCNNTransform: one scale for both sides, rounded down; at least one pixel.
    """
    scale = min(size / min(width, height), longest / max(width, height))
    return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
