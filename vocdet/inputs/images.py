"""Image files as arrays."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.errors import ImageError
from vocdet.wording import reason

Image = NDArray[np.uint8]  # (H, W, 3) RGB

JPEG = (0xFF, 0xD8)  # the first bytes of one
REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
           8: cv2.IMREAD_REDUCED_COLOR_8}  # fmt: skip


def decode(path: Path, *, oriented: bool = False, shrink: int = 1) -> Image:
    """The image as RGB (H, W, 3) uint8, whether it is in color, gray or transparent.

    `oriented` applies the EXIF orientation; without it the pixels come as they are stored. `shrink` (1, 2, 4 or 8)
    divides the sides of a JPEG, rounded up, which is faster than decoding all of it; other formats are not shrunk. A
    file that is missing or not an image is an `ImageError`.
    """
    try:
        data = np.fromfile(path, np.uint8)  # and not imread, which cannot open every name on every system
    except OSError as error:
        raise ImageError(f"cannot be read: {reason(error)}", place=path) from error
    # OpenCV shrinks other formats by skipping pixels
    flags = REDUCED[shrink if tuple(data[:2].tolist()) == JPEG else 1]
    if not oriented:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(data, flags) if len(data) else None
    except cv2.error as error:
        raise ImageError(f"cannot be decoded: {error.err}", place=path, hint="export it again") from error
    if image is None:
        raise ImageError("is not an image that can be decoded", place=path, hint="export it again, or remove it")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def decode_as(path: Path, width: int, height: int, *, at_least: tuple[int, int] | None = None) -> Image:
    """The image in the orientation in which it has this size, the one that was annotated.

    With `at_least` (height, width) it may be smaller by an integer factor, but not smaller than that.
    """
    shrink = 1 if at_least is None else _shrink(width, height, at_least)
    sizes = {(height, width), (-(-height // shrink), -(-width // shrink))}
    try:
        image = decode(path, shrink=shrink)
    except ImageError as error:
        hint = "export it again, or delete it and its XML; `vocdet.check(dataset)` lists all such files"
        raise ImageError(error.problem, place=error.place, hint=hint) from error
    if image.shape[:2] in sizes:
        return image
    oriented = decode(path, oriented=True, shrink=shrink)
    if oriented.shape[:2] in sizes:
        return oriented
    if shrink > 1:
        return decode_as(path, width, height)  # for its size in the message
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
