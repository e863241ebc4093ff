"""ONNX files for programs that prepare the image themselves: TensorRT, and X-AnyLabeling."""

from __future__ import annotations

import yaml

from vocdet.errors import ExportError
from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import onnx_bytes
from vocdet.runtimes.description import Description
from vocdet.wording import listed

ONNX = "model.onnx"
LABELING = "x-anylabeling.yaml"

# What TensorRT supports of ONNX, of operators that a detector may need: docs/operators.md of onnx-tensorrt, 8.5.
OPERATORS = frozenset((
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Conv", "ConvTranspose", "Div", "Equal", "Exp", "Expand", "Flatten", "Floor", "Gather",
    "GatherElements", "GatherND", "Gemm", "GlobalAveragePool", "Greater", "GreaterOrEqual", "HardSigmoid",
    "HardSwish", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max", "MaxPool", "Min", "Mod",
    "Mul", "Neg", "NonMaxSuppression", "Not", "Or", "Pad", "Pow", "Range", "Reciprocal", "ReduceMax",
    "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "ScatterND", "Shape", "Sigmoid", "Slice", "Softmax",
    "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
))  # fmt: skip


def tensorrt_files(graph: Graph, description: Description) -> dict[str, bytes]:
    """The ONNX file; an operator that TensorRT does not document, or a shape that is not fixed, is an `ExportError`."""
    import onnx

    data = onnx_bytes(graph, description)
    model = onnx.load_from_string(data)
    if unknown := sorted({node.op_type for node in model.graph.node} - OPERATORS) + [
        one.name for one in model.functions
    ]:
        raise ExportError(f"TensorRT documents no operator {listed(unknown)}", hint="use another format")
    for value in (*model.graph.input, *model.graph.output):
        if any(side.WhichOneof("value") != "dim_value" for side in value.type.tensor_type.shape.dim):
            raise ExportError(f"the shape of {value.name} is not fixed", hint="use another format")
    return {ONNX: data}


def labeling_files(graph: Graph, description: Description) -> dict[str, bytes]:
    """The ONNX file, and the configuration with which X-AnyLabeling loads it as a custom model.

    Its type `rtdetrv2` resizes the image, ignoring its shape, and reads labels, boxes and scores. It has one threshold
    for all labels: the lowest.
    """
    config = {
        "type": "rtdetrv2",
        "name": f"vocdet-{description.checkpoint[:12]}",
        "display_name": f"vocdet {description.task} {description.net}",
        "provider": "vocdet",
        "model_path": ONNX,
        "conf_threshold": round(min(description.thresholds, default=0.5), 4),
        "classes": list(description.labels),
    }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return {ONNX: onnx_bytes(graph, description), LABELING: text.encode()}
