"""The export formats: one entry for each, and the only place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vocdet.exporting import web
from vocdet.exporting.coreml import COREML_FILES, check_coreml, coreml_files
from vocdet.exporting.decoder import prepared_onnx
from vocdet.exporting.executorch import EXECUTORCH_FILES, check_executorch, executorch_files, load_executorch
from vocdet.exporting.graphs import Graph
from vocdet.exporting.litert import LITERT_FILES, check_litert, litert_files, load_litert
from vocdet.exporting.ncnn import NCNN_FILES, check_ncnn, load_ncnn, ncnn_files
from vocdet.exporting.onnx import check_onnx, onnx_bytes
from vocdet.exporting.openvino import OPENVINO_FILES, check_openvino, openvino_files
from vocdet.exporting.targets import LABELING, ONNX, labeling_files, tensorrt_files
from vocdet.inputs.images import Image
from vocdet.runtimes.description import Description, ExportTarget
from vocdet.runtimes.detectors import ExportedPredictor, Run
from vocdet.runtimes.onnx import load_onnx, session_of
from vocdet.runtimes.openvino import compiled, load_openvino


@dataclass(frozen=True, slots=True)
class Exporter:
    """How one format is written and read."""

    files: tuple[str, ...]  # of the model; the first one names it
    check_installed: Callable[[], None]  # a `DependencyError` without its packages
    write: Callable[[Graph, Description], Mapping[str, bytes]]  # the content of all files
    load: Callable[[Path, Description], ExportedPredictor] | None  # the detector of the file; None: not here
    quantize: Callable[[Graph, Description, Sequence[Image]], Mapping[str, bytes]] | None = None  # in 8 bits
    target: ExportTarget = ""  # which program it is for; "": all, and it takes images of any size
    quantizer: str = ""  # the package that does it
    runner: Callable[[Path, Description], Run] | None = None  # runs a file that gives no detections

    @property
    def file(self) -> str:
        """The file or folder that names the model."""
        return self.files[0].partition("/")[0]


def _onnx(graph: Graph, description: Description) -> dict[str, bytes]:
    return {ONNX: onnx_bytes(graph, description)}


def _load_onnx(path: Path, _: Description) -> ExportedPredictor:
    return load_onnx(path)


def _run_onnx(path: Path, _: Description) -> Run:
    return session_of(path.read_bytes(), path)


def _load_openvino(path: Path, _: Description) -> ExportedPredictor:
    return load_openvino(path)


_ONNX = Exporter((ONNX,), check_onnx, _onnx, _load_onnx, runner=_run_onnx)
_OPENVINO = Exporter(OPENVINO_FILES, check_openvino, openvino_files, _load_openvino, openvino_files)
EXPORTERS: dict[str, Exporter] = {
    "onnx": _ONNX,
    "web": Exporter(web.WEB_FILES, web.check_web, web.web_files, _load_onnx),
    "openvino": replace(_OPENVINO, quantizer="nncf", runner=compiled),
    "litert": Exporter(
        LITERT_FILES, check_litert, litert_files, load_litert, litert_files, "decoder", "ai_edge_quantizer"
    ),
    "executorch": Exporter(
        EXECUTORCH_FILES, check_executorch, executorch_files, load_executorch, executorch_files, "decoder", "torchao"
    ),
    "coreml": Exporter(COREML_FILES, check_coreml, coreml_files, None, target="decoder"),
    "ncnn": Exporter(NCNN_FILES, check_ncnn, ncnn_files, load_ncnn, target="decoder"),
}
TARGETS: dict[str, Exporter] = {  # of the format onnx
    "tensorrt": replace(_ONNX, write=tensorrt_files, load=prepared_onnx, target="tensorrt"),
    "tensorrt-nms": replace(_ONNX, write=tensorrt_files, load=prepared_onnx, target="tensorrt-nms"),
    "x-anylabeling": replace(
        _ONNX, files=(ONNX, LABELING), write=labeling_files, load=prepared_onnx, target="x-anylabeling"
    ),
}
