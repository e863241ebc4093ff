"""Augmentation: random views of images, with their boxes.

A view is a rectangle of the source image, which may extend beyond it, drawn into a rectangle of the output. Crop, zoom,
flip and mosaic are all views, so every source pixel is resampled once. Views are aligned to whole pixels as far as
that does not stretch them: resizing a rectangle of pixels takes a third of the time of any other resampling.
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
ALIGNED_FROM = 64  # pixels of a source's side below which alignment would stretch the view by more than 1 %
VISIBLE = 0.25  # share of an object that must be visible in a crop; with less, the object is left out


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How training changes images; shares are probabilities."""

    whole: float = 0.25  # the whole image, neither cropped nor zoomed
    zoom_out: float = 0.15  # the image on a larger gray canvas
    largest_canvas: float = 2.0
    smallest_crop: float = 0.3  # of the image's sides, for all others: a crop that overlaps some object enough
    flip: float = 0.5
    color: float = 0.8
    mosaic: float = 0.0  # four images in one
    mixup: float = 0.0  # the mean of two samples, either of which may be a mosaic
    rotate: bool = False  # any flip and rotation by 90°, for images without an up
    copy_paste: float = 0.0  # objects of another sample pasted over this one, along their masks


@dataclass(frozen=True, slots=True)
class View:
    """A rectangle of a source image of `width` x `height`, mirrored or not, in shares of the image."""

    x0: float = 0.0
    y0: float = 0.0
    x1: float = 1.0
    y1: float = 1.0
    mirrored: bool = False


def random_view(rng: np.random.Generator, boxes: Boxes, augmentation: Augmentation, *, even: bool = False) -> View:
    """A view of an image whose `boxes` (N, 4) are shares of its sides; with `even` it has the image's shape."""
    mirrored = bool(rng.random() < augmentation.flip)
    kind = rng.random()
    if kind < augmentation.whole:
        return View(mirrored=mirrored)
    if kind < augmentation.whole + augmentation.zoom_out:
        side = rng.uniform(1.0, augmentation.largest_canvas)
        x0, y0 = -rng.uniform(0, side - 1, 2)
        return View(x0, y0, x0 + side, y0 + side, mirrored)
    x0, y0, x1, y1 = random_crop(rng, boxes, augmentation.smallest_crop, even=even)
    return View(x0, y0, x1, y1, mirrored)


def random_crop(
    rng: np.random.Generator, boxes: Boxes, smallest: float, *, even: bool = False
) -> tuple[float, float, float, float]:
    """SSD's crop (Liu et al. 2016, section 2.2): sides from `smallest` to 1 in an aspect from 1/2 to 2, that overlaps
    some object's box by one of five IoUs and contains its center; the whole image if 40 trials find none.

    With `even` both sides are the same share of the image's.
    """
    sides = rng.uniform(smallest, 1, (TRIALS, 2))  # w, h
    if even:
        sides[:, 1] = sides[:, 0]
    corner = rng.random((TRIALS, 2)) * (1 - sides)
    crops = np.concatenate([corner, corner + sides], axis=1)
    good = (sides[:, 0] < 2 * sides[:, 1]) & (sides[:, 1] < 2 * sides[:, 0])
    if len(boxes):
        low = np.maximum(crops[:, None, :2], boxes[:, :2])
        inter = np.prod(np.maximum(np.minimum(crops[:, None, 2:], boxes[:, 2:]) - low, 0), axis=2)
        overlap = inter / np.maximum(area(crops)[:, None] + area(boxes) - inter, 1e-12)  # (TRIALS, N)
        threshold = rng.choice(OVERLAPS)
        center = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = ((center > crops[:, None, :2]) & (center < crops[:, None, 2:])).all(2)
        # an object too small for any crop to reach this IoU counts by its visible share
        visible = inter / np.maximum(area(boxes), 1e-12)
        good &= (inside & (np.maximum(overlap, visible) >= threshold)).any(1)
    if not good.any():
        return 0.0, 0.0, 1.0, 1.0
    x0, y0, x1, y1 = crops[int(good.argmax())].tolist()
    return x0, y0, x1, y1


def match_aspect(rng: np.random.Generator, view: View, source: tuple[int, int], target: tuple[int, int]) -> View:
    """A random part of a view of an image of size `source`: the largest that has the shape of `target`.

    Both are (width, height). A view that already has the shape, to a pixel of the target, is unchanged.
    """
    position, target = rng.random(), (max(target[0], 1), max(target[1], 1))
    width, height = (view.x1 - view.x0) * source[0], (view.y1 - view.y0) * source[1]
    scale = max(target[0] / width, target[1] / height)
    if max(width * scale - target[0], height * scale - target[1]) < 1:
        return view
    w, h = target[0] / scale / source[0], target[1] / scale / source[1]
    x0 = view.x0 + position * (view.x1 - view.x0 - w)
    y0 = view.y0 + position * (view.y1 - view.y0 - h)
    return View(x0, y0, x0 + w, y0 + h, view.mirrored)


def draw_view(canvas: Image, image: Image, view: View, into: tuple[int, int, int, int]) -> View:
    """Draw the view of `image` into the rectangle `into` (x0, y0, x1, y1) of `canvas`, which is changed.

    Returns the view as it is drawn, which `visible_boxes` takes: moved by less than a pixel of the image and one of
    the canvas, so that both begin and end with whole pixels. Beyond the image it is gray.
    """
    left, top, right, bottom = into
    target = canvas[top:bottom, left:right]
    height, width = target.shape[:2]
    x = _side_view(view.x0, view.x1, image.shape[1], width)
    y = _side_view(view.y0, view.y1, image.shape[0], height)
    if x is None or y is None:  # beyond the image
        target[:] = FILL
        return view
    if min(x.last - x.first, y.last - y.first) < ALIGNED_FROM:
        _warp_to(target, image, view)
        return view
    if (x.to, y.to, x.end, y.end) != (0, 0, width, height):
        target[:] = FILL
    part = image[y.first : y.last, x.first : x.last]
    for _ in range(min(x.halvings, y.halvings)):
        half = (part.shape[1] // 2, part.shape[0] // 2)
        part = np.asarray(cv2.resize(part, half, interpolation=cv2.INTER_AREA), np.uint8)
    size = (x.end - x.to, y.end - y.to)
    if view.mirrored:
        small = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
        cv2.flip(small, 1, dst=target[y.to : y.end, width - x.end : width - x.to])
    else:
        cv2.resize(part, size, dst=target[y.to : y.end, x.to : x.end], interpolation=cv2.INTER_LINEAR)
    x0, x1 = x.view(image.shape[1], width)
    y0, y1 = y.view(image.shape[0], height)
    return View(x0, y0, x1, y1, view.mirrored)


@dataclass(frozen=True, slots=True)
class _SideView:
    """Pixels `first` to `last` of an image's side appear as pixels `to` to `end` of a canvas's."""

    first: int
    last: int
    to: int
    end: int
    halvings: int  # by averaging, before resampling, which skips pixels when it shrinks by more than two

    def view(self, source: int, target: int) -> tuple[float, float]:
        """Where the canvas's side of `target` pixels begins and ends, as shares of the image's of `source` pixels."""
        pixel = (self.last - self.first) / (self.end - self.to)
        begin = self.first - self.to * pixel
        return begin / source, (begin + target * pixel) / source


def _side_view(low: float, high: float, source: int, target: int) -> _SideView | None:
    """One side of a view on whole pixels; None if it is beyond the image."""
    scale = target / ((high - low) * source)
    first, last = max(low, 0.0) * source, min(high, 1.0) * source
    to, end = round((first - low * source) * scale), round((last - low * source) * scale)
    if last <= first or end <= to:
        return None
    halvings = max(0, int(np.log2((last - first) / (end - to))))
    step = 1 << halvings
    begin = round(first)
    pixels = max(1, round((last - first) / step)) * step
    if begin + pixels > source:
        begin = max(0, source - pixels)
        pixels = min(pixels, source // step * step)
    return _SideView(begin, begin + pixels, to, end, halvings) if pixels else None


def _warp_to(target: Image, image: Image, view: View) -> None:
    """Draw a view that is not aligned to pixels."""
    height, width = target.shape[:2]
    while min((view.x1 - view.x0) * image.shape[1] / width, (view.y1 - view.y0) * image.shape[0] / height) > 3:
        image = resize(image, (max(1, image.shape[0] // 2), max(1, image.shape[1] // 2)))
    sx, sy = width / ((view.x1 - view.x0) * image.shape[1]), height / ((view.y1 - view.y0) * image.shape[0])
    # pixel i covers [i, i + 1), so its center is at i + 1/2 on both sides
    tx, ty = (0.5 - view.x0 * image.shape[1]) * sx - 0.5, (0.5 - view.y0 * image.shape[0]) * sy - 0.5
    matrix = np.array([[sx, 0, tx], [0, sy, ty]])
    if view.mirrored:
        matrix[0] = [-sx, 0, width - 1 - tx]
    target[:] = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(FILL,) * 3)


def visible_boxes(boxes: Boxes, view: View, into: tuple[int, int, int, int]) -> tuple[Boxes, NDArray[np.int64]]:
    """Where boxes (N, 4), shares of the image, appear in the rectangle `into`, and the rows of those that remain.

    A box remains if its center is visible, and at least a quarter of it, and two pixels in both directions.
    """
    left, top, right, bottom = into
    width, height = right - left, bottom - top
    moved = _moved_boxes(boxes, view, (width, height))
    visible = clip(moved, width, height)
    center = (moved[:, :2] + moved[:, 2:]) / 2
    inside = ((center > 0) & (center < np.array([width, height]))).all(1)
    large = (visible[:, 2:] - visible[:, :2] >= 2).all(1)
    rows = np.flatnonzero(inside & large & (area(visible) >= VISIBLE * area(moved)))
    return visible[rows] + np.array([left, top, left, top]), rows


def visible_regions(boxes: Boxes, view: View, into: tuple[int, int, int, int]) -> Boxes:
    """The parts (K, 4) of boxes (N, 4), shares of the image, in the rectangle `into`, however small they are."""
    left, top, right, bottom = into
    visible = clip(_moved_boxes(boxes, view, (right - left, bottom - top)), right - left, bottom - top)
    shown: Boxes = visible[area(visible) > 0] + np.array([left, top, left, top])
    return shown


def _moved_boxes(boxes: Boxes, view: View, size: tuple[int, int]) -> Boxes:
    """Boxes (N, 4), shares of the image, in pixels of a rectangle of this width and height that shows the view."""
    shift = np.array([view.x0, view.y0, view.x0, view.y0])
    scale = np.array(size * 2) / np.array([view.x1 - view.x0, view.y1 - view.y0] * 2)
    moved = (boxes - shift) * scale
    if view.mirrored:
        moved = np.stack([size[0] - moved[:, 2], moved[:, 1], size[0] - moved[:, 0], moved[:, 3]], axis=1)
    return np.asarray(moved)


_GRAY = np.tile([0.299, 0.587, 0.114], (3, 1))
_MEAN = np.full((3, 3), 1 / 3)
_CROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
_SAME = np.eye(3)


def random_color(rng: np.random.Generator, image: Image, out: Image | None = None) -> Image:
    """Brightness, contrast, saturation and hue changed in one pass, into `out` or a new image: a 3x4 matrix on RGB."""
    contrast, saturation = rng.uniform(0.6, 1.4), rng.uniform(0.5, 1.5)
    brightness, angle = rng.uniform(-32, 32), rng.uniform(-0.3, 0.3)
    # a rotation about the gray axis (Rodrigues) changes the hue and preserves the brightness
    hue = np.cos(angle) * _SAME + (1 - np.cos(angle)) * _MEAN + np.sin(angle) * _CROSS
    matrix = np.empty((3, 4))
    matrix[:, :3] = contrast * hue @ (saturation * _SAME + (1 - saturation) * _GRAY)
    matrix[:, 3] = 128 * (1 - contrast) + brightness
    changed = cv2.transform(image, matrix, dst=out)
    return np.asarray(changed, np.uint8)


def blend(image: Image, other: Image) -> None:
    """Replace `image` by the mean of it and `other`.

    mixup (Zhang et al. 2018) as detectors use it: the objects of both are learned (Zhang et al. 2019, Bag of
    Freebies, section 3.1), with equal weights as in YOLOX (Ge et al. 2021), so that neither is too faint to see.
    """
    cv2.addWeighted(image, 0.5, other, 0.5, 0, dst=image)


def mosaic_cells(rng: np.random.Generator, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Four rectangles (x0, y0, x1, y1) that share a random inner corner and fill the output of `size`."""
    height, width = size
    x, y = int(rng.uniform(0.35, 0.65) * width), int(rng.uniform(0.35, 0.65) * height)
    return [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
