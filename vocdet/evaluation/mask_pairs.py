"""Pairs of overlapping masks, in the form of `matching.box_pairs`.

An object without a valid mask of its image's size is ignored like a difficult one, and overlaps by its box. A detection
without a mask does not overlap an object with one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset, Objects
from vocdet.data.mask_runs import measured_runs, runs_of
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
    Masks are compared as run lengths, and only those whose bounding boxes allow such an overlap. `ValueError` for
    detections without masks.
    """
    if detections.mask is None:
        raise ValueError("the detections have no masks")
    objects = dataset.objects
    of_object = _rles(objects.segmentation, objects.image, dataset)
    of_detection, area = _detection_rles(detections.mask, detections.image, dataset)
    without = np.ones(len(objects), np.bool_)
    without[list(of_object)] = False
    near = _near_pairs(objects, detections, of_object, of_detection, area, floor)
    pairs = _overlapping(near, objects, detections, of_object, of_detection, floor)
    by_box = box_pairs(objects.take(without), detections, floor=floor)
    parts = [pairs, OverlapPairs(by_box.detection, np.flatnonzero(without)[by_box.object], by_box.overlap)]
    joined = OverlapPairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in OverlapPairs.__slots__))
    unreadable = without.copy()
    unreadable[np.setdiff1d(np.arange(len(objects)), objects.segmentation.rows)] = False
    return MaskPairs(joined.take(np.lexsort((joined.object, joined.detection))), area, without, unreadable)


def _near_pairs(
    objects: Objects,
    detections: DetectionTable,
    of_object: dict[int, _Rle],
    of_detection: dict[int, _Rle],
    area: NDArray[np.float64],
    floor: float,
) -> OverlapPairs:
    """The pairs of one image and label that may overlap by `floor`, as far as their bounding boxes show.

    No more pixels than the intersection of the boxes are in both masks, and at least the detection's are in either.
    """
    boxes, partners = _bounds(of_object, len(objects)), _bounds(of_detection, len(detections))
    masked = replace(detections, box=partners, mask=None).take(np.fromiter(of_detection, np.int64, len(of_detection)))
    rows, things = (np.fromiter(rles, np.int64, len(rles)) for rles in (of_detection, of_object))
    known = replace(objects.take(things), box=boxes[things])
    whole = replace(known, crowd=np.ones(len(known), np.bool_))  # for a crowd, the overlap is a share of the detection
    near = box_pairs(whole, masked, floor=1e-12)
    near = OverlapPairs(rows[near.detection], things[near.object], near.overlap)
    wide, high = (partners[near.detection, side + 2] - partners[near.detection, side] for side in (0, 1))
    shared = near.overlap * wide * high  # pixels of the intersection of the boxes
    return near.take(shared * (1 + 1e-9) >= floor * area[near.detection])


def _bounds(rles: dict[int, _Rle], count: int) -> Boxes:
    """(count, 4) the bounding boxes of masks, as corners; 0 for rows without one."""
    boxes = np.zeros((count, 4))
    if rles:
        found = coco.toBbox(list(rles.values()))
        found[:, 2:] += found[:, :2]
        boxes[np.fromiter(rles, np.int64, len(rles))] = found
    return boxes


def _overlapping(
    near: OverlapPairs,
    objects: Objects,
    detections: DetectionTable,
    of_object: dict[int, _Rle],
    of_detection: dict[int, _Rle],
    floor: float,
) -> OverlapPairs:
    """Those pairs whose masks overlap by at least `floor`; pairs of one image and label are next to each other."""
    group = np.cumsum(detections.rank == 0)[near.detection]  # every image and label has one detection of rank 0
    parts = [OverlapPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    cuts = np.flatnonzero(np.diff(group)) + 1
    ends = [*cuts.tolist(), len(group)] if len(group) else []
    for first, last in zip([0, *cuts.tolist()], ends, strict=False):
        rows, partners = np.unique(near.detection[first:last]), np.unique(near.object[first:last])
        crowd = objects.crowd[partners].tolist()
        overlap = coco.iou([of_detection[i] for i in rows.tolist()], [of_object[i] for i in partners.tolist()], crowd)
        detection, thing = np.nonzero(overlap >= floor)
        parts.append(OverlapPairs(rows[detection], partners[thing], overlap[detection, thing]))
    return OverlapPairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in OverlapPairs.__slots__))


def _detection_rles(
    column: Texts, image: NDArray[np.int64], dataset: Dataset
) -> tuple[dict[int, _Rle], NDArray[np.float64]]:
    """The valid masks of detections by row, and the pixels of each (D,), without drawing compressed RLEs."""
    area = np.zeros(len(column))
    runs = runs_of(column)
    if runs is None:
        rles = _rles(column, image, dataset)
        for row, rle in rles.items():
            area[row] = coco.area(rle)
        return rles, area
    at = image[column.rows]
    measured = measured_runs(runs)
    fits = (runs.sizes == np.stack([dataset.images.heights[at], dataset.images.widths[at]], axis=1)).all(axis=1)
    fits &= measured.valid
    area[column.rows[fits]] = measured.area[fits]
    sizes, rows = runs.sizes.tolist(), column.rows.tolist()
    return {rows[i]: {"size": sizes[i], "counts": runs.counts[i]} for i in np.flatnonzero(fits).tolist()}, area


def _rles(column: Texts, image: NDArray[Any], dataset: Dataset) -> dict[int, _Rle]:
    """The valid masks of a column by row; `image` are the rows of their images."""
    heights, widths = dataset.images.heights.tolist(), dataset.images.widths.tolist()
    images = image.tolist()
    found = ((row, masks.compressed(text, heights[images[row]], widths[images[row]])) for row, text in column.items())
    return {row: rle for row, rle in found if rle is not None}
