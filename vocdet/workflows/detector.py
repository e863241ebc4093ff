"""Open a detector, whatever runs it: a run, a checkpoint, or a file that was exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vocdet.errors import CheckpointError
from vocdet.files import is_file, is_folder
from vocdet.inference.tiled import TiledPredictor
from vocdet.runtimes.detectors import ExportedPredictor
from vocdet.runtimes.onnx import load_onnx
from vocdet.runtimes.predictor import Predictor

REPORT = "export.json"  # of an export folder
EXPORTED: dict[str, Callable[..., ExportedPredictor]] = {".onnx": load_onnx}  # by the suffix of the file


def is_exported(path: Path) -> bool:
    """Whether a path names an exported model: its file, or its folder."""
    return path.suffix in EXPORTED or is_file(path / REPORT)


def open_detector(path: Path, *, device: str = "auto") -> Predictor:
    """The detector of a run, a checkpoint, an exported file or its folder; torch is loaded for the first two alone."""
    if is_folder(path) and is_file(path / REPORT):
        path = _file_in(path)
    if path.suffix in EXPORTED:
        exported = EXPORTED[path.suffix](path, device=device)
        tiles = exported.description.tiles
        return TiledPredictor(exported, tiles) if tiles else exported
    from vocdet.inference.predictor import load_predictor

    return load_predictor(path, device=device)


def _file_in(folder: Path) -> Path:
    """The model in an export folder."""
    files = sorted(path for path in folder.iterdir() if path.suffix in EXPORTED)
    if not files:
        raise CheckpointError("has no exported model that can run here", place=folder, hint="name its file")
    return files[0]
