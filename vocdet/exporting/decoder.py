"""Exported files that take a prepared image, at work with the program that travels with them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocdet.errors import ExportError
from vocdet.inputs.images import Image
from vocdet.resources import bundled, bundled_text
from vocdet.runtimes.description import Description
from vocdet.runtimes.detectors import ExportedPredictor
from vocdet.runtimes.onnx import first_line, session_of

DECODERS = ("decode.py", "decode.hpp", "decode.mjs")  # the same in three languages

# A prepared image (1, 3, H, W) to boxes (1, A, 4) in shares of it and scores (1, A, L); or where NMS is inside to
# boxes (1, N, 4), scores (1, N), which are 0 for what was removed, and labels (1, N).
Network = Callable[[NDArray[np.float32]], Sequence[Any]]


def prepared_predictor(network: Network, description: Description) -> ExportedPredictor:
    """The detector of a file, with `decode.py` before and after it."""
    program = _program("decode.py")
    height, width = description.size

    def run(image: Image) -> list[NDArray[Any]]:
        h, w = image.shape[:2]
        try:
            outputs = network(program.prepare(image, width, height))
        except RuntimeError as error:
            problem = f"the exported file does not run: {first_line(error)}"
            raise ExportError(problem, hint="use another format, or no `int8=True`") from error
        boxes, scores, *labels = map(np.asarray, outputs)
        if not labels:
            return [*program.select(boxes, scores, width=w, height=h, average=description.average)] * 2
        rows = scores[0] > 0
        return [boxes[0][rows] * np.array([w, h, w, h], np.float32), scores[0][rows], labels[0][0][rows]] * 2

    return ExportedPredictor(run, description)


def prepared_inputs(images: Sequence[Image]) -> Iterator[NDArray[np.float32]]:
    """Images (H, W, 3) at the input size as the file takes them, (1, 3, H, W): what 8 bits are calibrated on."""
    prepare = _program("decode.py").prepare
    return (prepare(image, image.shape[1], image.shape[0]) for image in images)


def prepared_onnx(path: Path, description: Description) -> ExportedPredictor:
    """The detector of an ONNX file for another program, with ONNX Runtime in its place."""
    run = session_of(path.read_bytes(), path)
    if description.target == "x-anylabeling":
        whole = np.ones((1, 2), np.int64)  # an image of one pixel: boxes are shares

        def network(image: NDArray[np.float32]) -> Sequence[Any]:
            labels, boxes, scores = run(image, whole)
            return boxes, scores, labels

        return prepared_predictor(network, description)
    return prepared_predictor(run, description)


def decoders(description: Description) -> dict[str, str]:
    """The programs that travel with a file whose detections they select, by name."""
    texts = {name: bundled_text(f"export/{name}") for name in DECODERS}
    if description.average:
        return texts
    return {name: re.sub(r"(AVERAGE|kAverage) = [Tt]rue", _false, text) for name, text in texts.items()}


def _false(true: re.Match[str]) -> str:
    return true[0].replace("True", "False").replace("true", "false")


def _program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("vocdet_decode", bundled(f"export/{name}"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
