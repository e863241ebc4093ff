"""Samples as arrays: augmented scenes for a detector, crops of objects for a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes, area
from vocdet.data.dataset import Dataset
from vocdet.inputs.cuts import square, square_view
from vocdet.inputs.image_cache import ImageStore, Keep
from vocdet.inputs.images import Image, resize
from vocdet.inputs.transforms import (
    Augmentation,
    View,
    blend,
    mosaic_cells,
    random_colour,
    random_turn,
    random_view,
    see,
    show,
)

Cells = list[tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image at the network's size with its boxes; a crop has no boxes and one label."""

    image: Image  # (H, W, 3) RGB
    boxes: Boxes  # (N, 4) pixels of `image`
    labels: NDArray[np.int64]  # (N,)
    rows: tuple[int, ...] = ()  # the samples that are in it, itself first; one that is alone need not say so


class Samples(Protocol):
    """Something to draw samples from."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every sample."""
        ...

    def __len__(self) -> int: ...

    def draw(self, index: int, rng: np.random.Generator, canvas: Image | None = None) -> Sample:
        """Sample `index`, with whatever is random about it taken from `rng`; its image is `canvas`, or a new array."""
        ...

    def name(self, index: int) -> str:
        """The path of the file that sample `index` is of, or begins with."""
        ...


class Scenes:
    """A dataset's images at the detector's size (height, width), augmented or as they are."""

    def __init__(
        self, dataset: Dataset, size: tuple[int, int], augmentation: Augmentation | None, *, keep: Keep | None = None
    ) -> None:
        self.size = size
        self._augmentation = augmentation
        # as they are, they are to be the pixels that a predictor sees
        scale = 1 if augmentation is None else 2
        at_most = (scale * size[0], scale * size[1])
        self.store = ImageStore(dataset, at_most=at_most, keep=keep, exact=augmentation is None)
        objects = dataset.objects
        sides = np.column_stack([dataset.images.widths, dataset.images.heights] * 2)
        self._boxes = objects.box / sides[objects.image]  # (M, 4) shares of the image
        self._labels = objects.label.astype(np.int64)
        self._learned = ~objects.crowd  # crowds are no objects to learn
        self._first = np.searchsorted(objects.image, np.arange(len(dataset) + 1))  # (N + 1,) objects of each image

    def __len__(self) -> int:
        return len(self.store)

    def name(self, index: int) -> str:
        """The path of image `index`."""
        return str(self.store.path(index))

    def shown_labels(self) -> NDArray[np.int64]:
        """(M, 2) every image and label of an object in it that is learned, each pair once."""
        image = np.repeat(np.arange(len(self)), np.diff(self._first))
        return np.unique(np.column_stack([image, self._labels])[self._learned], axis=0)

    def draw(self, index: int, rng: np.random.Generator, canvas: Image | None = None) -> Sample:
        """Image `index`, or a mosaic that begins with it, or either with another one laid over it."""
        augmentation = self._augmentation
        out = np.empty((*self.size, 3), np.uint8) if canvas is None else canvas
        if augmentation is None:  # resized as a predictor does it, which is slower than a view
            out[:] = resize(self.store[index], self.size)
            return Sample(out, *self._seen(index, View(), (0, 0, self.size[1], self.size[0])), (index,))
        coloured = rng.random() < augmentation.colour
        mixed = rng.random() < augmentation.mixup
        direct = not coloured and not augmentation.turns  # no pass over the pixels follows
        sample = self._view(out if direct else np.empty_like(out), index, rng, augmentation)
        if mixed:
            other = self._view(np.empty_like(out), int(rng.integers(len(self))), rng, augmentation)
            blend(sample.image, other.image)
            sample = Sample(
                sample.image,
                np.concatenate([sample.boxes, other.boxes]),
                np.concatenate([sample.labels, other.labels]),
                sample.rows + other.rows,
            )
        return sample if direct else _finished(out, sample, rng, coloured=coloured, turned=augmentation.turns)

    def _view(self, out: Image, index: int, rng: np.random.Generator, augmentation: Augmentation) -> Sample:
        cells, rows = [(0, 0, self.size[1], self.size[0])], [index]
        if rng.random() < augmentation.mosaic:
            cells = mosaic_cells(rng, self.size)
            rows = [index, *rng.integers(0, len(self), 3).tolist()]
        return self._compose(out, [(row, random_view(rng, self._of(row), augmentation)) for row in rows], cells)

    def _of(self, row: int) -> Boxes:
        """The boxes of image `row`."""
        return self._boxes[self._first[row] : self._first[row + 1]]

    def _compose(self, out: Image, views: list[tuple[int, View]], cells: Cells) -> Sample:
        parts = [
            self._seen(row, show(out, self.store[row], view, into), into)
            for (row, view), into in zip(views, cells, strict=True)
        ]
        boxes, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Sample(out, boxes, labels, tuple(row for row, _ in views))

    def _seen(self, row: int, view: View, into: tuple[int, int, int, int]) -> tuple[Boxes, NDArray[np.int64]]:
        """The objects of image `row` that are learned and count in a view of it: boxes (N, 4) and labels (N,)."""
        seen, keep = see(self._of(row), view, into)
        objects = keep + self._first[row]
        learned = self._learned[objects]
        return seen[learned], self._labels[objects[learned]]


class Crops:
    """Every object of a dataset, cut out with some of what is around it, as a square."""

    def __init__(
        self,
        dataset: Dataset,
        size: int,
        *,
        context: float,
        augmented: bool,
        flip: bool = True,
        turns: bool = False,
        colour: float = 0.8,
        keep: Keep | None = None,
    ) -> None:
        self.size = (size, size)
        self._context = context
        self._augmented = augmented
        self._flip, self._turns, self._colour = augmented and flip, augmented and turns, colour if augmented else 0.0
        kept = np.flatnonzero(~dataset.objects.crowd)
        self._boxes, self._labels = dataset.objects.box[kept], dataset.objects.label[kept].astype(np.int64)
        self._images = dataset.objects.image[kept]
        self._sides = np.column_stack([dataset.images.widths, dataset.images.heights]).astype(np.float64)
        smallest = np.sqrt(np.maximum(area(self._boxes), 1.0))
        # kept at the scale at which a typical small object still fills the crop
        scale = min(1.0, 1.5 * size / float(np.percentile(smallest, 10))) if len(smallest) else 1.0
        largest = (int(dataset.images.heights.max(initial=1)), int(dataset.images.widths.max(initial=1)))
        at_most = (max(size, int(largest[0] * scale)), max(size, int(largest[1] * scale)))
        self.store = ImageStore(dataset, at_most=at_most, keep=keep)

    def __len__(self) -> int:
        return len(self._boxes)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) the label of every crop."""
        return self._labels

    def name(self, index: int) -> str:
        """The path of the image that crop `index` is cut out of."""
        return str(Path(self.store.path(int(self._images[index]))))

    def shown_labels(self) -> NDArray[np.int64]:
        """(N, 2) every crop and its label."""
        return np.column_stack([np.arange(len(self)), self._labels])

    def draw(self, index: int, rng: np.random.Generator, canvas: Image | None = None) -> Sample:
        """Object `index`: its box as a square grown by the context, a little moved and scaled when augmented."""
        row = int(self._images[index])
        cx, cy, side = square(self._boxes[index], self._context)
        mirrored = False
        if self._augmented:
            cx, cy = np.array([cx, cy]) + rng.uniform(-0.1, 0.1, 2) * side
            side *= np.exp(rng.uniform(-0.25, 0.25))
            mirrored = self._flip and bool(rng.random() < 0.5)
        width, height = self._sides[row].tolist()
        view = square_view((cx, cy), side, width, height, mirrored=mirrored)
        coloured = self._augmented and bool(rng.random() < self._colour)
        direct = not coloured and not self._turns
        out = np.empty((*self.size, 3), np.uint8) if canvas is None else canvas
        image = out if direct else np.empty_like(out)
        show(image, self.store[row], view, (0, 0, self.size[1], self.size[0]))
        sample = Sample(image, np.zeros((0, 4)), self._labels[index : index + 1])
        return sample if direct else _finished(out, sample, rng, coloured=coloured, turned=self._turns)


def _finished(out: Image, sample: Sample, rng: np.random.Generator, *, coloured: bool, turned: bool) -> Sample:
    """The sample turned, in other colours, or both, with its image in `out`."""
    image, boxes = random_turn(rng, sample.image, sample.boxes) if turned else (sample.image, sample.boxes)
    if coloured:
        random_colour(rng, image, out)
    else:
        out[:] = image
    return Sample(out, boxes, sample.labels, sample.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Samples side by side, as arrays."""

    images: NDArray[np.uint8]  # (B, H, W, 3) RGB
    boxes: NDArray[np.float32]  # (B, M, 4) pixels; padded
    labels: NDArray[np.int64]  # (B, M); padded with -1
    rows: tuple[int, ...]  # the samples that are in it, each once


@dataclass(frozen=True, slots=True)
class Request:
    """Which samples make a batch: those of `rows`, the first at `position` in the order of an epoch.

    What is random about a sample depends on seed, epoch and its position alone, not on who draws it when.
    """

    seed: int
    epoch: int
    position: int
    rows: tuple[int, ...]


def stack(samples: Samples, request: Request) -> Stack:
    """The samples of a request, drawn straight into the images of one batch; none make an empty batch."""
    images = np.empty((len(request.rows), *samples.size, 3), np.uint8)
    drawn = [
        samples.draw(row, np.random.default_rng((request.seed, request.epoch, request.position + i)), images[i])
        for i, row in enumerate(request.rows)
    ]
    rows = dict.fromkeys(i for row, s in zip(request.rows, drawn, strict=True) for i in s.rows or (row,))
    return Stack(images, *padded(drawn), tuple(rows))


def padded(samples: Sequence[Sample]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (B, M, 4) and labels (B, M) of samples, padded to the most that one of them has."""
    most = max((len(s.labels) for s in samples), default=0)
    boxes = np.zeros((len(samples), most, 4), np.float32)
    labels = np.full((len(samples), most), -1, np.int64)
    for i, sample in enumerate(samples):
        boxes[i, : len(sample.boxes)] = sample.boxes
        labels[i, : len(sample.labels)] = sample.labels
    return boxes, labels
