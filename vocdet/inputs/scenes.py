"""Samples for a detector: a dataset's images, augmented or as they are, with their boxes and masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.inputs.copy_paste import paste
from vocdet.inputs.fit import Fit
from vocdet.inputs.image_cache import ImageStore, Keep
from vocdet.inputs.images import Image, resize
from vocdet.inputs.mask_views import see_masks
from vocdet.inputs.object_crops import Crops
from vocdet.inputs.object_masks import ObjectMasks
from vocdet.inputs.stacks import Request, Sample, Samples, Stack, padded, stack
from vocdet.inputs.transforms import (
    Augmentation,
    View,
    blend,
    mosaic_cells,
    random_color,
    random_view,
    see,
    shaped,
    show,
)
from vocdet.inputs.turns import Turn, random_turn, turn_boxes, turn_image, turn_masks
from vocdet.mask_crops import MaskCrops

__all__ = ["Crops", "Fit", "Request", "Sample", "Samples", "Scenes", "Stack", "padded", "stack"]

Cells = list[tuple[int, int, int, int]]
EDGE = 1e-9  # of an image's side: what lies less than that beyond a view is not cut off by it


class Scenes:
    """A dataset's images at the detector's size, augmented or as they are.

    The size is (height, width), or a `Fit`, with which every sample has the shape of its image and one of its own. With
    `masks` every sample has the masks of its objects; see `see_masks` for what they do to the boxes.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: tuple[int, int] | Fit,
        augmentation: Augmentation | None,
        *,
        keep: Keep | None = None,
        masks: bool = False,
    ) -> None:
        if augmentation and augmentation.copy_paste and not masks:
            raise ValueError("objects are pasted along their masks, which were not asked for")
        self._augmentation = augmentation
        self._sides = np.column_stack([dataset.images.widths, dataset.images.heights]).astype(np.int64)  # (N, 2)
        self.fit = size if isinstance(size, Fit) else None
        if isinstance(size, Fit):
            largest = _sizes(self._sides, size.of if augmentation is None else size.largest)
            self.size = size.canvas(largest)
        else:
            largest = np.array(size, np.int64)
            self.size = size
        # as they are, they are to be the pixels that a predictor sees
        at_most = largest if augmentation is None else 2 * largest
        self.store = ImageStore(dataset, at_most=at_most, keep=keep, exact=augmentation is None)
        objects = dataset.objects
        self._boxes = objects.box / np.tile(self._sides, 2)[objects.image]  # (M, 4) shares of the image
        self._labels = objects.label.astype(np.int64)
        self._learned = ~objects.crowd  # crowds are no objects to learn
        self._first = np.searchsorted(objects.image, np.arange(len(dataset) + 1))  # (N + 1,) objects of each image
        self._masks = ObjectMasks.of(dataset, self._learned) if masks else None

    def __len__(self) -> int:
        return len(self.store)

    def name(self, index: int) -> str:
        """The path of image `index`."""
        return str(self.store.path(index))

    def shown_labels(self) -> NDArray[np.int64]:
        """(M, 2) every image and label of an object in it that is learned, each pair once."""
        image = np.repeat(np.arange(len(self)), np.diff(self._first))
        return np.unique(np.column_stack([image, self._labels])[self._learned], axis=0)

    def known_masks(self) -> tuple[int, int]:
        """How many of the objects that are learned have a mask that is learned too, and how many there are."""
        usable = np.zeros(0) if self._masks is None else self._masks.usable
        return int(usable.sum()), int(self._learned.sum())

    def lying(self) -> NDArray[np.bool_]:
        """(N,) whether an image is wider than high; see `sampling.by_shape`."""
        return np.asarray(self._sides[:, 0] > self._sides[:, 1])

    def size_of(self, index: int, rng: np.random.Generator, /) -> tuple[int, int]:
        """Height and width of image `index`: those of a `Fit` at a scale that is drawn, and turned by chance."""
        if self.fit is None:
            return self.size
        augmentation, scale = self._augmentation, 1.0
        if augmentation and self.fit.scales:
            scale = rng.uniform(*self.fit.scales)
        width, height = self._sides[index].tolist()
        height, width = self.fit.of(width, height, scale)
        turned = augmentation is not None and augmentation.turns and rng.random() < 0.5
        return (width, height) if turned else (height, width)

    def draw(self, index: int, rng: np.random.Generator, canvas: Image | None = None) -> Sample:
        """Image `index`, or a mosaic that begins with it, or either with another one laid over it."""
        augmentation = self._augmentation
        out = np.empty((*self.size_of(index, rng), 3), np.uint8) if canvas is None else canvas
        if augmentation is None:  # resized as a predictor does it, which is slower than a view
            out[:] = resize(self.store[index], (out.shape[0], out.shape[1]))
            boxes, labels, masks = self._seen(index, View(), _all_of(out))
            return Sample(out, boxes, labels, (index,), masks)
        coloured = rng.random() < augmentation.color
        mixed = rng.random() < augmentation.mixup
        pasted = augmentation.copy_paste > 0 and rng.random() < augmentation.copy_paste
        direct = not coloured and not augmentation.turns  # no pass over the pixels follows
        quarter = self._quarter(index, out)
        upright = out.transpose(1, 0, 2) if quarter else out
        sample = self._view(out if direct else np.empty(upright.shape, np.uint8), index, rng, augmentation)
        if mixed:
            sample = _mixed(sample, self._other(sample.image, rng, augmentation))
        if pasted:
            sample = paste(sample, self._other(sample.image, rng, augmentation), rng)
        if direct:
            return sample
        turn = random_turn(rng, quarter=quarter) if augmentation.turns else None
        return _finished(out, sample, rng, coloured=coloured, turn=turn)

    def _quarter(self, index: int, out: Image) -> bool | None:
        """Whether image `index` is shown in `out` turned by a quarter; None: as it comes, which squares may be."""
        height, width = out.shape[:2]
        if height == width:
            return None
        across, up = self._sides[index].tolist()
        return self.fit is not None and (width > height) != (across > up)

    def _other(self, image: Image, rng: np.random.Generator, augmentation: Augmentation) -> Sample:
        """Another sample of the size of `image`."""
        return self._view(np.empty_like(image), int(rng.integers(len(self))), rng, augmentation)

    def _view(self, out: Image, index: int, rng: np.random.Generator, augmentation: Augmentation) -> Sample:
        cells, rows = [_all_of(out)], [index]
        if rng.random() < augmentation.mosaic:
            cells = mosaic_cells(rng, (out.shape[0], out.shape[1]))
            rows = [index, *rng.integers(0, len(self), 3).tolist()]
        views = [random_view(rng, self._of(row), augmentation, even=self.fit is not None) for row in rows]
        if self.fit is not None:  # nothing is stretched
            views = [self._shaped(rng, *one) for one in zip(views, rows, cells, strict=True)]
        return self._compose(out, list(zip(rows, views, strict=True)), cells)

    def _shaped(self, rng: np.random.Generator, view: View, row: int, into: tuple[int, int, int, int]) -> View:
        width, height = self._sides[row].tolist()
        return shaped(rng, view, (width, height), (into[2] - into[0], into[3] - into[1]))

    def _of(self, row: int) -> Boxes:
        """The boxes of image `row`."""
        return self._boxes[self._first[row] : self._first[row + 1]]

    def _compose(self, out: Image, views: list[tuple[int, View]], cells: Cells) -> Sample:
        parts = [
            self._seen(row, show(out, self.store[row], view, into), into)
            for (row, view), into in zip(views, cells, strict=True)
        ]
        boxes, labels = (np.concatenate(column) for column in list(zip(*parts, strict=True))[:2])
        return Sample(out, boxes, labels, tuple(row for row, _ in views), _joined([part[2] for part in parts]))

    def _seen(
        self, row: int, view: View, into: tuple[int, int, int, int]
    ) -> tuple[Boxes, NDArray[np.int64], MaskCrops | None]:
        """The objects of image `row` that are learned and count in a view of it: boxes, labels and masks (N,)."""
        seen, keep = see(self._of(row), view, into)
        learned = self._learned[keep + self._first[row]]
        seen, objects = seen[learned], keep[learned] + self._first[row]
        if self._masks is None:
            return seen, self._labels[objects], None
        shares = self._boxes[objects]
        low, high = (view.x0 - EDGE, view.y0 - EDGE), (view.x1 + EDGE, view.y1 + EDGE)
        cut = ((shares[:, :2] < low) | (shares[:, 2:] > high)).any(axis=1)
        width, height = self._sides[row].tolist()
        rows, boxes, masks = see_masks(self._masks, objects, seen, cut=cut, size=(width, height), view=view, into=into)
        return boxes, self._labels[objects[rows]], masks


def _sizes(sides: NDArray[np.int64], size: Callable[[int, int], tuple[int, int]]) -> NDArray[np.int64]:
    """(N, 2) height and width of what images of these widths and heights (N, 2) become."""
    return np.array([size(*side) for side in sides.tolist()], np.int64).reshape(-1, 2)


def _all_of(image: Image) -> tuple[int, int, int, int]:
    return 0, 0, image.shape[1], image.shape[0]


def _joined(masks: list[MaskCrops | None]) -> MaskCrops | None:
    return None if masks[0] is None else MaskCrops.joined([one for one in masks if one is not None])


def _mixed(sample: Sample, other: Sample) -> Sample:
    """One sample laid over another, half of each, with the objects of both."""
    blend(sample.image, other.image)
    return Sample(
        sample.image,
        np.concatenate([sample.boxes, other.boxes]),
        np.concatenate([sample.labels, other.labels]),
        sample.rows + other.rows,
        _joined([sample.masks, other.masks]),
    )


def _finished(out: Image, sample: Sample, rng: np.random.Generator, *, coloured: bool, turn: Turn | None) -> Sample:
    """The sample turned, in other colours, or both, with its image in `out`."""
    image, boxes, masks = sample.image, sample.boxes, sample.masks
    if turn is not None:
        height = len(image)
        image, boxes = turn_image(image, turn), turn_boxes(boxes, turn, height)
        masks = None if masks is None else turn_masks(masks, turn, height)
    if coloured:
        random_color(rng, image, out)
    else:
        out[:] = image
    return Sample(out, boxes, sample.labels, sample.rows, masks)
