"""Samples for a classifier: every object of a dataset, cropped from its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import area
from vocdet.data.dataset import Dataset
from vocdet.inputs.image_cache import CacheOptions, ImageCache
from vocdet.inputs.images import Image
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.inputs.samples import Sample
from vocdet.inputs.square_crop import context_square, crop_rotated, square_view
from vocdet.inputs.transforms import draw_view, random_color


@dataclass(frozen=True, slots=True)
class CropAugmentation:
    """Changes of crops in training, besides a small shift and scale."""

    flip: bool = True  # half of the crops are mirrored
    rotate: bool = False  # by any angle, for images without an up
    color: float = 0.8  # share of crops with other colors


class CropSamples:
    """Every object of a dataset with some context, as a square."""

    def __init__(
        self,
        dataset: Dataset,
        size: int,
        *,
        context: float,
        augmentation: CropAugmentation | None = None,
        cache: CacheOptions | None = None,
    ) -> None:
        self.size = (size, size)
        self.resizing: ResizeShortestEdge | None = None
        self._context = context
        self._augmentation = augmentation
        learned = np.flatnonzero(~dataset.objects.crowd)
        self._boxes, self._labels = dataset.objects.box[learned], dataset.objects.label[learned].astype(np.int64)
        self._images = dataset.objects.image[learned]
        self._sides = np.column_stack([dataset.images.widths, dataset.images.heights]).astype(np.float64)
        smallest = np.sqrt(np.maximum(area(self._boxes), 1.0))
        # cached at the scale at which a typical small object still fills the crop
        scale = min(1.0, 1.5 * size / float(np.percentile(smallest, 10))) if len(smallest) else 1.0
        largest = (int(dataset.images.heights.max(initial=1)), int(dataset.images.widths.max(initial=1)))
        at_most = (max(size, int(largest[0] * scale)), max(size, int(largest[1] * scale)))
        self.images = ImageCache(dataset, at_most=at_most, options=cache)

    def __len__(self) -> int:
        return len(self._boxes)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) the label of every crop."""
        return self._labels

    def name(self, index: int) -> str:
        """The path of the image that crop `index` comes from."""
        return str(self.images.path(int(self._images[index])))

    def shown_labels(self) -> NDArray[np.int64]:
        """(N, 2) every crop and its label."""
        return np.column_stack([np.arange(len(self)), self._labels])

    def size_of(self, _index: int, _rng: np.random.Generator, /) -> tuple[int, int]:
        """Height and width, the same for all."""
        return self.size

    def draw(self, index: int, rng: np.random.Generator, canvas: Image | None = None) -> Sample:
        """Object `index`: its box as a square grown by the context, slightly shifted and scaled when augmented.

        It can be rotated by any angle, as it has no box that would grow.
        """
        augmentation = self._augmentation
        row = int(self._images[index])
        cx, cy, side = context_square(self._boxes[index], self._context)
        mirrored = False
        if augmentation is not None:
            cx, cy = np.array([cx, cy]) + rng.uniform(-0.1, 0.1, 2) * side
            side *= np.exp(rng.uniform(-0.25, 0.25))
            mirrored = augmentation.flip and bool(rng.random() < 0.5)
        width, height = self._sides[row].tolist()
        recolored = augmentation is not None and bool(rng.random() < augmentation.color)
        out = np.empty((*self.size, 3), np.uint8) if canvas is None else canvas
        image = np.empty_like(out) if recolored else out
        source = self.images[row]
        if augmentation is not None and augmentation.rotate:
            sx, sy = source.shape[1] / width, source.shape[0] / height
            angle = float(rng.uniform(0, 2 * np.pi))
            crop_rotated(image, source, (cx * sx, cy * sy), side * np.sqrt(sx * sy), angle=angle, mirrored=mirrored)
        else:
            view = square_view((cx, cy), side, width, height, mirrored=mirrored)
            draw_view(image, source, view, (0, 0, self.size[1], self.size[0]))
        if recolored:
            random_color(rng, image, out)
        return Sample(out, np.zeros((0, 4)), self._labels[index : index + 1])
