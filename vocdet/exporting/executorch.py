"""Write an SSD for ExecuTorch, on its XNNPACK backend for the CPUs of phones, and run it here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vocdet.exporting.decoder import prepared_predictor
from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import quiet
from vocdet.exporting.packages import need
from vocdet.runtimes.description import Description
from vocdet.runtimes.detectors import ExportedPredictor

EXECUTORCH_FILES = ("model.pte",)


def check_executorch() -> None:
    """Raise a `DependencyError` without what writes and runs ExecuTorch programs."""
    need("executorch", "executorch")


def executorch_files(graph: Graph, _description: Description) -> dict[str, bytes]:
    """The program of a prepared graph."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with quiet():
        program: Any = torch.export.export(graph.module, tuple((graph.inputs or {}).values()))
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        return {EXECUTORCH_FILES[0]: bytes(edge.to_executorch().buffer)}


def load_executorch(path: Path, description: Description) -> ExportedPredictor:
    """The detector of a program."""
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)  # a method lives as long as its program
    method = program.load_method("forward")

    def network(image: Any, _program: Any = program) -> list[Any]:
        return [output.numpy() for output in method.execute([torch.from_numpy(image)])]

    return prepared_predictor(network, description)
