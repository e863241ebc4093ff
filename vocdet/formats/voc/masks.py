"""VOC's SegmentationObject: one PNG for an image; its pixel values are the numbers of the objects in the XML."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vocdet import masks
from vocdet.data.findings import Finding
from vocdet.errors import Place
from vocdet.wording import counted

VOID = 255  # VOC's value for the borders of objects
MOST_OBJECTS = 254  # and labels, in SegmentationClass


@dataclass(frozen=True, slots=True)
class PixelMasks:
    """The masks of an image as compressed RLEs in JSON."""

    objects: list[bytes]  # b"": the object has no pixels
    void: str  # "": there are no void pixels


def read_masks(path: Path, count: int, size: tuple[int, int], findings: list[Finding]) -> PixelMasks | None:
    """Read the masks of `count` objects in an image of `size` (width, height); None, with a finding, if impossible."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.size != size:
                problem = (
                    f"is {image.width}×{image.height}, but its image is {size[0]}×{size[1]}: its masks are ignored"
                )
                findings.append(Finding("mask.size", "error", problem, Place(path), "export the masks again"))
                return None
            values = np.asarray(image)
    except Exception as error:  # Pillow raises many types for broken files
        problem = f"cannot be decoded: {error}"
        findings.append(Finding("mask.corrupt", "error", problem, Place(path), "export it again, or delete it"))
        return None
    if values.ndim != 2 or values.dtype != np.uint8:
        problem = "has colors instead of a palette of object numbers: its masks are ignored"
        findings.append(Finding("mask.colors", "error", problem, Place(path), "export the masks with a palette"))
        return None
    numbers = np.unique(values)
    extra = numbers[(numbers > count) & (numbers != VOID)]
    if len(extra):
        problem = f"has pixels of object {extra[0]}, but its XML has {counted(count, 'object')}: its masks are ignored"
        findings.append(Finding("mask.unknown_object", "error", problem, Place(path), "export XML and masks together"))
        return None
    present = set(numbers.tolist())
    if count > MOST_OBJECTS and VOID in present:
        problem = f"has pixels of the value {VOID}, either borders or object {VOID}: its masks are ignored"
        findings.append(Finding("mask.objects", "error", problem, Place(path), "export the masks as polygons or RLE"))
        return None
    objects = [masks.rle_json(values == i) if i in present else b"" for i in range(1, count + 1)]
    return PixelMasks(objects, masks.rle_json(values == VOID).decode() if VOID in present else "")


def object_values(segmentations: Sequence[bytes], void: str, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """SegmentationObject's numbers (H, W) for the masks of an image's objects (b"": none) and its void pixels.

    None if they do not fit into one: too many, overlapping, or not of the image's size (width, height).
    """
    if len(segmentations) > MOST_OBJECTS:
        return None
    values: NDArray[np.uint8] | None = None
    for number, text in [*enumerate(segmentations, 1), (VOID, void.encode())]:
        if text:
            try:
                mask = masks.pixels(masks.parse(text), size[1], size[0])
            except masks.MaskError:
                return None
            values = np.zeros(mask.shape, np.uint8) if values is None else values
            if values[mask].any():
                return None
            values[mask] = number
    return np.zeros((size[1], size[0]), np.uint8) if values is None else values


def class_values(numbers: NDArray[np.uint8], labels: Sequence[int]) -> NDArray[np.uint8]:
    """SegmentationClass's numbers (H, W), the labels' indices from 1, for the object numbers `numbers`."""
    table = np.zeros(256, np.uint8)
    table[1 : len(labels) + 1] = np.array(labels, np.int64) + 1
    table[VOID] = VOID
    return table[numbers]


def palette_png(values: NDArray[np.uint8]) -> bytes:
    """A PNG of the numbers (H, W) in VOC's colors."""
    image = Image.fromarray(values)
    image.putpalette(voc_palette().tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@cache
def voc_palette() -> NDArray[np.uint8]:
    """The colors of VOC's masks (256, 3): bit i of a value becomes a high bit of red, green or blue in turn."""
    value, colors = np.arange(256), np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (value >> channel & 1) << (7 - bit)
        value = value >> 3
    return colors.astype(np.uint8)
