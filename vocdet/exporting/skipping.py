"""Let an ONNX file resize an image only if it has another size than the input of the network.

`torch.cond` cannot be exported with shapes that are not known, so the branch is made in the file.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MARK = "Sum"  # of one tensor: an operator that nothing else becomes


@torch.library.custom_op("vocdet::skippable", mutates_args=())
def skippable(pixels: Tensor) -> Tensor:
    """The resized image, in whose place the file may take the image."""
    return pixels.clone()


@skippable.register_fake
def _(pixels: Tensor) -> Tensor:
    return torch.empty_like(pixels)


def mark(pixels: Any) -> Any:
    """For `torch.onnx.export`: the translation of `skippable`."""
    from onnxscript import opset18

    op: Any = opset18
    return op.Sum(pixels)


def with_branch(model: Any, size: tuple[int, int]) -> None:
    """Turn all that leads to the mark into a branch for images of another size (height, width)."""
    from onnx import TensorProto, helper

    graph = model.graph
    marked = [node for node in graph.node if node.op_type == MARK]
    if not marked:
        return
    (end,) = marked
    inside = _only_for(graph, end)
    image, out, nodes = graph.input[0].name, end.output[0], helper.make_node
    pixels = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (3, *size)) for name in ("image_kept", end.input[0])
    ]
    planes = nodes("Transpose", [image], ["image_planes"], perm=[2, 0, 1])
    same = helper.make_graph(
        [planes, nodes("Cast", ["image_planes"], ["image_kept"], to=TensorProto.FLOAT)], "keep", [], pixels[:1]
    )
    other = helper.make_graph(inside, "resize", [], pixels[1:])
    graph.initializer.append(helper.make_tensor("image_size", TensorProto.INT64, [2], size))
    graph.initializer.append(helper.make_tensor("image_none", TensorProto.INT64, [], [0]))
    branch = [
        nodes("Shape", [image], ["image_sides"], start=0, end=2),
        nodes("Sub", ["image_sides", "image_size"], ["image_apart"]),
        nodes("Abs", ["image_apart"], ["image_distances"]),
        nodes("ReduceSum", ["image_distances"], ["image_distance"], keepdims=0),
        nodes("Equal", ["image_distance", "image_none"], ["image_same"]),
        nodes("If", ["image_same"], [out], then_branch=same, else_branch=other),
    ]
    gone = {node.output[0] for node in inside}
    every = [branch if node.output[0] == out else [node] for node in graph.node if node.output[0] not in gone]
    del graph.node[:]
    graph.node.extend(node for some in every for node in some)


def without_branch(data: bytes) -> bytes:
    """The ONNX file that resizes every image: NNCF does not quantize a graph with a branch."""
    import onnx

    model: Any = onnx.load_from_string(data)
    nodes = []
    for node in model.graph.node:
        if node.op_type == "If":
            (other,) = (one.g for one in node.attribute if one.name == "else_branch")
            nodes += [*other.node, onnx.helper.make_node("Identity", [other.output[0].name], node.output)]
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _only_for(graph: Any, end: Any) -> list[Any]:
    """The nodes whose outputs lead to nothing but `end`, in order."""
    needed, found = set(end.input), list[Any]()
    elsewhere = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if node.output[0] == end.output[0]:
            continue
        if all(name in needed and name not in elsewhere for name in node.output):
            found.insert(0, node)
            needed |= set(node.input)
        else:
            elsewhere |= set(node.input)
    return found
