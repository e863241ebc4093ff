"""Samples, and samples side by side, as arrays: what a process makes of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.inputs.fit import Fit
from vocdet.inputs.images import Image
from vocdet.inputs.transforms import FILL
from vocdet.mask_crops import MaskCrops


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image at the network's size with its boxes; a crop has no boxes and one label."""

    image: Image  # (H, W, 3) RGB
    boxes: Boxes  # (N, 4) pixels of `image`
    labels: NDArray[np.int64]  # (N,)
    rows: tuple[int, ...] = ()  # the samples that are in it, itself first; one that is alone need not say so
    masks: MaskCrops | None = None  # one for every box; None: they were not asked for


class Samples(Protocol):
    """Something to draw samples from."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every sample; of the largest, where each has its own."""
        ...

    @property
    def fit(self) -> Fit | None:
        """How large each sample is; None: all have `size`."""
        ...

    def __len__(self) -> int: ...

    def size_of(self, index: int, rng: np.random.Generator, /) -> tuple[int, int]:
        """Height and width of sample `index`; what is random about them is the first that is drawn from its `rng`."""
        ...

    def draw(self, index: int, rng: np.random.Generator, canvas: Image | None = None) -> Sample:
        """Sample `index`, with whatever is random about it taken from `rng`.

        Its image is `canvas`, which has the size that `size_of` has drawn from `rng`, or a new array.
        """
        ...

    def name(self, index: int) -> str:
        """The path of the file that sample `index` is of, or begins with."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Samples side by side, as arrays."""

    images: NDArray[np.uint8]  # (B, H, W, 3) RGB
    boxes: NDArray[np.float32]  # (B, M, 4) pixels; padded
    labels: NDArray[np.int64]  # (B, M); padded with -1
    rows: tuple[int, ...]  # the samples that are in it, each once
    masks: MaskCrops | None = None  # those of all images one after another, as `labels >= 0` has them
    sizes: NDArray[np.int64] | None = None  # (B, 2) height and width of every image, top left; None: all of it


@dataclass(frozen=True, slots=True)
class Request:
    """Which samples make a batch: those of `rows`, the first at `position` in the order of an epoch.

    What is random about a sample depends on seed, epoch and its position alone, not on who draws it when.
    """

    seed: int
    epoch: int
    position: int
    rows: tuple[int, ...]

    def generators(self) -> list[np.random.Generator]:
        """One for each sample."""
        places = range(self.position, self.position + len(self.rows))
        return [np.random.default_rng((self.seed, self.epoch, place)) for place in places]


def stack(samples: Samples, request: Request) -> Stack:
    """The samples of a request, drawn straight into the images of one batch; none make an empty batch."""
    random = request.generators()
    if samples.fit is None:
        sizes = None
        images = np.empty((len(random), *samples.size, 3), np.uint8)
        canvases = list(images)
    else:
        sizes = _sizes(samples, request, random)
        images = np.empty((len(random), *samples.fit.canvas(sizes), 3), np.uint8)
        canvases = [_top_left(image, size) for image, size in zip(images, sizes.tolist(), strict=True)]
    drawn = [samples.draw(*one) for one in zip(request.rows, random, canvases, strict=True)]
    rows = dict.fromkeys(i for row, s in zip(request.rows, drawn, strict=True) for i in s.rows or (row,))
    return Stack(images, *padded(drawn), tuple(rows), joined_masks(drawn), sizes)


def batch_shape(samples: Samples, request: Request) -> tuple[int, int, int, int]:
    """The shape of the images of `stack`: (B, H, W, 3)."""
    if samples.fit is None:
        return len(request.rows), *samples.size, 3
    return len(request.rows), *samples.fit.canvas(_sizes(samples, request, request.generators())), 3


def padded(samples: Sequence[Sample]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (B, M, 4) and labels (B, M) of samples, padded to the most that one of them has."""
    most = max((len(s.labels) for s in samples), default=0)
    boxes = np.zeros((len(samples), most, 4), np.float32)
    labels = np.full((len(samples), most), -1, np.int64)
    for i, sample in enumerate(samples):
        boxes[i, : len(sample.boxes)] = sample.boxes
        labels[i, : len(sample.labels)] = sample.labels
    return boxes, labels


def joined_masks(samples: Sequence[Sample]) -> MaskCrops | None:
    """The masks of all samples, one after another; None where one of them has none, as where there is no sample."""
    masks = [sample.masks for sample in samples if sample.masks is not None]
    return MaskCrops.joined(masks) if masks and len(masks) == len(samples) else None


def _sizes(samples: Samples, request: Request, random: Sequence[np.random.Generator]) -> NDArray[np.int64]:
    sizes = [samples.size_of(row, rng) for row, rng in zip(request.rows, random, strict=True)]
    return np.array(sizes, np.int64).reshape(-1, 2)


def _top_left(image: Image, size: tuple[int, int]) -> Image:
    """The part of a padded image that a sample of this size is drawn into; the rest is filled."""
    height, width = size
    image[height:] = FILL
    image[:height, width:] = FILL
    return image[:height, :width]
