"""Crowds: regions of many objects that training and evaluation ignore, and objects that are only marked as such."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.data.dataset import D, Dataset
from vocdet.data.findings import Finding, object_place
from vocdet.wording import counted

MANY_CROWDS = 0.05  # share of all objects; in COCO 1.2 % are crowds
_SAMPLE = 200  # crowds whose masks are decoded
_DECODED_PIXELS = 1 << 26  # pixels of an image whose masks are decoded
_FEWEST = 3  # crowds of one piece that are no coincidence
_LARGER = 4  # times the area of usual objects; COCO's crowds are larger still
_HINT = (
    "crowds are neither trained on nor evaluated; if they are single objects, as some tools write every brush mask, "
    'read them as objects: `crowds="objects"`'
)


def crowds_as_objects(dataset: D) -> D:
    """The dataset with its crowds as objects like any other."""
    crowd = dataset.objects.crowd
    return replace(dataset, objects=replace(dataset.objects, crowd=np.zeros_like(crowd))) if crowd.any() else dataset


def crowd_findings(dataset: Dataset) -> list[Finding]:
    """A finding if many objects are crowds, or if most crowds look like single objects."""
    rows = np.flatnonzero(dataset.objects.crowd)
    if not len(rows):
        return []
    count = len(dataset.objects)
    place = object_place(dataset, rows[0])
    if len(rows) > MANY_CROWDS * count:
        of = f"all {count} objects" if len(rows) == count else f"{len(rows)} of {count} objects"
        problem = f"{'the only object is a crowd' if count == 1 else f'{of} are crowds'} (iscrowd 1)"
        return [Finding("crowd.many", "warning", problem, place, _HINT, len(rows))]
    single = _single_objects(dataset, rows)
    if single < _FEWEST:
        return []
    problem = f"{counted(single, 'crowd')} (iscrowd 1) {'has' if single == 1 else 'have'} the mask of a single object"
    return [Finding("crowd.single", "warning", problem, place, _HINT, single)]


def _single_objects(dataset: Dataset, rows: NDArray[np.int64]) -> int:
    """How many crowds look like single objects, if most of a sample do: of one piece, and no larger than others."""
    objects = dataset.objects
    sides = objects.box[:, 2:] - objects.box[:, :2]
    area = sides.prod(axis=1)
    usual = {label: np.median(area[~objects.crowd & (objects.label == label)]) for label in _mixed(dataset, rows)}
    sample = rows[:: -(-len(rows) // _SAMPLE)].tolist()
    small = [row for row in sample if area[row] <= _LARGER * usual.get(int(objects.label[row]), 0)]
    if 2 * len(small) <= len(sample):
        return 0
    single = sum(_is_one_piece(objects.segmentation[row]) for row in small)
    return round(single * len(rows) / len(sample)) if 2 * single > len(sample) else 0


def _mixed(dataset: Dataset, rows: NDArray[np.int64]) -> list[int]:
    """The labels of these objects that also have objects that are no crowds."""
    objects = dataset.objects
    return sorted(set(objects.label[rows].tolist()) & set(objects.label[~objects.crowd].tolist()))


def _is_one_piece(segmentation: bytes) -> bool:
    """Whether a mask is a single polygon, or an RLE whose pixels are connected."""
    try:
        parsed = masks.parse(segmentation)
    except masks.MaskError:
        return False
    if not isinstance(parsed, masks.Rle):
        return len(parsed) == 1
    return parsed.height * parsed.width <= _DECODED_PIXELS and pieces(parsed) == 1


def pieces(rle: masks.Rle) -> int:
    """The number of pieces of a mask: pixels that touch, if only at a corner, are of one piece."""
    import cv2  # few datasets have crowds

    counts = np.array(rle.counts, np.int64)
    bounds = masks.counts_bounds(counts, rle.height)
    return cv2.connectedComponents(masks.window(counts, rle.height, bounds).view(np.uint8))[0] - 1 if bounds else 0
