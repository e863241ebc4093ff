"""A detector at work: images in, detections out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.data.detections import Detections
from vocdet.errors import CheckpointError, VocdetError
from vocdet.inference.frames import batches
from vocdet.inference.mask_predictor import MaskPredictor
from vocdet.inference.thresholds import thresholds_of
from vocdet.inputs.bridge import detections_of
from vocdet.inputs.images import Image, resize
from vocdet.models.checkpoint import SUFFIX, load_checkpoint
from vocdet.models.folding import fused
from vocdet.models.rcnn.model import MaskRcnn
from vocdet.models.ssd.detect import SCORE, detect
from vocdet.models.ssd.model import SsdLite

BEST = f"best{SUFFIX}"


class Detector(Protocol):
    """A trained detector, whichever it is: finds objects in images of any size."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """(L,) the score from which a detection of each label counts."""

    def detect(self, images: Sequence[Image], *, score: float = ...) -> list[Detections]:
        """What is in RGB images (H, W, 3) uint8: all above `score`, best first, in their own pixels."""

    def detect_all(self, images: Iterable[Image], *, batch: int = ..., score: float = ...) -> Iterator[Detections]:
        """Detections for a stream of images, in order."""


class Predictor:
    """Finds objects in images of any size."""

    def __init__(self, model: SsdLite, thresholds: Sequence[float] | None = None) -> None:
        self._model = model.eval()
        self._device = model.grid.device
        self.labels = model.spec.labels
        self.size = model.spec.size
        self.thresholds: NDArray[np.float32] = thresholds_of(self.labels, thresholds)  # (L,)

    def detect(self, images: Sequence[Image], *, score: float = SCORE) -> list[Detections]:
        """What is in RGB images (H, W, 3) uint8: every detection above `score`, best first, in their own pixels."""
        if not images:
            return []
        batch = torch.from_numpy(np.stack([resize(image, self.size) for image in images]))
        sides = [(image.shape[1], image.shape[0]) for image in images]
        return self.detect_resized(batch.permute(0, 3, 1, 2), sides, score=score)

    @torch.inference_mode()
    def detect_resized(
        self, batch: Tensor, sides: Sequence[tuple[int, int]], *, score: float = SCORE
    ) -> list[Detections]:
        """The same for a batch (B, 3, H, W) already at the input size; `sides` are the images' (width, height)."""
        offsets, logits = self._model(batch.to(self._device))
        return self.detections(offsets, logits, sides, score=score)

    def detections(
        self, offsets: Tensor, logits: Tensor, sides: Sequence[tuple[int, int]], *, score: float = SCORE
    ) -> list[Detections]:
        """The same from what the model gave for such a batch."""
        found = detect(offsets, logits, self._model.grid, self.size, score=score)
        height, width = self.size
        return [
            detections_of(f.boxes, f.scores, f.classes, scale=(w / width, h / height))
            for f, (w, h) in zip(found, sides, strict=True)
        ]

    def detect_all(self, images: Iterable[Image], *, batch: int = 16, score: float = SCORE) -> Iterator[Detections]:
        """Detections for a stream of images, in order."""
        for some in batches(images, batch):
            yield from self.detect(some, score=score)


def load_predictor(run: Path, *, device: str = "auto") -> Detector:
    """The best checkpoint of a run folder, or a checkpoint file, ready to detect; batch norms are folded."""
    path = run / BEST if run.is_dir() else run
    model, about = load_checkpoint(path)
    if not isinstance(model, SsdLite | MaskRcnn):
        raise CheckpointError("is a classifier, not a detector", place=path, hint="run vocdet train-ssd")
    model = fused(model).to(choose_device(device)).to(memory_format=torch.channels_last)
    if isinstance(model, MaskRcnn):
        return MaskPredictor(model, about.thresholds)
    return Predictor(model, about.thresholds)


def choose_device(name: str) -> str:
    """`auto` is the first CUDA device where there is one, else the CPU; a device that is not there is an error."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise VocdetError(f"there is no device {name!r}", hint="use --device auto or cpu") from error
    return name
