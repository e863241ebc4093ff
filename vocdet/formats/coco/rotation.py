"""Rotated boxes in COCO files: CVAT writes the box before its rotation, and the angle among the attributes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.data.rotated import ANGLE, CORNERS, around, corners_of, rotated_extra, turned
from vocdet.data.texts import Texts
from vocdet.formats.coco.types import CocoEntries
from vocdet.formats.shared.extras import extra_of

_ROTATION_KEY = b'"rotation"'
_EXACT = 1e-4  # pixels


def turn_boxes(entries: CocoEntries, box: Boxes, sizes: NDArray[np.int32], usable: NDArray[np.bool_]) -> int:
    """Replace rotated boxes (M, 4) by the upright boxes around them, inside images of these sizes (M, 2); their number.

    The extras of the annotations get the angle and the corners. Where they have these, vocdet wrote the upright box.
    """
    count = 0
    for i, text in list(entries.annotation_extras.items()):
        extra = extra_of(text)
        degrees = _rotation(extra) if _ROTATION_KEY in text and ANGLE not in extra else 0.0
        if degrees and usable[i] and len(bytes(entries.annotations[i].segmentation).strip(b"[] \t\r\n")) == 0:
            xmin, ymin, xmax, ymax = box[i].tolist()
            corners = turned((xmin, ymin, xmax, ymax), degrees)
            box[i] = _clipped_box(around(corners), sizes[i])
            entries.annotation_extras[i] = msgspec.json.encode(extra | rotated_extra(corners, degrees))
            count += 1
    return count


def with_boxes_before_rotation(dataset: Dataset) -> Dataset:
    """The dataset as CVAT writes it: boxes before the rotation in their attributes, where the box did not change."""
    objects, images = dataset.objects, dataset.images
    box, texts = objects.box.copy(), dict[int, bytes]()
    for row, extra, corners in _rotated(objects.extra):
        size = np.array([images.widths[objects.image[row]], images.heights[objects.image[row]]])
        if np.abs(_clipped_box(around(corners), size) - box[row]).max() <= _EXACT:
            box[row] = _before(corners)
            texts[row] = msgspec.json.encode({key: raw for key, raw in extra.items() if key not in (ANGLE, CORNERS)})
    if not texts:
        return dataset
    extras = Texts.sparse(len(objects), {row: texts.get(row, text) for row, text in objects.extra.items()})
    return replace(dataset, objects=replace(objects, box=box, extra=extras))


def _rotated(extras: Texts) -> Iterator[tuple[int, dict[str, Any], list[float]]]:
    """Row, extras and corners of the objects with a rotation in their attributes and corners beside it."""
    for row, text in extras.items():
        corners = corners_of(text) if _ROTATION_KEY in text else None
        if corners is not None and _rotation(extra := extra_of(text)):
            yield row, extra, corners


def _rotation(extra: dict[str, msgspec.Raw]) -> float:
    """The degrees, clockwise, in the attributes of an annotation; 0 without any."""
    try:
        attributes = msgspec.json.decode(extra.get("attributes", msgspec.Raw(b"null")))
    except (msgspec.DecodeError, RecursionError):
        return 0.0
    degrees = attributes.get("rotation") if isinstance(attributes, dict) else None
    if isinstance(degrees, bool) or not isinstance(degrees, int | float) or not math.isfinite(degrees):
        return 0.0
    return float(degrees % 360)


def _clipped_box(box: tuple[float, float, float, float], size: NDArray[Any]) -> NDArray[np.float64]:
    """A box as far as it is in an image of this size; sizes of 0 are unknown."""
    limits = np.where(size > 0, size, np.inf)
    return np.asarray(np.clip(np.array(box), 0, np.concatenate([limits, limits])), np.float64)


def _before(corners: list[float]) -> NDArray[np.float64]:
    """The box whose corners these are, before its rotation."""
    points = np.array(corners).reshape(4, 2)
    half = np.array([math.dist(points[0], points[1]), math.dist(points[1], points[2])]) / 2
    center = points.mean(axis=0)
    return np.round(np.concatenate([center - half, center + half]), 4)
