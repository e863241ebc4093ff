"""Write an SSD for LiteRT, formerly TensorFlow Lite, and run it here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from vocdet.exporting.decoder import prepared_predictor
from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import quiet
from vocdet.exporting.packages import need
from vocdet.runtimes.description import Description
from vocdet.runtimes.detectors import ExportedPredictor

LITERT_FILES = ("model.tflite",)


def check_litert() -> None:
    """Raise a `DependencyError` without what writes and runs LiteRT models."""
    need("litert_torch", "litert")


def litert_files(graph: Graph, _description: Description) -> dict[str, bytes]:
    """The flatbuffer of a prepared graph."""
    import litert_torch

    with quiet(), tempfile.TemporaryDirectory() as folder:
        model = litert_torch.convert(graph.module, tuple((graph.inputs or {}).values()))
        path = Path(folder) / LITERT_FILES[0]
        model.export(str(path))
        return {LITERT_FILES[0]: path.read_bytes()}


def load_litert(path: Path, description: Description) -> ExportedPredictor:
    """The detector of a flatbuffer."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()

    def network(image: Any) -> list[Any]:
        found = run(args_0=image)
        return [found["output_0"], found["output_1"]]

    return prepared_predictor(network, description)
