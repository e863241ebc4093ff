"""A trained detector applied to images, whatever its model family."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from vocdet.data.detections import Detections
from vocdet.errors import CheckpointError, DeviceError
from vocdet.inference.frames import batches
from vocdet.inference.tiled import TiledPredictor
from vocdet.inputs.images import Image
from vocdet.models.build import FAMILIES
from vocdet.models.checkpoint import load_checkpoint
from vocdet.models.folding import fused
from vocdet.outputs import checkpoint_of
from vocdet.runtimes.predictor import Predictor


def load_predictor(checkpoint: Path, *, device: str = "auto") -> Predictor:
    """The predictor of a checkpoint file, or of the best checkpoint in a run folder.

    `device` is `auto` (CUDA where available, else the CPU) or a name that torch knows. Batch norms are folded into the
    convolutions. It works on tiles if the model was trained on tiles. A classifier, and a file that is not a
    checkpoint, is a `CheckpointError`.
    """
    path = checkpoint_of(checkpoint)
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
