"""What a training step sees: batches of samples, as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vocdet.inputs.images import Image
from vocdet.inputs.samples import Sample, Samples, join_masks, pad_crowds, pad_objects
from vocdet.inputs.transforms import FILL
from vocdet.mask_crops import MaskCrops


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Several samples in one tensor."""

    images: Tensor  # (B, 3, H, W) uint8 RGB, channels last in memory
    boxes: Tensor  # (B, M, 4) float32, pixels; padded
    labels: Tensor  # (B, M) int64; padded with -1
    rows: tuple[int, ...] = ()  # the samples it is composed of, each once, if known: see `Samples.name`
    masks: MaskCrops | None = None  # of all images one after another, in the order of `labels >= 0`; None: no masks
    sizes: Tensor | None = None  # (B, 2) int64 height and width of each image, top left; None: all fill their canvas
    crowds: Tensor | None = None  # (B, K, 4) float32, pixels; padded with empty boxes; None: there are none

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> Batch:
        """The images from `start` up to `stop` with their objects, as views; `rows` are still those of the whole."""
        masks = self.masks
        if masks is not None:
            before = [int((self.labels[:end] >= 0).sum()) for end in (start, stop)]
            masks = masks.part(*before)
        sizes = None if self.sizes is None else self.sizes[start:stop]
        crowds = None if self.crowds is None else self.crowds[start:stop]
        return Batch(
            self.images[start:stop], self.boxes[start:stop], self.labels[start:stop], self.rows, masks, sizes, crowds
        )

    def resized(self, size: tuple[int, int]) -> Batch:
        """The batch with images of this (height, width); without masks, and all images fill their canvas."""
        height, width = self.images.shape[-2:]
        if (height, width) == size:
            return self
        scale = torch.tensor([size[1] / width, size[0] / height] * 2)
        images = functional.interpolate(self.images, size, mode="bilinear", antialias=True)
        crowds = None if self.crowds is None else self.crowds * scale
        return replace(self, images=images, boxes=self.boxes * scale, crowds=crowds)


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """The samples of one batch: those of `rows`, the first at `position` in the order of an epoch.

    What is random about a sample depends on seed, epoch and its position alone, not on who draws it or when.
    """

    seed: int
    epoch: int
    position: int
    rows: tuple[int, ...]

    def generators(self) -> list[np.random.Generator]:
        """One for each sample."""
        positions = range(self.position, self.position + len(self.rows))
        return [np.random.default_rng((self.seed, self.epoch, position)) for position in positions]


@dataclass(frozen=True, slots=True, eq=False)
class EpochPlan:
    """One pass over samples, in batches of `batch` and a smaller last one."""

    batch: int
    _: KW_ONLY
    seed: int
    epoch: int
    shuffle: bool = False
    order: NDArray[np.int64] | None = None  # of the samples, see `sampling.epoch_order`; None: each once
    skip: int = 0  # batches at the start of the epoch that are left out, without drawing them
    rank: int = 0  # of this process, which makes its share of every batch,
    world: int = 1  # among this many

    def requests(self, samples: Samples) -> Iterator[BatchRequest]:
        """The batches of this process. Its share of the last one may be empty; every sample is in one share."""
        order = np.arange(len(samples)) if self.order is None else self.order
        if self.shuffle and self.order is None:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        for first in range(self.skip * self.batch, len(order), self.batch):
            shares = np.array_split(order[first : first + self.batch], self.world)
            before = sum(len(share) for share in shares[: self.rank])
            yield BatchRequest(self.seed, self.epoch, first + before, tuple(shares[self.rank].tolist()))


def batches(samples: Samples, plan: EpochPlan) -> Iterator[Batch]:
    """The batches of an epoch, one after another in this thread; see `Loader` for several."""
    for request in plan.requests(samples):
        yield make_batch(samples, request)


def make_batch(samples: Samples, request: BatchRequest) -> Batch:
    """The samples of a request, drawn straight into the images of one batch; without rows the batch is empty."""
    generators = request.generators()
    if samples.resizing is None:
        sizes = None
        images = np.empty((len(generators), *samples.size, 3), np.uint8)
        canvases = list(images)
    else:
        drawn_sizes = [samples.size_of(row, rng) for row, rng in zip(request.rows, generators, strict=True)]
        sizes = np.array(drawn_sizes, np.int64).reshape(-1, 2)
        images = np.empty((len(generators), *samples.resizing.canvas(sizes), 3), np.uint8)
        canvases = [_top_left(image, *size) for image, size in zip(images, drawn_sizes, strict=True)]
    drawn = [samples.draw(*one) for one in zip(request.rows, generators, canvases, strict=True)]
    rows = dict.fromkeys(i for row, s in zip(request.rows, drawn, strict=True) for i in s.rows or (row,))
    return collate(images, drawn, tuple(rows), sizes)


def collate(
    images: NDArray[np.uint8], samples: Sequence[Sample], rows: tuple[int, ...], sizes: NDArray[np.int64] | None = None
) -> Batch:
    """A batch of images (B, H, W, 3), without copying pixels; boxes are padded to the largest number of objects."""
    boxes, labels = map(torch.from_numpy, pad_objects(samples))
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    extent, crowds = (None if of is None else torch.from_numpy(of) for of in (sizes, pad_crowds(samples)))
    return Batch(tensor, boxes, labels, rows, join_masks(samples), extent, crowds)


def _top_left(image: Image, height: int, width: int) -> Image:
    """The part of a padded image that a sample of this size is drawn into; the rest is filled."""
    image[height:] = FILL
    image[:height, width:] = FILL
    return image[:height, :width]
