"""Write an SSD for ExecuTorch, on its XNNPACK backend for the CPUs of phones, and run it here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vocdet.exporting.decoder import prepared_inputs, prepared_predictor
from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import quiet
from vocdet.exporting.packages import need
from vocdet.inputs.images import Image
from vocdet.runtimes.description import Description
from vocdet.runtimes.detectors import ExportedPredictor

EXECUTORCH_FILES = ("model.pte",)


def check_executorch() -> None:
    """Raise a `DependencyError` without what writes and runs ExecuTorch programs."""
    need("executorch", "executorch")


def executorch_files(graph: Graph, _description: Description, images: Sequence[Image] = ()) -> dict[str, bytes]:
    """The program of a prepared graph; with images (H, W, 3) at the input size, in 8 bits calibrated on them."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    inputs = tuple((graph.inputs or {}).values())
    with quiet():
        module = _quantized(graph.module, inputs, images) if images else graph.module
        program: Any = torch.export.export(module, inputs)
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        return {EXECUTORCH_FILES[0]: bytes(edge.to_executorch().buffer)}


def _quantized(module: nn.Module, inputs: tuple[torch.Tensor, ...], images: Sequence[Image]) -> nn.Module:
    """The graph with its network in 8 bits; what decodes the outputs of the network is unchanged."""
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from torchao.quantization.pt2e import quantize_pt2e

    config = xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True)
    quantizer = xnnpack_quantizer.XNNPACKQuantizer().set_global(config).set_filter_function(_inside)
    observed: Any = quantize_pt2e.prepare_pt2e(torch.export.export(module, inputs).module(), quantizer)
    with torch.no_grad():
        for one in prepared_inputs(images):
            observed(torch.from_numpy(one))
    network: nn.Module = quantize_pt2e.convert_pt2e(observed)
    return network


def _inside(node: torch.fx.Node) -> bool:
    """Whether an operator is of a submodule, the network; constants, such as weights, are of none."""
    return node.op != "call_function" or len(node.meta.get("nn_module_stack") or ()) > 1


def load_executorch(path: Path, description: Description) -> ExportedPredictor:
    """The detector of a program."""
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)  # a method lives as long as its program
    method = program.load_method("forward")

    def network(image: Any, _program: Any = program) -> list[Any]:
        return [output.numpy() for output in method.execute([torch.from_numpy(image)])]

    return prepared_predictor(network, description)
