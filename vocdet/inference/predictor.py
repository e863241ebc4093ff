"""A trained detector applied to images, whatever its model family."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.data.tiles import Tiles
from vocdet.errors import CheckpointError, DeviceError
from vocdet.inference.frames import batches
from vocdet.inference.tiling import merged
from vocdet.inputs.images import Image
from vocdet.models.build import FAMILIES
from vocdet.models.checkpoint import SUFFIX, load_checkpoint
from vocdet.models.folding import fused

BEST = f"best{SUFFIX}"
TILES = 8  # per forward pass
THRESHOLD = 0.5  # of every label, where a checkpoint has no thresholds


class Predictor(Protocol):
    """Detects objects in images of any size. Images are RGB (H, W, 3) uint8, with the EXIF orientation applied."""

    levels: Levels | None  # of images with more than 8 bits a sample; None: each image gets its own

    @property
    def labels(self) -> tuple[str, ...]:
        """The names that `Detections.labels` indexes."""

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """(L,) the score from which a detection of each label counts: for `Detections.above`."""

    def detect(self, images: Sequence[Image], *, score: float = ...) -> list[Detections]:
        """The detections above `score` in each image, best first, in pixels of that image."""


def load_predictor(checkpoint: Path, *, device: str = "auto") -> Predictor:
    """The predictor of a checkpoint file, or of the best checkpoint in a run folder.

    `device` is `auto` (CUDA where available, else the CPU) or a name that torch knows. Batch norms are folded into the
    convolutions. It works on tiles if the model was trained on tiles. A classifier, and a file that is not a
    checkpoint, is a `CheckpointError`.
    """
    path = checkpoint / BEST if checkpoint.is_dir() else checkpoint
    model, info = load_checkpoint(path)
    if not FAMILIES[info.task].predictor:
        hint = "train a detector from it with `vocdet.train_detector(dataset)`"
        raise CheckpointError("is a classifier, not a detector", place=path, hint=hint)
    model = fused(model).to(choose_device(device)).to(memory_format=torch.channels_last)
    predictor = predictor_of(model, info.thresholds)
    predictor.levels = info.levels
    return TiledPredictor(predictor, info.tiles) if info.tiles else predictor


def predictor_of(model: nn.Module, thresholds: Sequence[float] | None = None) -> Predictor:
    """The predictor of a model in memory, on the model's device; `ValueError` if it is not a detector."""
    for family in FAMILIES.values():
        if family.predictor and isinstance(model, family.model):
            predictor: Predictor = pkgutil.resolve_name(family.predictor)(model, thresholds)
            return predictor
    raise ValueError(f"{type(model).__name__} is not a detector")


def detect_all(predictor: Predictor, images: Iterable[Image], *, batch: int = 16) -> Iterator[Detections]:
    """The detections of each image of a stream, in order; `batch` images are in memory at a time."""
    for group in batches(images, batch):
        yield from predictor.detect(group)


def thresholds_of(labels: Sequence[str], known: Sequence[float] | None) -> NDArray[np.float32]:
    """(L,) the thresholds of a checkpoint, or the default for every label."""
    return np.array([THRESHOLD] * len(labels) if known is None else known, np.float32)


def choose_device(name: str) -> str:
    """`auto` is the first CUDA device if there is one, else the CPU; an unavailable device is a `DeviceError`."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        hint = 'use `device="auto"` or `device="cpu"`'
        raise DeviceError(f"device {name!r} is not available", hint=hint) from error
    return name


class TiledPredictor:
    """Detects objects in tiles of images of any size; see `vocdet.inference.predictor.Predictor`.

    `tiles.whole` adds a pass over the whole image, for objects that are larger than a tile.
    """

    def __init__(self, inner: Predictor, tiles: Tiles) -> None:
        self.inner, self.tiles = inner, tiles

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the detector."""
        return self.inner.labels

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """Those of the detector."""
        return self.inner.thresholds

    @property
    def levels(self) -> Levels | None:
        """Those of the detector."""
        return self.inner.levels

    @levels.setter
    def levels(self, levels: Levels | None) -> None:
        self.inner.levels = levels

    def detect(self, images: Sequence[Image], *, score: float | None = None) -> list[Detections]:
        """The detections above `score` in each image, best first, in pixels of that image."""
        options = {} if score is None else {"score": score}
        results = []
        for image in images:
            height, width = image.shape[:2]
            windows = self.tiles.views(width, height)
            views = [np.ascontiguousarray(image[y0:y1, x0:x1]) for x0, y0, x1, y1 in windows.tolist()]
            found: list[Detections] = []
            for first in range(0, len(views), TILES):
                found += self.inner.detect(views[first : first + TILES], **options)
            results.append(merged(found, windows, (width, height)))
        return results


def with_tiles(predictor: Predictor, tile: int | None, overlap: float = 0.2, *, whole: bool = True) -> Predictor:
    """The predictor on tiles of `tile` pixels; 0: on whole images; None: as the detector was trained."""
    if tile is None:
        return predictor
    inner = predictor.inner if isinstance(predictor, TiledPredictor) else predictor
    return TiledPredictor(inner, Tiles(tile, overlap, whole)) if tile else inner
