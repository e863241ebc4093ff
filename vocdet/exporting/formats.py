"""The export formats: one entry for each, and the only place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import check_onnx, onnx_bytes
from vocdet.runtimes.description import Description
from vocdet.runtimes.detectors import ExportedPredictor
from vocdet.runtimes.onnx import load_onnx

ONNX = "model.onnx"


@dataclass(frozen=True, slots=True)
class Exporter:
    """How one format is written and read."""

    files: tuple[str, ...]  # of the model; the first one names it
    check_installed: Callable[[], None]  # a `DependencyError` without its packages
    write: Callable[[Graph, Description], Mapping[str, bytes]]  # the content of all files
    load: Callable[[Path], ExportedPredictor] | None  # the detector of the file; None: cannot run here

    @property
    def file(self) -> str:
        """The file that names the model."""
        return self.files[0]


def _onnx(graph: Graph, description: Description) -> dict[str, bytes]:
    return {ONNX: onnx_bytes(graph, description)}


EXPORTERS: dict[str, Exporter] = {
    "onnx": Exporter((ONNX,), check_onnx, _onnx, load_onnx),
}
