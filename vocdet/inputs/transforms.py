"""Augmentation: random views of images, with their boxes.

A view is a rectangle of the source image, which may reach beyond it, shown in a rectangle of the output. Crop, zoom,
flip and mosaic are all views, so that every source pixel is resampled once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes, area, clip
from vocdet.inputs.images import Image, resize

FILL = 127
OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)  # SSD's minimum overlaps of a crop with some object
TRIALS = 40
VISIBLE = 0.25  # an object of which less is left in a crop is no object any more


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What training does to an image; shares are probabilities."""

    whole: float = 0.25  # the image as it is
    zoom_out: float = 0.15  # the image on a larger gray canvas
    largest_canvas: float = 2.0
    smallest_crop: float = 0.3  # of the image's sides, for all others: a crop that overlaps some object enough
    flip: float = 0.5
    colour: float = 0.8
    mosaic: float = 0.0  # four images in one
    turns: bool = False  # any flip and quarter turn, for pictures that have no way up


@dataclass(frozen=True, slots=True)
class View:
    """A rectangle of a source image of `width` x `height`, mirrored or not, in shares of the image."""

    x0: float = 0.0
    y0: float = 0.0
    x1: float = 1.0
    y1: float = 1.0
    mirrored: bool = False


def random_view(rng: np.random.Generator, boxes: Boxes, augmentation: Augmentation) -> View:
    """A view of an image whose `boxes` (N, 4) are in shares of its sides."""
    mirrored = bool(rng.random() < augmentation.flip)
    kind = rng.random()
    if kind < augmentation.whole:
        return View(mirrored=mirrored)
    if kind < augmentation.whole + augmentation.zoom_out:
        side = rng.uniform(1.0, augmentation.largest_canvas)
        x0, y0 = -rng.uniform(0, side - 1, 2)
        return View(x0, y0, x0 + side, y0 + side, mirrored)
    x0, y0, x1, y1 = random_crop(rng, boxes, augmentation.smallest_crop)
    return View(x0, y0, x1, y1, mirrored)


def random_crop(rng: np.random.Generator, boxes: Boxes, smallest: float) -> tuple[float, float, float, float]:
    """SSD's crop (Liu et al. 2016, section 2.2): sides from `smallest` to 1 in an aspect from 1/2 to 2, that overlaps
    some object's box by one of five drawn IoUs and holds an object's centre; the whole image if 40 trials find none.
    """
    sides = rng.uniform(smallest, 1, (TRIALS, 2))  # w, h
    corner = rng.random((TRIALS, 2)) * (1 - sides)
    crops = np.concatenate([corner, corner + sides], axis=1)
    good = (sides[:, 0] < 2 * sides[:, 1]) & (sides[:, 1] < 2 * sides[:, 0])
    if len(boxes):
        low = np.maximum(crops[:, None, :2], boxes[:, :2])
        inter = np.prod(np.maximum(np.minimum(crops[:, None, 2:], boxes[:, 2:]) - low, 0), axis=2)
        overlap = inter / np.maximum(area(crops)[:, None] + area(boxes) - inter, 1e-12)  # (TRIALS, N)
        wanted = rng.choice(OVERLAPS)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = ((centre > crops[:, None, :2]) & (centre < crops[:, None, 2:])).all(2)
        # an object smaller than its IoU with any crop could be counts by how much of it is seen
        seen = inter / np.maximum(area(boxes), 1e-12)
        good &= (inside & (np.maximum(overlap, seen) >= wanted)).any(1)
    if not good.any():
        return 0.0, 0.0, 1.0, 1.0
    x0, y0, x1, y1 = crops[int(good.argmax())].tolist()
    return x0, y0, x1, y1


def show(canvas: Image, image: Image, view: View, into: tuple[int, int, int, int]) -> None:
    """Draw the view of `image` into the rectangle `into` (x0, y0, x1, y1) of `canvas`, which is changed."""
    left, top, right, bottom = into
    target = canvas[top:bottom, left:right]
    height, width = target.shape[:2]
    if view == View():
        target[:] = resize(image, (height, width))
        return
    # bilinear sampling skips pixels when it shrinks by more than two: halve the image by averages first
    while min((view.x1 - view.x0) * image.shape[1] / width, (view.y1 - view.y0) * image.shape[0] / height) > 3:
        image = resize(image, (image.shape[0] // 2, image.shape[1] // 2))
    sx, sy = width / ((view.x1 - view.x0) * image.shape[1]), height / ((view.y1 - view.y0) * image.shape[0])
    # pixel i covers [i, i + 1), so its centre is at i + 1/2 on both sides
    tx, ty = (0.5 - view.x0 * image.shape[1]) * sx - 0.5, (0.5 - view.y0 * image.shape[0]) * sy - 0.5
    matrix = np.array([[sx, 0, tx], [0, sy, ty]])
    if view.mirrored:
        matrix[0] = [-sx, 0, width - 1 - tx]
    target[:] = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(FILL,) * 3)


def see(boxes: Boxes, view: View, into: tuple[int, int, int, int]) -> tuple[Boxes, NDArray[np.int64]]:
    """Where boxes (N, 4), in shares of the image, appear in the rectangle `into`, and the rows that still count.

    A box counts when its centre is seen and at least a quarter of it, and two pixels each way.
    """
    left, top, right, bottom = into
    width, height = right - left, bottom - top
    shift = np.array([view.x0, view.y0, view.x0, view.y0])
    scale = np.array([width, height] * 2) / np.array([view.x1 - view.x0, view.y1 - view.y0] * 2)
    moved = (boxes - shift) * scale  # pixels of the rectangle
    if view.mirrored:
        moved = np.stack([width - moved[:, 2], moved[:, 1], width - moved[:, 0], moved[:, 3]], axis=1)
    seen = clip(moved, width, height)
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    inside = ((centre > 0) & (centre < np.array([width, height]))).all(1)
    large = (seen[:, 2:] - seen[:, :2] >= 2).all(1)
    keep = np.flatnonzero(inside & large & (area(seen) >= VISIBLE * area(moved)))
    return seen[keep] + np.array([left, top, left, top]), keep


def random_colour(rng: np.random.Generator, image: Image) -> Image:
    """Brightness, contrast, saturation and hue changed in one pass: a 3x4 matrix on RGB."""
    contrast, saturation = rng.uniform(0.6, 1.4), rng.uniform(0.5, 1.5)
    brightness, angle = rng.uniform(-32, 32), rng.uniform(-0.3, 0.3)
    gray = np.array([0.299, 0.587, 0.114])
    # a turn about the gray axis (Rodrigues) changes hue and keeps brightness
    axis = np.ones((3, 3)) / 3
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) * axis + np.sin(angle) * cross
    mix = saturation * np.eye(3) + (1 - saturation) * np.tile(gray, (3, 1))
    matrix = contrast * hue @ mix
    offset = 128 * (1 - contrast) + brightness
    return np.asarray(cv2.transform(image, np.column_stack([matrix, np.full(3, offset)])), np.uint8)


def random_turn(rng: np.random.Generator, image: Image, boxes: Boxes) -> tuple[Image, Boxes]:
    """A square image and its boxes, turned over and by a quarter, each or not: with a mirror, all eight ways."""
    side = len(image)
    if rng.random() < 0.5:
        image = image[::-1]
        boxes = np.stack([boxes[:, 0], side - boxes[:, 3], boxes[:, 2], side - boxes[:, 1]], axis=1)
    if rng.random() < 0.5:
        image, boxes = image.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    return np.ascontiguousarray(image), boxes


def mosaic_cells(rng: np.random.Generator, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Four rectangles (x0, y0, x1, y1) that share a random inner corner and fill the output of `size`."""
    height, width = size
    x, y = int(rng.uniform(0.35, 0.65) * width), int(rng.uniform(0.35, 0.65) * height)
    return [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
