"""Datasets whose objects have masks, and what a mask is in all pixels of a picture."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.texts import Texts
from vocdet.mask_crops import MaskCrops

Polygon = Sequence[float]  # x1, y1, x2, y2, ...
Pixels = NDArray[np.bool_]


def whole_mask(polygons: Sequence[Polygon], width: int, height: int) -> Pixels:
    """Polygons filled in a picture, by pycocotools alone."""
    rle = coco.merge(coco.frPyObjects([list(polygon) for polygon in polygons], height, width))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own, with NumPy 2
        return np.asarray(coco.decode(rle), np.bool_)


def rle_text(mask: Pixels, *, compressed: bool = True) -> bytes:
    """COCO's JSON of a mask."""
    height, width = mask.shape
    if compressed:
        counts: object = coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    else:
        runs = [(value, len(list(run))) for value, run in groupby(mask.T.reshape(-1).tolist())]
        counts = [0] * runs[0][0] + [length for _, length in runs]
    return json.dumps({"size": [height, width], "counts": counts}).encode()


def polygon_text(*polygons: Polygon) -> bytes:
    """COCO's JSON of polygons."""
    return json.dumps([list(polygon) for polygon in polygons]).encode()


def bounds_of(mask: Pixels) -> list[int]:
    """xmin, ymin, xmax, ymax of the pixels of a mask."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1]


def in_full(masks: MaskCrops, i: int, height: int, width: int) -> Pixels:
    """The mask of object i in all pixels of a picture."""
    full = np.zeros((height, width), np.bool_)
    x0, y0, x1, y1 = masks.where[i].tolist()
    full[y0:y1, x0:x1] = masks.crop(i)
    return full


def save_dataset(
    folder: Path,
    images: Sequence[NDArray[np.uint8]],
    objects: Sequence[Sequence[tuple[Sequence[float], bytes]]],
    *,
    crowd: Sequence[int] = (),
    suffix: str = ".png",
) -> Dataset:
    """Images and, of each, the boxes and segmentations of its objects; the k-th of an image has label k."""
    names = tuple(f"{i}{suffix}" for i in range(len(images)))
    for name, pixels in zip(names, images, strict=True):
        Image.fromarray(pixels).save(folder / name)
    flat = [(i, k, box, text) for i, some in enumerate(objects) for k, (box, text) in enumerate(some)]
    n, no = len(flat), np.zeros(len(flat), np.bool_)
    heights, widths = np.array([image.shape[:2] for image in images], np.int32).reshape(-1, 2).T
    labels = tuple(str(k) for k in range(max((len(some) for some in objects), default=0)))
    table = Objects(
        np.array([i for i, *_ in flat], np.int32), np.array([k for _, k, *_ in flat], np.int32),
        np.array([box for _, _, box, _ in flat], np.float64).reshape(-1, 4), no, no, no, np.isin(np.arange(n), crowd),
        np.zeros(n, np.int32), segmentation=Texts.of([text for *_, text in flat]),
    )  # fmt: skip
    return Dataset(folder, labels, Images(names, names, widths, heights, ("",) * len(names)), table)


def mask_of_counts(counts: Sequence[int], height: int, width: int) -> Pixels:
    """The mask of run lengths by their definition: 0s, 1s, 0s, ... down the columns."""
    flat = [bool(i % 2) for i, count in enumerate(counts) for _ in range(count)]
    return np.array(flat, np.bool_).reshape(width, height).T
