"""What a training step sees: augmented scenes for a detector, crops of objects for a classifier."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.boxes import Boxes, area
from vocdet.data.dataset import Dataset
from vocdet.inputs.cuts import square, square_view
from vocdet.inputs.images import Image, ImageStore
from vocdet.inputs.transforms import (
    FILL,
    Augmentation,
    View,
    mosaic_cells,
    random_colour,
    random_turn,
    random_view,
    see,
    show,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image at the network's size with its boxes; a crop has no boxes and one label."""

    image: Image  # (H, W, 3) RGB
    boxes: Boxes  # (N, 4) pixels of `image`
    labels: NDArray[np.int64]  # (N,)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples side by side."""

    images: Tensor  # (B, 3, H, W) uint8 RGB, channels last in memory
    boxes: Tensor  # (B, M, 4) float32, pixels; padded
    labels: Tensor  # (B, M) int64; padded with -1

    def __len__(self) -> int:
        return len(self.images)


class Samples(Protocol):
    """Something to draw samples from."""

    def __len__(self) -> int: ...

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """Sample `index`, with whatever is random about it taken from `rng`."""
        ...


class Scenes:
    """A dataset's images at the detector's size, augmented or as they are."""

    def __init__(self, dataset: Dataset, size: tuple[int, int], augmentation: Augmentation | None) -> None:
        self._size = size
        self._augmentation = augmentation
        self._store = ImageStore(dataset, at_most=(2 * size[0], 2 * size[1]))
        self._objects = [scene.objects for scene in dataset]
        sides = np.column_stack([dataset.images.widths, dataset.images.heights] * 2)
        self._boxes = [o.box / sides[i] for i, o in enumerate(self._objects)]  # shares of the image

    def __len__(self) -> int:
        return len(self._boxes)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """Image `index` (or a mosaic that begins with it); crowds are no objects to learn."""
        augmentation = self._augmentation
        height, width = self._size
        if augmentation is None:
            return self._compose([(index, View(), (0, 0, width, height))])
        cells, rows = [(0, 0, width, height)], [index]
        if rng.random() < augmentation.mosaic:
            cells = mosaic_cells(rng, self._size)
            rows = [index, *rng.integers(0, len(self), 3).tolist()]
        parts = [
            (row, random_view(rng, self._boxes[row], augmentation), cell) for row, cell in zip(rows, cells, strict=True)
        ]
        sample = self._compose(parts)
        if augmentation.turns:
            sample = Sample(*random_turn(rng, sample.image, sample.boxes), sample.labels)
        if rng.random() < augmentation.colour:
            return Sample(random_colour(rng, sample.image), sample.boxes, sample.labels)
        return sample

    def _compose(self, parts: Sequence[tuple[int, View, tuple[int, int, int, int]]]) -> Sample:
        canvas = np.full((*self._size, 3), FILL, np.uint8)
        boxes, labels = [], []
        for row, view, into in parts:
            show(canvas, self._store[row], view, into)
            seen, keep = see(self._boxes[row], view, into)
            learned = ~self._objects[row].crowd[keep]
            boxes.append(seen[learned])
            labels.append(self._objects[row].label[keep][learned])
        return Sample(canvas, np.concatenate(boxes), np.concatenate(labels).astype(np.int64))


class Crops:
    """Every object of a dataset, cut out with some of what is around it, as a square."""

    def __init__(
        self, dataset: Dataset, size: int, *, context: float, augmented: bool, flip: bool = True, turns: bool = False
    ) -> None:
        self._size = size
        self._context = context
        self._augmented = augmented
        self._flip, self._turns = augmented and flip, augmented and turns
        self._dataset = dataset
        self._rows = np.flatnonzero(~dataset.objects.crowd)
        smallest = np.sqrt(np.maximum(area(dataset.objects.box[self._rows]), 1.0))
        # kept at the scale at which a typical small object still fills the crop
        scale = min(1.0, 1.5 * size / float(np.percentile(smallest, 10))) if len(smallest) else 1.0
        largest = (int(dataset.images.heights.max(initial=1)), int(dataset.images.widths.max(initial=1)))
        at_most = (max(size, int(largest[0] * scale)), max(size, int(largest[1] * scale)))
        self._store = ImageStore(dataset, at_most=at_most)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) the label of every crop."""
        return self._dataset.objects.label[self._rows].astype(np.int64)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """Object `index`: its box as a square grown by the context, a little moved and scaled when augmented."""
        objects, images = self._dataset.objects, self._dataset.images
        object_ = self._rows[index]
        row = int(objects.image[object_])
        cx, cy, side = square(objects.box[object_], self._context)
        mirrored = False
        if self._augmented:
            cx, cy = np.array([cx, cy]) + rng.uniform(-0.1, 0.1, 2) * side
            side *= np.exp(rng.uniform(-0.25, 0.25))
            mirrored = self._flip and bool(rng.random() < 0.5)
        width, height = float(images.widths[row]), float(images.heights[row])
        view = square_view((cx, cy), side, width, height, mirrored=mirrored)
        canvas = np.full((self._size, self._size, 3), FILL, np.uint8)
        show(canvas, self._store[row], view, (0, 0, self._size, self._size))
        if self._turns:
            canvas, _ = random_turn(rng, canvas, np.zeros((0, 4)))
        if self._augmented and rng.random() < 0.8:
            canvas = random_colour(rng, canvas)
        return Sample(canvas, np.zeros((0, 4)), objects.label[object_ : object_ + 1].astype(np.int64))


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch: images stacked as they are, boxes padded to the most that one image has."""
    images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
    most = max(len(s.labels) for s in samples)
    boxes = np.zeros((len(samples), most, 4), np.float32)
    labels = np.full((len(samples), most), -1, np.int64)
    for i, sample in enumerate(samples):
        boxes[i, : len(sample.boxes)] = sample.boxes
        labels[i, : len(sample.labels)] = sample.labels
    return Batch(images, torch.from_numpy(boxes), torch.from_numpy(labels))


def batches(samples: Samples, batch: int, *, seed: int, epoch: int, shuffle: bool) -> Iterator[Batch]:
    """One pass over all samples, in batches of `batch` and a smaller last one.

    What is random about a sample depends on seed, epoch and its index alone, not on who draws it when.
    """
    order = np.arange(len(samples))
    if shuffle:
        np.random.default_rng((seed, epoch)).shuffle(order)
    for first in range(0, len(order), batch):
        rows = order[first : first + batch].tolist()
        yield collate([samples.draw(i, np.random.default_rng((seed, epoch, i))) for i in rows])


def ahead(make: Callable[[], Iterable[T]], depth: int = 4) -> Iterator[T]:
    """What `make()` yields, made by a thread of its own up to `depth` items ahead.

    A thread is enough: decoding and resampling hold no interpreter lock. An error in it is raised here.
    """
    line: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | None, error: BaseException | None) -> bool:
        while not stop.is_set() and threading.main_thread().is_alive():
            try:
                line.put((item, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in make():
                if not put(item, None):
                    return
            put(None, None)
        except BaseException as error:  # handed on to the reader, which raises it
            put(None, error)

    # no daemon: one that is still in C++ when Python ends aborts the process
    worker = threading.Thread(target=work)
    try:
        worker.start()
        while True:
            item, error = line.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
