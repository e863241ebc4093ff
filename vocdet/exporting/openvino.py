"""Write a model for OpenVINO, from its ONNX file, and quantize it to 8 bits."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import check_onnx, onnx_bytes
from vocdet.exporting.packages import need
from vocdet.exporting.skipping import without_branch
from vocdet.inputs.images import Image
from vocdet.runtimes.description import KEY_PREFIX, Description

OPENVINO_FILES = ("model.xml", "model.bin")
_CONVOLUTIONS = frozenset(("Convolution", "GroupConvolution"))


def check_openvino() -> None:
    """Raise a `DependencyError` without what writes and runs OpenVINO models."""
    check_onnx()
    need("openvino", "openvino")


def openvino_files(graph: Graph, description: Description, images: Sequence[Image] = ()) -> dict[str, bytes]:
    """The files of a graph; with images (H, W, 3) at the input size, in 8 bits that are calibrated on them."""
    import openvino

    data = onnx_bytes(graph, description)
    model: Any = openvino.Core().read_model(without_branch(data) if images else data)
    if images:
        model = _quantized(model, images)
    for key, text in description.texts().items():
        model.set_rt_info(text, [KEY_PREFIX.rstrip("."), key.removeprefix(KEY_PREFIX)])
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, str(Path(folder) / OPENVINO_FILES[0]), compress_to_fp16=False)
        return {name: (Path(folder) / name).read_bytes() for name in OPENVINO_FILES}


def _quantized(model: Any, images: Sequence[Image]) -> Any:
    """The model with the network in 8 bits; what comes before its first convolution and after its last is unchanged."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses CUDA
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    scope = nncf.IgnoredScope(names=sorted(_outer_operators(model.get_ordered_ops())))
    data = nncf.Dataset(list(images))
    with contextlib.redirect_stdout(io.StringIO()):  # a progress bar
        return nncf.quantize(
            model, data, subset_size=len(images), ignored_scope=scope, preset=nncf.QuantizationPreset.MIXED
        )


def _outer_operators(operators: Iterable[Any]) -> set[str]:
    """The names of the operators that are not between two convolutions."""
    ordered = [one for one in operators if one.get_type_name() not in ("Constant", "Parameter", "Result")]
    after: set[str] = set()
    for one in ordered:
        sources = (source.get_source_output().get_node() for source in one.inputs())
        if any(s.get_friendly_name() in after or s.get_type_name() in _CONVOLUTIONS for s in sources):
            after.add(one.get_friendly_name())
    before: set[str] = set()
    for one in reversed(ordered):
        targets = [target.get_node() for output in one.outputs() for target in output.get_target_inputs()]
        if any(t.get_friendly_name() in before or t.get_type_name() in _CONVOLUTIONS for t in targets):
            before.add(one.get_friendly_name())
    inside = after & before
    every = {one.get_friendly_name() for one in ordered if one.get_type_name() not in _CONVOLUTIONS}
    return every - inside
