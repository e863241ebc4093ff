"""A `Dataset` as a YOLO folder for segmentation: one polygon for each object.

Ultralytics reads a file with a polygon as polygons only, and drops the polygons of a dataset in which some objects
have none: so every object gets one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.data.losses import Loss
from vocdet.data.rotated import corners_of
from vocdet.formats.images.split_folders import folder_losses
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.plain_losses import OTHER_BOX, plain_losses
from vocdet.formats.yolo import write as boxes_only
from vocdet.formats.yolo.write import PIXEL_DECIMALS, fraction, image_sizes, write_label_files, written_boxes
from vocdet.mask_outlines import as_polygon

image_targets = boxes_only.image_targets

_TRACED = "masks of pixels"
_JOINED = "masks of several polygons"
_RECTANGLES = "objects without a mask"
_INVALID = "masks without pixels in their images"
_CLIPPED = "masks and boxes clipped to their images"
_LEFT_OUT = "boxes without area in their images"
_WHY = {
    _TRACED: "they become one polygon along the edges of their pixels",
    _JOINED: "they become one polygon: joined by lines without area, or along the edges of their pixels",
    _RECTANGLES: "their boxes become polygons of four corners, rotated if they are",
    _INVALID: "their boxes become polygons of four corners",
    _CLIPPED: "other tools refuse points outside",
    _LEFT_OUT: "left out: other tools refuse them",
    OTHER_BOX: "the polygon says where the object is",
}


def write(
    folder: Path,
    dataset: Dataset,
    targets: Sequence[str],
    areas: NDArray[np.float64],
    *,
    coordinates: Coordinates | None = None,  # noqa: ARG001 as in every format
) -> list[Loss]:
    """Write a label file of polygons for every image, and data.yaml; return what these cannot hold.

    Files are named as by `vocdet.formats.yolo.write.write`. Polygons are clipped to their images. An object without
    a valid mask becomes the rectangle of its box, and is left out where that has no area in the image.
    """
    sizes = image_sizes(dataset)
    objects = dataset.objects
    boxes, has_area = written_boxes(dataset)
    counts = Counter[str]()
    rows: list[str] = []
    keep = np.ones(len(objects), np.bool_)
    for row, text in enumerate(map(objects.segmentation.__getitem__, range(len(objects)))):
        width, height = map(int, sizes[objects.image[row]])
        polygon = None if np.isnan(areas[row]) else _visible_polygon(text, (height, width), counts)
        if polygon is None and has_area[row]:
            polygon = _visible_corners(objects.extra[row], width, height) or _rectangle(boxes[row])
            counts[_INVALID if text else _RECTANGLES] += 1
            counts[_CLIPPED] += not np.allclose(boxes[row], objects.box[row], rtol=0, atol=1e-6)
        elif polygon is not None:
            counts[OTHER_BOX] += not np.allclose(_polygon_bounds(polygon), objects.box[row], rtol=0, atol=1e-6)
        keep[row] = polygon is not None
        counts[_LEFT_OUT] += polygon is None
        if polygon is not None:
            points = (np.round(polygon, PIXEL_DECIMALS).reshape(-1, 2) / (width, height)).ravel().tolist()
            rows.append(f"{objects.label[row]} {' '.join(map(fraction, points))}\n")
    write_label_files(folder, dataset, targets, rows, objects.image[keep])
    found = [Loss(what, counts[what], why) for what, why in _WHY.items() if counts[what]]
    return [*found, *plain_losses(dataset, areas), *folder_losses(dataset, "images/")]


def _visible_polygon(text: bytes, size: tuple[int, int], counts: Counter[str]) -> list[float] | None:
    """The polygon of a valid mask in an image of this size (height, width); None if none of it is in the image."""
    height, width = size
    segmentation = masks.parse(text)
    try:
        polygon = as_polygon(segmentation, height, width)
    except masks.MaskError:  # an RLE of another size, or too large
        return None
    if polygon is None or _is_flat(polygon):
        return None
    if isinstance(segmentation, masks.Rle):
        counts[_TRACED] += 1
    elif len(segmentation) > 1:
        counts[_JOINED] += 1
    bounds = masks.bounds(segmentation)
    counts[_CLIPPED] += bounds is not None and (min(bounds[:2]) < 0 or bounds[2] > width or bounds[3] > height)
    return polygon


def _is_flat(polygon: list[float]) -> bool:
    low_x, low_y, high_x, high_y = _polygon_bounds(polygon)
    return min(high_x - low_x, high_y - low_y) < 10.0**-PIXEL_DECIMALS


def _polygon_bounds(polygon: list[float]) -> tuple[float, float, float, float]:
    xs, ys = polygon[::2], polygon[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _visible_corners(extra: bytes, width: int, height: int) -> list[float] | None:
    """The part in the image of the corners of a rotated box; None for any other object."""
    corners = corners_of(extra)
    return as_polygon([corners], height, width) if corners is not None else None


def _rectangle(box: Boxes) -> list[float]:
    xmin, ymin, xmax, ymax = box.tolist()
    return [xmin, ymin, xmax, ymin, xmax, ymax, xmin, ymax]
