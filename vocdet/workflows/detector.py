"""Open a detector, whatever runs it: a run, a checkpoint, or a file that was exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vocdet.errors import ArgumentError, CheckpointError, VocdetError
from vocdet.files import is_folder
from vocdet.inference.tiled import TileChoice, TiledPredictor
from vocdet.outputs import BEST, digest_of
from vocdet.runtimes.description import REPORT, ExportedFile, is_exported
from vocdet.runtimes.detectors import ExportedPredictor
from vocdet.runtimes.onnx import describe_onnx, load_onnx
from vocdet.runtimes.openvino import load_openvino, read_openvino
from vocdet.runtimes.predictor import Predictor
from vocdet.wording import did_you_mean

EXPORTS = "exports"  # in a run
Backend = Literal["auto", "torch", "onnx", "openvino"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """A library that runs exported models."""

    package: str
    suffix: str  # of its files
    read: Callable[[Path], ExportedFile]
    load: Callable[..., ExportedPredictor]


RUNTIMES: dict[str, Runtime] = {  # the fastest first
    "openvino": Runtime("openvino", ".xml", lambda path: ExportedFile(path, read_openvino(path)), load_openvino),
    "onnx": Runtime("onnxruntime", ".onnx", describe_onnx, load_onnx),
}
_BY_SUFFIX: dict[str, Backend] = {RUNTIMES["openvino"].suffix: "openvino", RUNTIMES["onnx"].suffix: "onnx"}


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """How a detector is opened, and applied to images."""

    device: str = "auto"
    backend: Backend = "auto"  # the library that runs it; see `choose_export`
    tiles: TileChoice = TileChoice()
    score: float | None = None  # least score of a detection; None: the threshold of its label
    batch: int = 8  # images per forward pass
    export: ExportedFile | None = None  # that stands in for the run, if it was chosen before

    def __post_init__(self) -> None:
        if self.score is not None and not 0 <= self.score <= 1:
            raise ArgumentError(f"score is {self.score}", hint="give a number from 0 to 1: `score=0.5`")
        if self.batch < 1:
            raise ArgumentError(f"batch is {self.batch}", hint="give 1 or more: `batch=1`")

    def open(self, detector: Path | Predictor) -> Predictor:
        """The detector of a path, or one that is open, on these tiles."""
        if isinstance(detector, Path):
            export = self.export or choose_export(detector, self.backend, device=self.device)
            detector = open_chosen(detector, export, device=self.device)
        return self.tiles.apply(detector)

    def limits(self, detector: Predictor) -> NDArray[np.float32]:
        """(L,) the least score of each label."""
        return detector.thresholds if self.score is None else np.full(len(detector.labels), self.score, np.float32)


def open_detector(path: Path, *, device: str = "auto", backend: Backend = "auto") -> Predictor:
    """The detector of a run, a checkpoint, an exported file or its folder; torch is loaded for the first two alone.

    `backend` is the library that runs it; see `choose_export`.
    """
    return open_chosen(path, choose_export(path, backend, device=device), device=device)


def open_chosen(path: Path, export: ExportedFile | None, *, device: str = "auto") -> Predictor:
    """The detector of an export, or without one that of a path."""
    if export:
        exported = RUNTIMES[_BY_SUFFIX[export.path.suffix]].load(export, device=device)
        tiles = exported.description.tiles
        return TiledPredictor(exported, tiles) if tiles else exported
    from vocdet.inference.predictor import load_predictor

    return load_predictor(path, device=device)


def choose_export(path: Path, backend: Backend = "auto", *, device: str = "auto") -> ExportedFile | None:
    """The export that a backend runs; None: the weights at `path` itself.

    Exports are those that `export` wrote into the run: the same weights at the trained size, in full precision. On a
    CPU, `auto` is the fastest of those whose library is installed, else torch. An `ArgumentError` for an export of
    another backend, and a `CheckpointError` for a run without the export.
    """
    if backend not in ("auto", "torch", *RUNTIMES):
        hint = did_you_mean(backend, ("torch", *RUNTIMES)) or "give auto, torch, onnx or openvino"
        raise ArgumentError(f"unknown backend {backend!r}", hint=hint)
    if is_exported(path):
        file = _file_in(path) if is_folder(path) else path
        if backend not in ("auto", own := _BY_SUFFIX[file.suffix]):
            hint = f'use `backend="{own}"`, or give the run'
            raise ArgumentError(f"is an export, which {backend} does not run", place=file, hint=hint)
        return RUNTIMES[own].read(file)
    if backend == "torch" or (backend == "auto" and device not in ("auto", "cpu")):
        return None
    for name in RUNTIMES if backend == "auto" else (backend,):
        found = _export_of(path, name)
        if found and (backend != "auto" or find_spec(RUNTIMES[name].package)):
            return None if backend == "auto" and device == "auto" and _has_gpu() else found
    if backend != "auto":
        hint = f'export it with `vocdet.export(run, format="{backend}")`'
        raise CheckpointError(f"has no {backend} export of its weights", place=path, hint=hint)
    return None


def choose_file(path: Path, backend: Backend = "auto", *, device: str = "auto") -> Path:
    """The file that a backend runs: that of `choose_export`, or `path` itself."""
    export = choose_export(path, backend, device=device)
    return export.path if export else path


def _has_gpu() -> bool:
    from vocdet.inference.predictor import choose_device

    return choose_device("auto") != "cpu"


def _export_of(path: Path, backend: str) -> ExportedFile | None:
    """The export of a run's or checkpoint's weights for a backend, as trained; None if there is none."""
    plain = (one for one in exports_of(path) if one.description.precision == "fp32" and not one.description.resized)
    return next((one for one in plain if _BY_SUFFIX[one.path.suffix] == backend), None)


def exports_of(path: Path) -> Iterator[ExportedFile]:
    """The exported detectors in a run that have the weights of its checkpoint, at any size and precision."""
    checkpoint = path / BEST if is_folder(path) else path
    digest = ""
    for report in sorted((checkpoint.parent / EXPORTS).glob(f"*/{REPORT}")):
        for file in sorted(file for file in report.parent.iterdir() if file.suffix in _BY_SUFFIX):
            with suppress(VocdetError, OSError):
                export = RUNTIMES[_BY_SUFFIX[file.suffix]].read(file)
                digest = digest or digest_of(checkpoint)
                about = export.description
                if about.checkpoint == digest and not about.raw and not about.target:
                    yield export


def run_of(path: Path) -> Path:
    """The folder of the run that a checkpoint or an export belongs to, or of a run itself."""
    folder = path if is_folder(path) else path.parent
    return folder.parent.parent if is_exported(path) else folder  # an export lies in RUN/exports


def backend_of(path: Path) -> Backend:
    """The library that runs a file, by its suffix."""
    return _BY_SUFFIX.get(path.suffix, "torch")


def _file_in(folder: Path) -> Path:
    """The model in an export folder."""
    files = sorted(path for path in folder.iterdir() if path.suffix in _BY_SUFFIX)
    if not files:
        raise CheckpointError("has no exported model that can run here", place=folder, hint="name its file")
    return files[0]
