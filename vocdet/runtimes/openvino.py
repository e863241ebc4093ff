"""Exported OpenVINO models: an XML file with the graph, and a file with its weights beside it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from threading import Lock
from typing import Any

from vocdet.errors import CheckpointError, DependencyError, DeviceError
from vocdet.files import is_file, read_limited
from vocdet.inputs.images import Image
from vocdet.runtimes.description import KEY_PREFIX, Description, ExportedFile, described
from vocdet.runtimes.detectors import ExportedPredictor, Run
from vocdet.runtimes.onnx import check_detector, first_line
from vocdet.wording import listed, reason

LARGEST_MODEL_XML = 1 << 26  # bytes of the XML
_DAMAGED = "the file is damaged: export it again"


def load_openvino(file: Path | ExportedFile, *, device: str = "auto", threads: int = 0) -> ExportedPredictor:
    """The detector of an OpenVINO model; anything but a detector that vocdet exported is a `CheckpointError`.

    `threads` of a CPU; 0: all.
    """
    read = ExportedFile(file, read_openvino(file)) if isinstance(file, Path) else file
    check_detector(read.description, read.path)
    run = compiled(read.path, read.description, device=device, threads=threads)
    return ExportedPredictor(run, read.description)


def read_openvino(path: Path) -> Description:
    """The description in an XML file."""
    try:
        data = read_limited(path, LARGEST_MODEL_XML)
    except OSError as error:
        hint = 'export a run with `vocdet.export(run, format="openvino")`'
        raise CheckpointError(f"cannot be read: {reason(error)}", place=path, hint=hint) from error
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise CheckpointError("has a DOCTYPE, which no OpenVINO model has", place=path, hint=_DAMAGED)
    try:
        root = ET.fromstring(data)
    except (ET.ParseError, ValueError, LookupError) as error:  # the last two: of an encoding that Python lacks
        raise CheckpointError("is not an OpenVINO model, or incomplete", place=path, hint=_DAMAGED) from error
    ours = root.find(f"rt_info/{KEY_PREFIX.rstrip('.')}")
    texts = {f"{KEY_PREFIX}{entry.tag}": entry.get("value", "") for entry in (() if ours is None else ours)}
    if not is_file(path.with_suffix(".bin")):
        hint = "copy it from the export folder, too"
        raise CheckpointError(f"lacks its weights, {path.with_suffix('.bin').name}", place=path, hint=hint)
    return described(texts, path)


def compiled(path: Path, description: Description, *, device: str = "auto", threads: int = 0) -> Run:
    """A function that runs the model; `threads` of a CPU, 0: all."""
    try:
        import openvino
    except ImportError as error:
        raise DependencyError("openvino is not installed", hint="run pip install openvino") from error
    core: Any = openvino.Core()
    name = "CPU" if device in ("auto", "cpu") else device.upper()
    if name not in core.available_devices:
        known = listed((one.lower() for one in core.available_devices), conjunction="or")
        raise DeviceError(f"device {device!r} is not available in OpenVINO", hint=f"it has {known}")
    # by default, processors with 16-bit floats compute with these, and detect something else than the model
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    settings |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
    try:
        model = core.read_model(path, path.with_suffix(".bin"))
        fixed = model.clone()
        if description.task == "ssd":  # the predictor resizes: with known sides, what depends on them is computed once
            fixed.reshape([*description.size, 3])
        request = core.compile_model(fixed, name, settings).create_infer_request()
    except Exception as error:  # OpenVINO has no class above its errors
        problem = f"cannot be loaded by OpenVINO: {first_line(error)}"
        raise CheckpointError(problem, place=path, hint="export it again") from error
    outputs = range(len(model.outputs))
    requests = {True: request}  # of the size that the predictor gives, and of any other, which few programs need
    free = Lock()  # a request refuses a second image while it works

    def run(image: Image) -> Any:
        usual = description.task != "ssd" or image.shape[:2] == description.size
        with free:
            if usual not in requests:
                requests[usual] = core.compile_model(model, name, settings).create_infer_request()
            result = requests[usual].infer([image])
        return [result[i] for i in outputs]

    return run
