"""Which masks overlap: the same list of pairs as `matching.box_pairs` makes of boxes.

An object without a mask, or with one that cannot be read or is of another size than its image, says nothing about
masks: it counts as a difficult one does, neither missed nor false on it, and overlaps by its box. A detection without
a mask overlaps nothing that has one.
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
from vocdet.evaluation.matching import Found, Pairs, box_pairs

_Rle = dict[str, Any]  # size and counts, compressed, as pycocotools wants it


@dataclass(frozen=True, slots=True, eq=False)
class MaskPairs:
    """What the masks of detections and objects have in common."""

    pairs: Pairs
    found_area: NDArray[np.float64]  # (D,) pixels of every detection's mask
    without: NDArray[np.bool_]  # (M,) objects that have no mask, or none that can be used
    unreadable: NDArray[np.bool_]  # (M,) of those: masks that cannot be read, or are of another size than the image

    def objects(self, objects: Objects) -> Objects:
        """The objects, those without a mask as difficult ones."""
        return replace(objects, difficult=objects.difficult | self.without)


def mask_pairs(truth: Dataset, found: Found, *, floor: float) -> MaskPairs:
    """The pairs of one image and one label whose masks overlap by at least `floor` (> 0).

    The overlap is IoU in pixels, but for a crowd region it is the share of the detection that lies inside; both are
    those of pycocotools. Masks are compared as run lengths, image by image, so that memory does not grow with pixels.
    ValueError where the detections have no masks.
    """
    if found.mask is None:
        raise ValueError("the detections have no masks")
    objects = truth.objects
    without, area = np.ones(len(objects), np.bool_), np.zeros(len(found))
    parts = [Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for image in range(len(truth)):
        size = int(truth.images.heights[image]), int(truth.images.widths[image])
        here = np.arange(*np.searchsorted(objects.image, (image, image + 1)))
        there = np.arange(*np.searchsorted(found.image, (image, image + 1)))
        of_object, of_found = _rles(objects.segmentation, here, size), _rles(found.mask, there, size)
        without[list(of_object)] = False
        if of_found:
            area[list(of_found)] = coco.area(list(of_found.values()))
        parts += _pairs_of_image(objects, found, of_object, of_found, floor)
    by_box = box_pairs(objects.take(without), found, floor=floor)
    parts.append(Pairs(by_box.found, np.flatnonzero(without)[by_box.object], by_box.overlap))
    joined = Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in Pairs.__slots__))
    pairs = joined.take(np.lexsort((joined.object, joined.found)))
    unreadable = without.copy()
    unreadable[np.setdiff1d(np.arange(len(objects)), objects.segmentation.rows)] = False
    return MaskPairs(pairs, area, without, unreadable)


def _pairs_of_image(
    objects: Objects, found: Found, of_object: dict[int, _Rle], of_found: dict[int, _Rle], floor: float
) -> Iterator[Pairs]:
    """Label by label, from the masks by row."""
    mine, theirs = np.fromiter(of_found, np.int64, len(of_found)), np.fromiter(of_object, np.int64, len(of_object))
    for label in np.intersect1d(found.label[mine], objects.label[theirs]):
        rows, partners = mine[found.label[mine] == label], theirs[objects.label[theirs] == label]
        crowd = objects.crowd[partners].tolist()
        overlap = coco.iou([of_found[i] for i in rows.tolist()], [of_object[i] for i in partners.tolist()], crowd)
        detection, thing = np.nonzero(overlap >= floor)
        yield Pairs(rows[detection], partners[thing], overlap[detection, thing])


def _rles(segmentations: Texts, rows: NDArray[np.int64], size: tuple[int, int]) -> dict[int, _Rle]:
    """The masks of these rows of an image of `size` (height, width) that can be read, by row."""
    read = ((row, _rle(segmentations[row], size)) for row in rows.tolist())
    return {row: rle for row, rle in read if rle is not None}


def _rle(text: bytes, size: tuple[int, int]) -> _Rle | None:
    counts = masks.counts_of(text, *size)
    if counts is None:
        return None
    compressed: _Rle = coco.frPyObjects({"size": list(size), "counts": counts}, *size)
    return compressed
