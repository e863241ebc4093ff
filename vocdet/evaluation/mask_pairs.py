"""Pairs of overlapping masks, in the form of `matching.box_pairs`.

An object without a valid mask of its image's size is ignored like a difficult one, and overlaps by its box. A detection
without a mask does not overlap an object with one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from vocdet import masks
from vocdet.data.dataset import Dataset, Objects
from vocdet.data.texts import Texts
from vocdet.evaluation.matching import DetectionTable, OverlapPairs, box_pairs

_Rle = dict[str, Any]  # size and compressed counts, for pycocotools


@dataclass(frozen=True, slots=True, eq=False)
class MaskPairs:
    """The overlaps of detections and objects by their masks."""

    pairs: OverlapPairs
    detection_areas: NDArray[np.float64]  # (D,) pixels of every detection's mask
    without: NDArray[np.bool_]  # (M,) objects without a valid mask
    unreadable: NDArray[np.bool_]  # (M,) of those: with an invalid mask, or one of another size than the image

    def objects(self, objects: Objects) -> Objects:
        """The objects, with those without a valid mask marked as difficult."""
        return replace(objects, difficult=objects.difficult | self.without)


def mask_pairs(dataset: Dataset, detections: DetectionTable, *, floor: float) -> MaskPairs:
    """The pairs of one image and label whose masks overlap by at least `floor` (> 0).

    The overlap is IoU in pixels; for a crowd region it is the share of the detection inside it, as in pycocotools.
    Masks are compared as run lengths, image by image, so that memory does not depend on the number of pixels.
    `ValueError` for detections without masks.
    """
    if detections.mask is None:
        raise ValueError("the detections have no masks")
    objects = dataset.objects
    without, area = np.ones(len(objects), np.bool_), np.zeros(len(detections))
    parts = [OverlapPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for image in range(len(dataset)):
        size = int(dataset.images.heights[image]), int(dataset.images.widths[image])
        here = np.arange(*np.searchsorted(objects.image, (image, image + 1)))
        there = np.arange(*np.searchsorted(detections.image, (image, image + 1)))
        of_object, of_detection = _rles(objects.segmentation, here, size), _rles(detections.mask, there, size)
        without[list(of_object)] = False
        if of_detection:
            area[list(of_detection)] = coco.area(list(of_detection.values()))
        parts += _pairs_of_image(objects, detections, of_object, of_detection, floor)
    by_box = box_pairs(objects.take(without), detections, floor=floor)
    parts.append(OverlapPairs(by_box.detection, np.flatnonzero(without)[by_box.object], by_box.overlap))
    joined = OverlapPairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in OverlapPairs.__slots__))
    pairs = joined.take(np.lexsort((joined.object, joined.detection)))
    unreadable = without.copy()
    unreadable[np.setdiff1d(np.arange(len(objects)), objects.segmentation.rows)] = False
    return MaskPairs(pairs, area, without, unreadable)


def _pairs_of_image(
    objects: Objects,
    detections: DetectionTable,
    of_object: dict[int, _Rle],
    of_detection: dict[int, _Rle],
    floor: float,
) -> Iterator[OverlapPairs]:
    """The pairs of each label, from the masks by row."""
    mine, theirs = (
        np.fromiter(of_detection, np.int64, len(of_detection)),
        np.fromiter(of_object, np.int64, len(of_object)),
    )
    for label in np.intersect1d(detections.label[mine], objects.label[theirs]):
        rows, partners = mine[detections.label[mine] == label], theirs[objects.label[theirs] == label]
        crowd = objects.crowd[partners].tolist()
        overlap = coco.iou([of_detection[i] for i in rows.tolist()], [of_object[i] for i in partners.tolist()], crowd)
        detection, thing = np.nonzero(overlap >= floor)
        yield OverlapPairs(rows[detection], partners[thing], overlap[detection, thing])


def _rles(segmentations: Texts, rows: NDArray[np.int64], size: tuple[int, int]) -> dict[int, _Rle]:
    """The valid masks among these rows of an image of `size` (height, width), by row."""
    read = ((row, _parsed_rle(segmentations[row], size)) for row in rows.tolist())
    return {row: rle for row, rle in read if rle is not None}


def _parsed_rle(text: bytes, size: tuple[int, int]) -> _Rle | None:
    counts = masks.counts_of(text, *size)
    if counts is None:
        return None
    compressed: _Rle = coco.frPyObjects({"size": list(size), "counts": counts}, *size)
    return compressed
