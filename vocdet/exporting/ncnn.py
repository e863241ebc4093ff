"""Write an SSD for ncnn with pnnx, and run it here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vocdet.exporting.decoder import prepared_predictor
from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import quiet
from vocdet.exporting.packages import need
from vocdet.runtimes.description import Description
from vocdet.runtimes.detectors import ExportedPredictor

NCNN_FILES = ("model.ncnn.param", "model.ncnn.bin")


def check_ncnn() -> None:
    """Raise a `DependencyError` without what writes and runs ncnn models."""
    need("pnnx", "ncnn")
    need("ncnn", "ncnn")


def ncnn_files(graph: Graph, _description: Description) -> dict[str, bytes]:
    """The network and the weights of a prepared graph."""
    import pnnx

    with quiet(), tempfile.TemporaryDirectory() as folder:
        pnnx.export(graph.module, str(Path(folder) / "model.pt"), tuple((graph.inputs or {}).values()), fp16=False)
        return {name: (Path(folder) / name).read_bytes() for name in NCNN_FILES}


def load_ncnn(path: Path, description: Description) -> ExportedPredictor:
    """The detector of a network."""
    import ncnn

    net = ncnn.Net()
    net.load_param(str(path))
    net.load_model(str(path.with_suffix(".bin")))

    def network(image: Any) -> list[Any]:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image[0]).clone())
        return [np.array(extractor.extract(name)[1])[None] for name in ("out0", "out1")]

    return prepared_predictor(network, description)
