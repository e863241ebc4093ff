"""Image files as arrays, the same for training, evaluation, prediction and checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.data import image_files
from vocdet.data.embedded import on_disk
from vocdet.data.image_headers import Header
from vocdet.data.levels import Levels, choose_levels
from vocdet.errors import ImageError
from vocdet.wording import reason

Image = NDArray[np.uint8]  # (H, W, 3) RGB

REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
           8: cv2.IMREAD_REDUCED_COLOR_8}  # fmt: skip
_BY_PILLOW = frozenset(("GIF", "AVIF", "HEIF"))  # not in every build of OpenCV, or not with all their features
_UPRIGHT = "TIFF"  # OpenCV applies the orientation of these files in any case
_UNTURNED = {6: 8, 8: 6}  # orientations whose inverse is another


def decode(path: Path, *, oriented: bool = False, shrink: int = 1, levels: Levels | None = None) -> Image:
    """The image as RGB (H, W, 3) uint8, whether it is in color, gray or transparent.

    `oriented` applies the EXIF orientation; without it the pixels come as they are stored. `shrink` (1, 2, 4 or 8)
    divides the sides of a JPEG, rounded up, which is faster than decoding all of it; other formats are not shrunk.
    `levels` are for images with more than 8 bits a sample; without them, each such image gets its own. A file that is
    missing or not an image is an `ImageError`.
    """
    header, pixels = decode_stored(path, shrink=shrink)
    if pixels.dtype != np.uint8:
        pixels = (levels or choose_levels([pixels])).apply(pixels)
    turned = header.format == _UPRIGHT
    if oriented != turned:
        pixels = orient(pixels, header.orientation if oriented else inverse(header.orientation))
    return np.ascontiguousarray(pixels)


def decode_stored(path: Path, *, shrink: int = 1) -> tuple[Header, NDArray[Any]]:
    """The header of an image file, and its pixels as RGB (H, W, 3): uint8, or what a file of more bits holds.

    The EXIF orientation is not applied, except for TIFF. Raises like `decode`.
    """
    path = Path(on_disk(path))
    try:
        image_files.file_status(path)
        header = image_files.read_header(path)
        data = np.fromfile(path, np.uint8)  # and not imread, which cannot open every name on every system
    except OSError as error:
        raise ImageError(f"cannot be read: {reason(error)}", place=path) from error
    except ImageError as error:
        if error.problem in (image_files.EMPTY, image_files.UNKNOWN):
            raise _undecodable(path) from error
        raise
    if header.format in _BY_PILLOW:
        return header, _by_pillow(path)
    # OpenCV shrinks other formats than JPEG by skipping pixels
    flags = REDUCED[shrink if header.format == "JPEG" else 1] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED if header.deep else flags)
    except cv2.error as error:
        raise ImageError(f"cannot be decoded: {error.err}", place=path, hint="export it again") from error
    if image is None:
        if header.format in ("JPEG", "PNG"):
            raise _undecodable(path)
        return header, _by_pillow(path)  # which knows more variants of some formats
    return header, _rgb(np.asarray(image))


def check_pixels(path: Path) -> None:
    """Decode the image to its last byte, as training does; an `ImageError` says why that fails."""
    decode_stored(path, shrink=8)  # a JPEG is read in full, yet computed at an eighth of its size


def orient(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H, W, ...) with an EXIF orientation applied, as a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1]


def inverse(orientation: int) -> int:
    """The orientation that undoes another."""
    return _UNTURNED.get(orientation, orientation)


def _rgb(image: NDArray[Any]) -> NDArray[Any]:
    """Gray, gray with alpha, BGR or BGRA as RGB."""
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    if image.ndim == 2 or image.shape[2] <= 2:
        return np.repeat(image.reshape(*image.shape[:2], -1)[..., :1], 3, axis=2)
    return image[..., 2::-1]


def _by_pillow(path: Path) -> NDArray[Any]:
    try:
        with image_files.open_image(path) as image:
            image.load()
            return _rgb(np.asarray(image)) if image.mode[0] in "IF" else np.asarray(image.convert("RGB"))
    except ImageError as error:
        raise _undecodable(path) from error


def _undecodable(path: Path) -> ImageError:
    return ImageError("is not an image that can be decoded", place=path, hint="export it again, or remove it")
