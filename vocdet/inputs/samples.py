"""What a model trains on: one image with its objects, drawn from a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.inputs.images import Image
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.mask_crops import MaskCrops


def no_boxes() -> Boxes:
    """No box: (0, 4)."""
    return np.zeros((0, 4))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image at the network's size with its objects; a crop has one label and no boxes."""

    image: Image  # (H, W, 3) RGB
    boxes: Boxes  # (N, 4) pixels of `image`
    labels: NDArray[np.int64]  # (N,)
    rows: tuple[int, ...] = ()  # the samples it is composed of, itself first; may be empty if it is the only one
    masks: MaskCrops | None = None  # one per box; None: not requested
    crowds: Boxes = field(default_factory=no_boxes)  # (K, 4) regions that are neither objects nor background


class Samples(Protocol):
    """A source of samples."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every sample, or of the largest if sizes differ."""
        ...

    @property
    def resizing(self) -> ResizeShortestEdge | None:
        """The rule that gives every sample its own size; None: all have `size`."""
        ...

    def __len__(self) -> int: ...

    def size_of(self, index: int, rng: np.random.Generator, /) -> tuple[int, int]:
        """Height and width of sample `index`. A random size takes the first numbers of the sample's `rng`."""
        ...

    def draw(self, index: int, rng: np.random.Generator, canvas: Image | None = None) -> Sample:
        """Sample `index`; everything random comes from `rng`.

        The image is written to `canvas`, whose size is that which `size_of` drew from `rng`, or to a new array.
        """
        ...

    def name(self, index: int) -> str:
        """The path of the file that sample `index` shows first."""
        ...


def pad_objects(samples: Sequence[Sample]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (B, M, 4) and labels (B, M) of samples, padded to the largest number of objects in one of them."""
    most = max((len(s.labels) for s in samples), default=0)
    boxes = np.zeros((len(samples), most, 4), np.float32)
    labels = np.full((len(samples), most), -1, np.int64)
    for i, sample in enumerate(samples):
        boxes[i, : len(sample.boxes)] = sample.boxes
        labels[i, : len(sample.labels)] = sample.labels
    return boxes, labels


def pad_crowds(samples: Sequence[Sample]) -> NDArray[np.float32] | None:
    """Crowds (B, K, 4) of samples, padded with empty boxes; None if there are none."""
    most = max((len(s.crowds) for s in samples), default=0)
    if not most:
        return None
    crowds = np.zeros((len(samples), most, 4), np.float32)
    for i, sample in enumerate(samples):
        crowds[i, : len(sample.crowds)] = sample.crowds
    return crowds


def join_masks(samples: Sequence[Sample]) -> MaskCrops | None:
    """The masks of all samples, one after another; None if a sample has none or there is no sample."""
    masks = [sample.masks for sample in samples if sample.masks is not None]
    return MaskCrops.joined(masks) if masks and len(masks) == len(samples) else None
