"""Write an SSD for LiteRT, formerly TensorFlow Lite, and run it here."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vocdet.exporting.decoder import prepared_inputs, prepared_predictor
from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import quiet
from vocdet.exporting.packages import need
from vocdet.inputs.images import Image
from vocdet.runtimes.description import Description
from vocdet.runtimes.detectors import ExportedPredictor

LITERT_FILES = ("model.tflite",)


def check_litert() -> None:
    """Raise a `DependencyError` without what writes and runs LiteRT models."""
    need("litert_torch", "litert")


def litert_files(graph: Graph, _description: Description, images: Sequence[Image] = ()) -> dict[str, bytes]:
    """The flatbuffer of a prepared graph; with images (H, W, 3) at the input size, in 8 bits calibrated on them."""
    import litert_torch

    with quiet(), tempfile.TemporaryDirectory() as folder:
        model = litert_torch.convert(graph.module, tuple((graph.inputs or {}).values()))
        path = Path(folder) / LITERT_FILES[0]
        model.export(str(path))
        if images:
            _quantize(path, images)
        return {LITERT_FILES[0]: path.read_bytes()}


def _quantize(path: Path, images: Sequence[Image]) -> None:
    """Replace a file by one with its convolutions in 8 bits, calibrated on the images.

    Only the weights of squeeze-and-excitation are: where a trained one is always 0, the scale of its output
    is so small that the biases of the next convolution, in 32 bits at that scale, overflow.
    """
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName as Name

    writer = quantizer.Quantizer(str(path))
    for name in (Name.CONV_2D, Name.DEPTHWISE_CONV_2D):
        writer.add_static_config(regex=".*", operation_name=name, activation_num_bits=8, weight_num_bits=8)
    writer.add_dynamic_config(regex=".*SqueezeExcitation.*", operation_name=Name.CONV_2D, num_bits=8)
    inputs = [{"args_0": one} for one in prepared_inputs(images)]
    ranges = writer.calibrate({"serving_default": inputs}, num_threads=1)
    writer.quantize(ranges).export_model(str(path), overwrite=True)


def load_litert(path: Path, description: Description) -> ExportedPredictor:
    """The detector of a flatbuffer."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()

    def network(image: Any) -> list[Any]:
        found = run(args_0=image)
        return [found["output_0"], found["output_1"]]

    return prepared_predictor(network, description)
