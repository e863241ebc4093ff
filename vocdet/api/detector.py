"""A trained detector for pictures of any kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from vocdet.api.detections import Detections
from vocdet.api.pictures import Channels, Picture, as_image
from vocdet.api.run import Run
from vocdet.data.levels import Levels
from vocdet.errors import ArgumentError, VocdetError, raise_all
from vocdet.inference.frames import quiet
from vocdet.inputs.images import Image
from vocdet.runtimes.predictor import Predictor
from vocdet.wording import listed
from vocdet.workflows.detector import Backend, choose_export, open_chosen

BATCH = 8  # pictures per forward pass


class Detector:
    """A trained detector: call it with a picture, or a list of pictures.

    >>> detector("photo.jpg")
    <... in photo.jpg, 96x72 pixels...>
    >>> [len(detections) for detections in detector(["photo.jpg", "photo.jpg"])]
    [..., ...]
    """

    def __init__(self, model: Predictor, source: Path) -> None:
        """A detector of a loaded model; `load` is the usual way to get one. `source` is its checkpoint."""
        self.model = model
        self.source = source

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels of the detector; label k of a detection is `labels[k]`."""
        return self.model.labels

    @property
    def thresholds(self) -> dict[str, float]:
        """The score threshold of each label, from the validation."""
        return dict(zip(self.labels, self.model.thresholds.tolist(), strict=True))

    @overload
    def __call__(
        self, picture: Picture, *, score: float | None = None, channels: Channels = "rgb", batch: int = BATCH
    ) -> Detections: ...
    @overload
    def __call__(
        self,
        picture: list[Any] | tuple[Picture, ...],
        *,
        score: float | None = None,
        channels: Channels = "rgb",
        batch: int = BATCH,
    ) -> list[Detections]: ...
    def __call__(
        self,
        picture: Picture | list[Any] | tuple[Picture, ...],
        *,
        score: float | None = None,
        channels: Channels = "rgb",
        batch: int = BATCH,
    ) -> Detections | list[Detections]:
        """Detect the objects in a picture; a list or tuple of pictures gives a list.

        A picture is a path, a PIL image, an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a tensor of the same
        with the channels first. The EXIF orientation of files and PIL images is applied. Arrays and tensors hold RGB
        as uint8 or floats from 0 to 1; `channels="bgr"` takes the frames of OpenCV. Arrays of uint16 are scaled as the
        images of the training were, if those had more than 8 bits, too. Detections with less than `score`
        are left out; without it, those with less than the threshold of their label. `batch` pictures go through the
        network together.

        `ArgumentError` for a picture that is none of these, `ImageError` for a file that cannot be decoded; those of
        one batch are raised together.
        """
        if isinstance(picture, list | tuple):
            return list(self.stream(picture, score=score, channels=channels, batch=batch))
        return next(self.stream([picture], score=score, channels=channels, batch=1))

    def stream(
        self, pictures: Iterable[Picture], *, score: float | None = None, channels: Channels = "rgb", batch: int = BATCH
    ) -> Iterator[Detections]:
        """Detect in one picture after another, in order: for more pictures than fit in memory."""
        limit = self._limit(score)
        if batch < 1:
            raise ArgumentError(f"batch is {batch}", hint="give 1 or more: `batch=1`")
        return self._stream(iter(pictures), limit, channels, batch)

    def _stream(
        self, rest: Iterator[Picture], limit: float | NDArray[np.float32], channels: Channels, batch: int
    ) -> Iterator[Detections]:
        first = 0
        while pictures := list(islice(rest, batch)):
            images = _as_images(pictures, channels, self.model.levels, first)
            first += len(pictures)
            for picture, image, columns in zip(pictures, images, self.model.detect(images), strict=True):
                size = (image.shape[1], image.shape[0])
                yield Detections(columns.above(limit), self.labels, size, picture, channels, self.model.levels)

    def _limit(self, score: float | None) -> float | NDArray[np.float32]:
        if score is None:
            return self.model.thresholds
        if not 0 <= score <= 1:
            raise ArgumentError(f"score is {score}", hint="give a number from 0 to 1: `score=0.5`")
        return float(score)

    def __repr__(self) -> str:
        return f"<detector {self.source}, labels: {listed(self.labels, most=5)}>"


def load(run: Run | str | Path, device: str = "auto", *, backend: Backend = "auto") -> Detector:
    """Load a trained detector from a run, its folder, a checkpoint file, or a file that `export` wrote.

    `device` is auto (CUDA if there is a GPU), cpu, cuda or cuda:1. `backend` is the library that runs the detector:
    torch, or onnx or openvino, which need an export in the run; auto is the fastest of these on a CPU, and the detector
    shows the file. An exported file is loaded without torch. Raises a `CheckpointError` for anything but a detector,
    and a `DeviceError` for a missing device.

    >>> detector = vocdet.load(run)
    >>> detector.labels
    ('circle', 'square')
    """
    path = run.path if isinstance(run, Run) else Path(run)
    export = choose_export(path, backend, device=device)
    return Detector(open_chosen(path, export, device=device), export.path if export else path)


def _as_images(pictures: Sequence[Picture], channels: Channels, levels: Levels | None, first: int) -> list[Image]:
    """The pictures of a batch as arrays; errors are raised together, with their positions."""
    images, errors = [], list[VocdetError]()
    for number, picture in enumerate(pictures, first):
        try:
            with quiet():
                images.append(as_image(picture, channels=channels, levels=levels))
        except ArgumentError as error:
            alone = len(pictures) == 1 and first == 0
            problem = error.problem if alone else f"picture {number} of the list: {error.problem}"
            errors.append(ArgumentError(problem, hint=error.hint))
        except VocdetError as error:
            errors.append(error)
    raise_all(errors)
    return images
