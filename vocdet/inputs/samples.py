"""What a training step sees: batches of samples, as tensors."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.inputs.fit import Fit
from vocdet.inputs.object_crops import Crops
from vocdet.inputs.scenes import Scenes
from vocdet.inputs.stacks import Request, Sample, Samples, Stack, joined_masks, padded, stack
from vocdet.mask_crops import MaskCrops

__all__ = [
    "Batch", "Crops", "Fit", "Sample", "Samples", "Scenes", "ahead", "as_batch", "batches", "collate", "requests",
]  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples side by side."""

    images: Tensor  # (B, 3, H, W) uint8 RGB, channels last in memory
    boxes: Tensor  # (B, M, 4) float32, pixels; padded
    labels: Tensor  # (B, M) int64; padded with -1
    rows: tuple[int, ...] = ()  # the samples that are in it, each once, where they are known: see `Samples.name`
    masks: MaskCrops | None = None  # those of all images one after another, as `labels >= 0` has them; None: not asked
    sizes: Tensor | None = None  # (B, 2) int64 height and width of every image, top left; None: it fills its canvas

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> Batch:
        """The images from `start` up to `stop`, with what belongs to them, as views; `rows` stay those of the whole."""
        masks = self.masks
        if masks is not None:
            before = [int((self.labels[:end] >= 0).sum()) for end in (start, stop)]
            masks = masks.part(*before)
        sizes = None if self.sizes is None else self.sizes[start:stop]
        return Batch(self.images[start:stop], self.boxes[start:stop], self.labels[start:stop], self.rows, masks, sizes)


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch: images stacked as they are, boxes padded to the most that one image has."""
    rows = dict.fromkeys(row for sample in samples for row in sample.rows)
    images = np.stack([s.image for s in samples])
    return as_batch(Stack(images, *padded(samples), tuple(rows), joined_masks(samples)))


def as_batch(stacked: Stack) -> Batch:
    """The same samples as tensors, without a copy."""
    images = torch.from_numpy(stacked.images).permute(0, 3, 1, 2)
    sizes = None if stacked.sizes is None else torch.from_numpy(stacked.sizes)
    boxes, labels = torch.from_numpy(stacked.boxes), torch.from_numpy(stacked.labels)
    return Batch(images, boxes, labels, stacked.rows, stacked.masks, sizes)


def requests(
    order: NDArray[np.int64], batch: int, *, seed: int, epoch: int, skip: int = 0, rank: int = 0, world: int = 1
) -> Iterator[Request]:
    """What the batches of an epoch are made of, from batch `skip` on: for one of `world` processes its part of each.

    A part of the last batch may be empty. Every sample of the order is in one part of one batch.
    """
    for first in range(skip * batch, len(order), batch):
        whole = order[first : first + batch]
        before = sum(len(part) for part in np.array_split(whole, world)[:rank])
        part = np.array_split(whole, world)[rank]
        yield Request(seed, epoch, first + before, tuple(part.tolist()))


def batches(
    samples: Samples,
    batch: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = False,
    order: NDArray[np.int64] | None = None,
    skip: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """One pass over samples, in batches of `batch` and a smaller last one.

    The samples come in this `order` (see `sampling.epoch_order`); without one they come each once, shuffled or as
    they are. The first `skip` batches are left out, without drawing them. Of `world` processes each makes its part of
    every batch: with `skip` batches learned, all go on with the same ones.
    """
    chosen = usual_order(samples, seed=seed, epoch=epoch, shuffle=shuffle) if order is None else order
    for request in requests(chosen, batch, seed=seed, epoch=epoch, skip=skip, rank=rank, world=world):
        yield as_batch(stack(samples, request))


def usual_order(samples: Samples, *, seed: int, epoch: int, shuffle: bool) -> NDArray[np.int64]:
    """Every sample once: shuffled, or in the order of its rows."""
    order = np.arange(len(samples))
    if shuffle:
        np.random.default_rng((seed, epoch)).shuffle(order)
    return order


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
