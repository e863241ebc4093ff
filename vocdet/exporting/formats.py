"""The export formats: one entry for each, and the only place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocdet.exporting import web
from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import check_onnx, onnx_bytes
from vocdet.exporting.openvino import OPENVINO_FILES, check_openvino, openvino_files
from vocdet.inputs.images import Image
from vocdet.runtimes.description import Description
from vocdet.runtimes.detectors import ExportedPredictor
from vocdet.runtimes.onnx import load_onnx
from vocdet.runtimes.openvino import load_openvino

ONNX = "model.onnx"


@dataclass(frozen=True, slots=True)
class Exporter:
    """How one format is written and read."""

    files: tuple[str, ...]  # of the model; the first one names it
    check_installed: Callable[[], None]  # a `DependencyError` without its packages
    write: Callable[[Graph, Description], Mapping[str, bytes]]  # the content of all files
    load: Callable[[Path], ExportedPredictor]  # the detector of the file
    quantize: Callable[[Graph, Description, Sequence[Image]], Mapping[str, bytes]] | None = None  # in 8 bits

    @property
    def file(self) -> str:
        """The file that names the model."""
        return self.files[0]


def _onnx(graph: Graph, description: Description) -> dict[str, bytes]:
    return {ONNX: onnx_bytes(graph, description)}


EXPORTERS: dict[str, Exporter] = {
    "onnx": Exporter((ONNX,), check_onnx, _onnx, load_onnx),
    "web": Exporter(web.WEB_FILES, web.check_web, web.web_files, load_onnx),
    "openvino": Exporter(OPENVINO_FILES, check_openvino, openvino_files, load_openvino, openvino_files),
}
