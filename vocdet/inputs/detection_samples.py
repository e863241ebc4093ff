"""Samples for a detector: a dataset's images, augmented or unchanged, with their boxes and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.inputs.copy_paste import paste
from vocdet.inputs.image_cache import CacheOptions, ImageCache
from vocdet.inputs.images import Image, resize
from vocdet.inputs.mask_views import MaskFrame, visible_masks
from vocdet.inputs.object_masks import ObjectMasks
from vocdet.inputs.orientation import Orientation, orient_boxes, orient_image, orient_masks, random_orientation
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.inputs.samples import Sample, no_boxes
from vocdet.inputs.transforms import (
    Augmentation,
    View,
    blend,
    draw_view,
    match_aspect,
    mosaic_cells,
    random_color,
    random_view,
    visible_boxes,
    visible_regions,
)
from vocdet.mask_crops import MaskCrops

Rectangle = tuple[int, int, int, int]  # x0, y0, x1, y1
CROP_EDGE = 1e-9  # of an image's side: a view does not truncate what extends beyond it by less


class VisibleObjects(NamedTuple):
    """What there is to learn in a view."""

    boxes: Boxes  # (N, 4)
    labels: NDArray[np.int64]  # (N,)
    masks: MaskCrops | None  # N
    crowds: Boxes  # (K, 4)


class DetectionSamples:
    """A dataset's images at the detector's size, augmented or unchanged.

    The size is (height, width), or a `ResizeShortestEdge`, which gives every sample the shape of its image. With
    `masks` every sample has the masks of its objects; see `visible_masks` for what they change about the boxes.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: tuple[int, int] | ResizeShortestEdge,
        augmentation: Augmentation | None,
        *,
        cache: CacheOptions | None = None,
        masks: bool = False,
    ) -> None:
        if augmentation and augmentation.copy_paste and not masks:
            raise ValueError("copy_paste needs masks=True: objects are pasted along their masks")
        self._augmentation = augmentation
        self._sides = np.column_stack([dataset.images.widths, dataset.images.heights]).astype(np.int64)  # (N, 2)
        self.resizing = size if isinstance(size, ResizeShortestEdge) else None
        if isinstance(size, ResizeShortestEdge):
            largest = _fitted_sizes(self._sides, size.of if augmentation is None else size.largest)
            self.size = size.canvas(largest)
        else:
            largest = np.array(size, np.int64)
            self.size = size
        # unchanged images have exactly the pixels that a predictor sees
        at_most = largest if augmentation is None else 2 * largest
        self.images = ImageCache(dataset, at_most=at_most, options=cache, exact=augmentation is None)
        objects = dataset.objects
        self._boxes = objects.box / np.tile(self._sides, 2)[objects.image]  # (M, 4) shares of the image
        self._labels = objects.label.astype(np.int64)
        self._learned = ~objects.crowd  # crowds are not objects to learn
        self._first = np.searchsorted(objects.image, np.arange(len(dataset) + 1))  # (N + 1,) objects of each image
        self._masks = ObjectMasks.of(dataset, self._learned) if masks else None

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """The path of image `index`."""
        return str(self.images.path(index))

    def shown_labels(self) -> NDArray[np.int64]:
        """(M, 2) every image and label of an object in it that is learned, each pair once."""
        image = np.repeat(np.arange(len(self)), np.diff(self._first))
        return np.unique(np.column_stack([image, self._labels])[self._learned], axis=0)

    def is_landscape(self) -> NDArray[np.bool_]:
        """(N,) whether an image is wider than high; see `sampling.group_by_orientation`."""
        return np.asarray(self._sides[:, 0] > self._sides[:, 1])

    def size_of(self, index: int, rng: np.random.Generator, /) -> tuple[int, int]:
        """Height and width of image `index`; with a `ResizeShortestEdge` at a random scale, and perhaps transposed."""
        if self.resizing is None:
            return self.size
        augmentation, scale = self._augmentation, 1.0
        if augmentation and self.resizing.scales:
            scale = rng.uniform(*self.resizing.scales)
        width, height = self._sides[index].tolist()
        height, width = self.resizing.of(width, height, scale)
        transposed = augmentation is not None and augmentation.rotate and rng.random() < 0.5
        return (width, height) if transposed else (height, width)

    def draw(self, index: int, rng: np.random.Generator, canvas: Image | None = None) -> Sample:
        """Image `index`, or a mosaic that begins with it; another one may be blended or pasted over it."""
        augmentation = self._augmentation
        out = np.empty((*self.size_of(index, rng), 3), np.uint8) if canvas is None else canvas
        if augmentation is None:  # resized as a predictor does it, which is slower than a view
            out[:] = resize(self.images[index], (out.shape[0], out.shape[1]))
            visible = self._visible(index, View(), _all_of(out))
            return Sample(out, visible.boxes, visible.labels, (index,), visible.masks, visible.crowds)
        recolored = rng.random() < augmentation.color
        mixed = rng.random() < augmentation.mixup
        pasted = augmentation.copy_paste > 0 and rng.random() < augmentation.copy_paste
        direct = not recolored and not augmentation.rotate  # no other pass over the pixels follows
        transposed = self._transposed(index, out)
        upright = out.transpose(1, 0, 2) if transposed else out
        sample = self._view(out if direct else np.empty(upright.shape, np.uint8), index, rng, augmentation)
        if mixed:
            sample = _with_pasted(sample, self._other(sample.image, rng, augmentation))
        if pasted:
            sample = paste(sample, self._other(sample.image, rng, augmentation), rng)
        if direct:
            return sample
        orientation = random_orientation(rng, transposed=transposed) if augmentation.rotate else None
        return _finished(out, sample, rng, recolored=recolored, orientation=orientation)

    def _transposed(self, index: int, out: Image) -> bool | None:
        """Whether image `index` is transposed in `out`; None: `out` is square, both are possible."""
        height, width = out.shape[:2]
        if height == width:
            return None
        image_width, image_height = self._sides[index].tolist()
        return self.resizing is not None and (width > height) != (image_width > image_height)

    def _other(self, image: Image, rng: np.random.Generator, augmentation: Augmentation) -> Sample:
        """Another sample of the size of `image`."""
        return self._view(np.empty_like(image), int(rng.integers(len(self))), rng, augmentation)

    def _view(self, out: Image, index: int, rng: np.random.Generator, augmentation: Augmentation) -> Sample:
        cells, rows = [_all_of(out)], [index]
        if rng.random() < augmentation.mosaic:
            cells = mosaic_cells(rng, (out.shape[0], out.shape[1]))
            rows = [index, *rng.integers(0, len(self), 3).tolist()]
        views = [
            random_view(rng, self._learned_boxes(row), augmentation, even=self.resizing is not None) for row in rows
        ]
        if self.resizing is not None:  # nothing is stretched
            views = [self._match_aspect(rng, *one) for one in zip(views, rows, cells, strict=True)]
        return self._compose(out, list(zip(rows, views, strict=True)), cells)

    def _match_aspect(self, rng: np.random.Generator, view: View, row: int, into: tuple[int, int, int, int]) -> View:
        width, height = self._sides[row].tolist()
        return match_aspect(rng, view, (width, height), (into[2] - into[0], into[3] - into[1]))

    def _learned_boxes(self, row: int) -> Boxes:
        """The boxes of the objects of image `row`, without crowds: a crop around a crowd would teach nothing."""
        own = slice(self._first[row], self._first[row + 1])
        return self._boxes[own][self._learned[own]]

    def _compose(self, out: Image, views: list[tuple[int, View]], cells: list[Rectangle]) -> Sample:
        parts = [
            self._visible(row, draw_view(out, self.images[row], view, into), into)
            for (row, view), into in zip(views, cells, strict=True)
        ]
        boxes, labels, masks, crowds = zip(*parts, strict=True)
        return Sample(
            out, np.concatenate(boxes), np.concatenate(labels), tuple(row for row, _ in views), _joined_masks(masks),
            np.concatenate(crowds),
        )  # fmt: skip

    def _visible(self, row: int, view: View, into: Rectangle) -> VisibleObjects:
        """The objects of image `row` to learn in a view of it, and its crowds there."""
        own = np.arange(self._first[row], self._first[row + 1])
        learned = own[self._learned[own]]
        crowds = no_boxes()
        if len(learned) < len(own):
            crowds = visible_regions(self._boxes[own[~self._learned[own]]], view, into)
        boxes, rows = visible_boxes(self._boxes[learned], view, into)
        objects = learned[rows]
        if self._masks is None:
            return VisibleObjects(boxes, self._labels[objects], None, crowds)
        shares = self._boxes[objects]
        low, high = (view.x0 - CROP_EDGE, view.y0 - CROP_EDGE), (view.x1 + CROP_EDGE, view.y1 + CROP_EDGE)
        truncated = np.asarray(((shares[:, :2] < low) | (shares[:, 2:] > high)).any(axis=1))
        width, height = self._sides[row].tolist()
        rows, boxes, masks = visible_masks(
            self._masks, objects, boxes, truncated=truncated, frame=MaskFrame((width, height), view, into)
        )
        return VisibleObjects(boxes, self._labels[objects[rows]], masks, crowds)


def _fitted_sizes(sides: NDArray[np.int64], size: Callable[[int, int], tuple[int, int]]) -> NDArray[np.int64]:
    """(N, 2) height and width of what images of these widths and heights (N, 2) become."""
    return np.array([size(*side) for side in sides.tolist()], np.int64).reshape(-1, 2)


def _all_of(image: Image) -> Rectangle:
    return 0, 0, image.shape[1], image.shape[0]


def _joined_masks(masks: Sequence[MaskCrops | None]) -> MaskCrops | None:
    return None if masks[0] is None else MaskCrops.joined([one for one in masks if one is not None])


def _with_pasted(sample: Sample, other: Sample) -> Sample:
    """The mean of two samples, with the objects of both."""
    blend(sample.image, other.image)
    return Sample(
        sample.image,
        np.concatenate([sample.boxes, other.boxes]),
        np.concatenate([sample.labels, other.labels]),
        sample.rows + other.rows,
        _joined_masks([sample.masks, other.masks]),
        np.concatenate([sample.crowds, other.crowds]),
    )


def _finished(
    out: Image, sample: Sample, rng: np.random.Generator, *, recolored: bool, orientation: Orientation | None
) -> Sample:
    """The sample in another orientation, other colors, or both, with its image in `out`."""
    image, boxes, masks, crowds = sample.image, sample.boxes, sample.masks, sample.crowds
    if orientation is not None:
        height = len(image)
        image = orient_image(image, orientation)
        boxes, crowds = (orient_boxes(of, orientation, height) for of in (boxes, crowds))
        masks = None if masks is None else orient_masks(masks, orientation, height)
    if recolored:
        random_color(rng, image, out)
    else:
        out[:] = image
    return Sample(out, boxes, sample.labels, sample.rows, masks, crowds)
