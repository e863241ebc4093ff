"""Samples for a classifier: every object of a dataset, cut out of its image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import area
from vocdet.data.dataset import Dataset
from vocdet.inputs.cuts import cut_turned, square, square_view
from vocdet.inputs.fit import Fit
from vocdet.inputs.image_cache import ImageStore, Keep
from vocdet.inputs.images import Image
from vocdet.inputs.stacks import Sample
from vocdet.inputs.transforms import random_color, show


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
        color: float = 0.8,
        keep: Keep | None = None,
    ) -> None:
        self.size = (size, size)
        self.fit: Fit | None = None
        self._context = context
        self._augmented = augmented
        self._flip, self._turns, self._colour = augmented and flip, augmented and turns, color if augmented else 0.0
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

    def size_of(self, _index: int, _rng: np.random.Generator, /) -> tuple[int, int]:
        """Height and width, the same for all."""
        return self.size

    def draw(self, index: int, rng: np.random.Generator, canvas: Image | None = None) -> Sample:
        """Object `index`: its box as a square grown by the context, a little moved and scaled when augmented.

        With `turns` it lies at any angle: unlike a scene's boxes, a crop has none that turning would make too large.
        """
        row = int(self._images[index])
        cx, cy, side = square(self._boxes[index], self._context)
        mirrored = False
        if self._augmented:
            cx, cy = np.array([cx, cy]) + rng.uniform(-0.1, 0.1, 2) * side
            side *= np.exp(rng.uniform(-0.25, 0.25))
            mirrored = self._flip and bool(rng.random() < 0.5)
        width, height = self._sides[row].tolist()
        coloured = self._augmented and bool(rng.random() < self._colour)
        out = np.empty((*self.size, 3), np.uint8) if canvas is None else canvas
        image = np.empty_like(out) if coloured else out
        stored = self.store[row]
        if self._turns:
            sx, sy = stored.shape[1] / width, stored.shape[0] / height
            angle = float(rng.uniform(0, 2 * np.pi))
            cut_turned(image, stored, (cx * sx, cy * sy), side * np.sqrt(sx * sy), angle=angle, mirrored=mirrored)
        else:
            view = square_view((cx, cy), side, width, height, mirrored=mirrored)
            show(image, stored, view, (0, 0, self.size[1], self.size[0]))
        if coloured:
            random_color(rng, image, out)
        return Sample(out, np.zeros((0, 4)), self._labels[index : index + 1])
