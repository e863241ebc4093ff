"""VOC's SegmentationObject: a PNG an image, whose pixel values are the numbers of the objects in its XML."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vocdet import masks
from vocdet.data.checks import Finding
from vocdet.errors import Place

VOID = 255  # VOC's value for the edges between objects
MOST_OBJECTS = 254


@dataclass(frozen=True, slots=True)
class PixelMasks:
    """The masks of an image as compressed RLEs in JSON."""

    objects: list[bytes]  # b"": no pixel has its number
    void: str  # "": no pixel is void


def read_masks(path: Path, count: int, size: tuple[int, int], findings: list[Finding]) -> PixelMasks | None:
    """The masks of `count` objects of an image of `size` (width, height); None, with a finding, where it cannot be."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.size != size:
                problem = f"is {image.width}×{image.height}, its image is {size[0]}×{size[1]}: its masks are not read"
                findings.append(Finding("mask.size", "error", problem, Place(path), "export the masks again"))
                return None
            values = np.asarray(image)
    except Exception as error:  # Pillow's readers raise many kinds on broken files
        problem = f"cannot be decoded: {error}"
        findings.append(Finding("mask.corrupt", "error", problem, Place(path), "export it again, or delete it"))
        return None
    if values.ndim != 2 or values.dtype != np.uint8:
        problem = "has colours where there should be a palette of object numbers: its masks are not read"
        findings.append(Finding("mask.colours", "error", problem, Place(path), "export the masks with a palette"))
        return None
    numbers = np.unique(values)
    extra = numbers[(numbers > count) & (numbers != VOID)]
    if len(extra):
        problem = f"has pixels of object {extra[0]}, its XML has {count}: they are not read"
        findings.append(Finding("mask.unknown_object", "error", problem, Place(path), "export XML and masks together"))
        return None
    present = set(numbers.tolist())
    objects = [masks.rle_json(values == i) if i in present else b"" for i in range(1, count + 1)]
    return PixelMasks(objects, masks.rle_json(values == VOID).decode() if VOID in present else "")


def object_png(pixels: list[NDArray[np.bool_] | None], void: NDArray[np.bool_] | None, size: tuple[int, int]) -> bytes:
    """SegmentationObject's PNG of the masks (H, W) of an image's objects, of which none may overlap."""
    values = np.zeros((size[1], size[0]), np.uint8)
    for i, mask in enumerate(pixels, 1):
        if mask is not None:
            values[mask] = i
    return _png(values, void)


def class_png(
    pixels: list[NDArray[np.bool_] | None], labels: list[int], void: NDArray[np.bool_] | None, size: tuple[int, int]
) -> bytes:
    """SegmentationClass's PNG: values are the labels' indices, counted from 1."""
    values = np.zeros((size[1], size[0]), np.uint8)
    for mask, label in zip(pixels, labels, strict=True):
        if mask is not None:
            values[mask] = label + 1
    return _png(values, void)


def _png(values: NDArray[np.uint8], void: NDArray[np.bool_] | None) -> bytes:
    if void is not None:
        values[void] = VOID
    return palette_png(values)


def palette_png(values: NDArray[np.uint8]) -> bytes:
    """A PNG of the numbers (H, W) in VOC's colours."""
    image = Image.fromarray(values)
    image.putpalette(voc_palette().tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@cache
def voc_palette() -> NDArray[np.uint8]:
    """The colours of VOC's masks, (256, 3): bit i of a value becomes a high bit of red, green or blue in turn."""
    value, colours = np.arange(256), np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (value >> channel & 1) << (7 - bit)
        value = value >> 3
    return colours.astype(np.uint8)
