"""Image files as arrays, and a store that decodes each only once."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.errors import ImageError

Image = NDArray[np.uint8]  # (H, W, 3) RGB

MEMORY_SHARE = 0.25  # of the machine's memory, for decoded images


def decode(path: Path, *, oriented: bool = False) -> Image:
    """The image as RGB (H, W, 3) uint8, gray and transparent ones too.

    `oriented` turns it as its EXIF tag asks; without, the pixels come as they are stored. A file that is missing or
    not an image is an `ImageError`.
    """
    flags = cv2.IMREAD_COLOR if oriented else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        data = np.fromfile(path, np.uint8)  # and not imread, which cannot open every name on every system
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}", place=path) from error
    try:
        image = cv2.imdecode(data, flags) if len(data) else None
    except cv2.error as error:
        raise ImageError(f"cannot be decoded: {error.err}", place=path, hint="export it again") from error
    if image is None:
        raise ImageError("is not an image that can be decoded", place=path, hint="export it again, or remove it")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def decode_as(path: Path, width: int, height: int) -> Image:
    """The image in the orientation in which it has this size, which is how its annotation saw it."""
    try:
        image = decode(path)
    except ImageError as error:
        hint = "export it again, or delete it and its XML; vocdet check finds all such files of a dataset"
        raise ImageError(error.problem, place=error.place, hint=hint) from error
    if image.shape[:2] == (height, width):
        return image
    turned = decode(path, oriented=True)
    if turned.shape[:2] == (height, width):
        return turned
    raise ImageError(
        f"is {image.shape[1]}x{image.shape[0]} pixels where {width}x{height} were expected",
        place=path,
        hint="the file changed after the dataset was read: run the command again",
    )


def resize(image: Image, size: tuple[int, int]) -> Image:
    """The image at `size` (height, width), averaged when it shrinks by more than a half, else bilinear."""
    h, w = image.shape[:2]
    if (h, w) == size:
        return image
    shrink = min(h / size[0], w / size[1])
    method = cv2.INTER_AREA if shrink > 2 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.uint8)


class ImageStore:
    """A dataset's images, decoded at most once and kept no larger than training can use, while memory allows."""

    def __init__(self, dataset: Dataset, *, at_most: tuple[int, int], budget: int | None = None) -> None:
        self._dataset = dataset
        self._at_most = at_most  # (height, width)
        self._left = memory_budget() if budget is None else budget
        self._kept: dict[int, Image] = {}

    def __getitem__(self, row: int) -> Image:
        """Image `row`, shrunk in each direction to `at_most` where it is larger."""
        kept = self._kept.get(row)
        if kept is not None:
            return kept
        images = self._dataset.images
        width, height = int(images.widths[row]), int(images.heights[row])
        image = decode_as(self._dataset.root / images.files[row], width, height)
        small = resize(image, (min(height, self._at_most[0]), min(width, self._at_most[1])))
        if small.nbytes <= self._left:
            self._left -= small.nbytes
            self._kept[row] = small
        return small


def memory_budget() -> int:
    """How many bytes of decoded images to keep: a quarter of the machine's memory, or 2 GB where it is not told."""
    try:
        return int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 2 << 30
