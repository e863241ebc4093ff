"""Exported ONNX files with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vocdet.errors import CheckpointError, DependencyError, DeviceError
from vocdet.runtimes.description import Description, ExportedFile, described
from vocdet.runtimes.detectors import CANDIDATE_SCORES, ExportedPredictor
from vocdet.runtimes.onnx_file import read_onnx
from vocdet.wording import listed

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def describe_onnx(path: Path) -> ExportedFile:
    """An ONNX file that vocdet exported, as it was read; anything else is a `CheckpointError`."""
    data, texts = read_onnx(path)
    return ExportedFile(path, described(texts, path), data)


def load_onnx(file: Path | ExportedFile, *, device: str = "auto", threads: int = 0) -> ExportedPredictor:
    """The detector of an ONNX file; anything but a detector that vocdet exported is a `CheckpointError`.

    `threads` of a CPU; 0: all.
    """
    read = describe_onnx(file) if isinstance(file, Path) else file
    check_detector(read.description, read.path)
    return ExportedPredictor(session_of(read.data, read.path, device=device, threads=threads), read.description)


def check_detector(description: Description, path: Path) -> None:
    """Raise a `CheckpointError` for an export that does not detect objects."""
    if description.task not in CANDIDATE_SCORES:
        hint = "export a detector with `vocdet.export(run)`"
        raise CheckpointError("is a classifier, not a detector", place=path, hint=hint)
    if description.target:
        hint = "export it without a target"
        raise CheckpointError(f"is made for {description.target}, not for vocdet", place=path, hint=hint)
    if description.raw:
        hint = "export it without `raw=True`"
        raise CheckpointError("leaves decoding out, so it gives no detections", place=path, hint=hint)


def session_of(data: bytes, path: Path, *, device: str = "auto", threads: int = 0) -> Callable[..., Any]:
    """A function that runs the graph of these bytes on arrays, one for each input; `threads` of a CPU, 0: all."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError("onnxruntime is not installed", hint="run pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors, which are raised anyway
    options.intra_op_num_threads = threads
    providers = _providers(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # ONNX Runtime has no class above its errors
        problem = f"cannot be loaded by ONNX Runtime: {first_line(error)}"
        raise CheckpointError(problem, place=path, hint="export it again") from error
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: NDArray[Any]) -> Any:
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return run


def _providers(device: str, available: list[str]) -> list[str | tuple[str, dict[str, str]]]:
    kind, _, number = device.partition(":")
    if kind == "auto":
        return [name for name in reversed(_PROVIDERS.values()) if name in available]
    if _PROVIDERS.get(kind) not in available or (number and not number.isdecimal()):
        known = listed((name for name, provider in _PROVIDERS.items() if provider in available), conjunction="or")
        raise DeviceError(f"device {device!r} is not available in ONNX Runtime", hint=f"it has {known}")
    return [(_PROVIDERS[kind], {"device_id": number})] if number and kind == "cuda" else [_PROVIDERS[kind]]


def first_line(error: Exception) -> str:
    """The first line of an error of a runtime."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
