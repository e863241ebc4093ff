"""Moving the objects of images that are turned, mirrored or resized: boxes, masks, and coordinates in the extras."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.data.rotated import ANGLE, CORNERS, angle_of, corners_in
from vocdet.data.texts import Texts

Points: TypeAlias = "NDArray[np.float64]"  # (N, 2) x, y


@dataclass(frozen=True, slots=True)
class AxisMap:
    """Where the points of an image go: the axes are swapped or not, then scaled and shifted."""

    size: tuple[int, int]  # width and height of the new image
    swapped: bool = False
    scale: tuple[float, float] = (1.0, 1.0)  # of x and y of the new image; negative where that axis is mirrored
    shift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def oriented(cls, orientation: int, width: int, height: int) -> AxisMap:
        """An EXIF orientation, applied to an image of this size."""
        swapped = orientation >= 5
        size = (height, width) if swapped else (width, height)
        mirrored = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
        scale = (-1.0 if mirrored[0] else 1.0, -1.0 if mirrored[1] else 1.0)
        return cls(size, swapped, scale, (size[0] * mirrored[0], size[1] * mirrored[1]))

    def points(self, points: Points) -> Points:
        """The points in the new image."""
        return np.asarray((points[:, ::-1] if self.swapped else points) * self.scale + self.shift)

    def boxes(self, boxes: Boxes) -> Boxes:
        """The boxes (N, 4) in the new image."""
        ends = self.points(boxes.reshape(-1, 2)).reshape(-1, 2, 2)
        return np.concatenate([ends.min(axis=1), ends.max(axis=1)], axis=1)

    def flat(self, numbers: list[float], step: int = 2) -> list[float]:
        """A flat list of x, y pairs in the new image; with a `step` of 3, every third number is not a coordinate."""
        rows = np.array(numbers, np.float64).reshape(-1, step)
        rows[:, :2] = self.points(rows[:, :2])
        return _rounded(rows.ravel())

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (H, W) in the new image, by its nearest pixels."""
        mask = mask.T if self.swapped else mask
        mask = mask[:: -1 if self.scale[1] < 0 else 1, :: -1 if self.scale[0] < 0 else 1]
        width, height = self.size
        rows, columns = (
            np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
            for new, old in ((height, mask.shape[0]), (width, mask.shape[1]))
        )
        return np.asarray(mask[np.ix_(rows, columns)])


def move_objects(dataset: Dataset, maps: Mapping[int, AxisMap]) -> Dataset:
    """The dataset with the objects of images moved by their maps, and with the new sizes of these images."""
    if not maps:
        return dataset
    objects, images = dataset.objects, dataset.images
    first = np.searchsorted(objects.image, np.arange(len(images) + 1))
    box, area = objects.box.copy(), objects.area.copy()
    segmentations, extras = dict(objects.segmentation.items()), dict(objects.extra.items())
    widths, heights = images.widths.copy(), images.heights.copy()
    for row, axes in maps.items():
        mine = slice(first[row], first[row + 1])
        box[mine] = axes.boxes(box[mine])
        area[mine] *= abs(axes.scale[0] * axes.scale[1])
        for i in range(first[row], first[row + 1]):
            if i in segmentations:
                segmentations[i] = _mapped_segmentation(segmentations[i], axes)
            if i in extras:
                extras[i] = _mapped_extra(extras[i], axes)
        widths[row], heights[row] = axes.size
    count = len(objects)
    moved = replace(
        objects, box=box, area=area, segmentation=Texts.sparse(count, segmentations), extra=Texts.sparse(count, extras)
    )
    return replace(dataset, objects=moved, images=replace(images, widths=widths, heights=heights))


def as_shown(dataset: Dataset) -> Dataset:
    """The dataset with all boxes referring to images with their EXIF orientation applied."""
    images = dataset.images
    rows = np.flatnonzero((images.exif != 1) & ~images.upright).tolist()
    maps = {
        row: AxisMap.oriented(int(images.exif[row]), int(images.widths[row]), int(images.heights[row])) for row in rows
    }
    moved = move_objects(dataset, maps)
    return (
        replace(moved, images=replace(moved.images, upright=images.upright | (images.exif != 1))) if maps else dataset
    )


def rescale(dataset: Dataset, scales: Mapping[int, tuple[float, float]]) -> Dataset:
    """The dataset with the objects of resized images, by row, scaled to the size that the images have."""
    images = dataset.images
    return move_objects(
        dataset,
        {
            row: AxisMap((int(images.widths[row]), int(images.heights[row])), scale=scale)
            for row, scale in scales.items()
        },
    )


def _mapped_segmentation(text: bytes, axes: AxisMap) -> bytes:
    """A segmentation in the new image; unchanged if it is invalid, which a check says."""
    try:
        segmentation = masks.parse(text)
        if isinstance(segmentation, masks.Rle):
            return masks.rle_json(axes.mask(masks.pixels(segmentation, segmentation.height, segmentation.width)))
        return json.dumps([axes.flat(polygon) for polygon in segmentation], separators=(",", ":")).encode()
    except masks.MaskError:
        return text


def _mapped_extra(text: bytes, axes: AxisMap) -> bytes:
    """The extras of an object in the new image: keypoints, the boxes of parts, the corners of a rotated box."""
    extra: dict[str, Any] = json.loads(text)
    points: Any = extra.get("keypoints")
    if _are_numbers(points) and len(points) % 3 == 0:
        extra["keypoints"] = axes.flat(points, 3)
    if (corners := corners_in(extra)) is not None:
        extra[CORNERS] = axes.flat(corners)
        extra[ANGLE] = angle_of(extra[CORNERS])
    if isinstance(parts := extra.get("parts"), list):
        for part in parts:
            box: Any = part.get("bbox") if isinstance(part, dict) else None
            if _are_numbers(box) and len(box) == 4:
                corner, extent = np.array(box[:2], np.float64), np.array(box[2:], np.float64)
                moved = axes.boxes(np.concatenate([corner, corner + extent])[None])[0]
                part["bbox"] = _rounded(np.concatenate([moved[:2], moved[2:] - moved[:2]]))
    return json.dumps(extra, separators=(",", ":"), ensure_ascii=False).encode()


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, (int, float)) and math.isfinite(one) for one in value)


def _rounded(numbers: NDArray[np.float64]) -> list[float]:
    """Numbers without the noise of the last decimals, whole ones as integers."""
    return [int(one) if one.is_integer() else one for one in np.round(numbers, 6).tolist()]
