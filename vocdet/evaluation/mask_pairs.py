"""Pairs of overlapping masks, in the form of `matching.box_pairs`.

An object without a valid mask of its image's size is ignored like a difficult one, and overlaps by its box. A detection
without a mask does not overlap an object with one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from vocdet.data.dataset import Dataset, Objects
from vocdet.evaluation.mask_column import MaskColumn, mask_column
from vocdet.evaluation.matching import DetectionTable, OverlapPairs, box_pairs


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
    objects, images = dataset.objects, dataset.images
    size = np.stack([images.heights, images.widths], axis=1).astype(np.int64)
    of_object = mask_column(objects.segmentation, size[objects.image])
    of_detection = mask_column(detections.mask, size[detections.image])
    area = of_detection.areas()
    without = ~of_object.valid
    near = _near_pairs(objects, detections, of_object, of_detection, area, floor)
    overlap = _overlaps(near, objects, detections.image, of_object, of_detection)
    pairs = replace(near, overlap=overlap).take(overlap >= floor)
    by_box = box_pairs(objects.take(without), detections, floor=floor)
    parts = [pairs, OverlapPairs(by_box.detection, np.flatnonzero(without)[by_box.object], by_box.overlap)]
    joined = OverlapPairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in OverlapPairs.__slots__))
    unreadable = without.copy()
    unreadable[np.setdiff1d(np.arange(len(objects)), objects.segmentation.rows)] = False
    return MaskPairs(joined.take(np.lexsort((joined.object, joined.detection))), area, without, unreadable)


def _near_pairs(
    objects: Objects,
    detections: DetectionTable,
    of_object: MaskColumn,
    of_detection: MaskColumn,
    area: NDArray[np.float64],
    floor: float,
) -> OverlapPairs:
    """The pairs of one image and label that may overlap by `floor`, as far as their bounding boxes show.

    No more pixels than the intersection of the boxes are in both masks, and at least the detection's are in either.
    """
    rows, things = np.flatnonzero(of_detection.valid), np.flatnonzero(of_object.valid)
    masked = replace(detections, box=of_detection.box, mask=None).take(rows)
    known = objects.take(things)
    whole = replace(known, box=of_object.box[things], crowd=np.ones(len(known), np.bool_))  # the share of the detection
    near = box_pairs(whole, masked, floor=1e-12)
    near = OverlapPairs(rows[near.detection], things[near.object], near.overlap)
    box = of_detection.box[near.detection]
    shared = near.overlap * (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])  # pixels of the intersection of the boxes
    return near.take(shared * (1 + 1e-9) >= floor * area[near.detection])


def _overlaps(
    near: OverlapPairs,
    objects: Objects,
    image: NDArray[np.int64],
    of_object: MaskColumn,
    of_detection: MaskColumn,
) -> NDArray[np.float64]:
    """(P,) the overlaps of pairs of masks; `image` (D,) are those of the detections. One call for each image."""
    rows, detection = np.unique(near.detection, return_inverse=True)
    things, thing = np.unique(near.object, return_inverse=True)
    masks, partners = of_detection.take(rows), of_object.take(things)
    crowd = objects.crowd[things].tolist()
    overlap = np.zeros(len(near.detection))
    cuts = np.flatnonzero(np.diff(image[near.detection])) + 1
    for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), len(overlap)], strict=True):
        if first == last:
            continue
        mine, other = detection[first:last], thing[first:last]
        a, b, low, high = mine[0], mine[-1] + 1, other.min(), other.max() + 1
        ious = coco.iou(masks[a:b], partners[low:high], crowd[low:high])
        overlap[first:last] = ious[mine - a, other - low]
    return overlap
