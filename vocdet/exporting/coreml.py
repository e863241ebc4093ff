"""Write an SSD for Core ML. Its runtime is that of Apple's systems, so the file is not checked here."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import quiet
from vocdet.exporting.packages import need
from vocdet.runtimes.description import Description

PACKAGE = "model.mlpackage"
_DATA = f"{PACKAGE}/Data/com.apple.CoreML"
COREML_FILES = (f"{PACKAGE}/Manifest.json", f"{_DATA}/model.mlmodel", f"{_DATA}/weights/weight.bin")


def check_coreml() -> None:
    """Raise a `DependencyError` without what writes Core ML models."""
    need("coremltools", "coreml")


def coreml_files(graph: Graph, description: Description) -> dict[str, bytes]:
    """The files of the package of a prepared graph."""
    import coremltools

    inputs = graph.inputs or {}
    with quiet(), tempfile.TemporaryDirectory() as folder, torch.no_grad():
        traced = torch.jit.trace(graph.module, tuple(inputs.values()))  # type: ignore[no-untyped-call]
        model = coremltools.convert(
            traced,
            inputs=[coremltools.TensorType(name=name, shape=tuple(one.shape)) for name, one in inputs.items()],
            outputs=[coremltools.TensorType(name=name) for name in graph.outputs],
            convert_to="mlprogram",
        )
        model.user_defined_metadata.update(description.texts())
        model.save(str(Path(folder) / PACKAGE))
        return {name: (Path(folder) / name).read_bytes() for name in COREML_FILES}
