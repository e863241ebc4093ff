"""Write a model as one ONNX file, with everything from pixels to results inside."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch.export import Dim

from vocdet.exporting.graphs import Graph
from vocdet.exporting.nms import translations
from vocdet.exporting.packages import need
from vocdet.exporting.skipping import with_branch
from vocdet.runtimes.description import Description

OPSET = 18
EXAMPLE = (480, 640)  # pixels; the file takes any size
INPUT_NAME = "image"


def check_onnx() -> None:
    """Raise a `DependencyError` without what writes and runs ONNX files."""
    need("onnxruntime", "onnx")
    need("onnxscript", "onnx")


def onnx_bytes(graph: Graph, description: Description) -> bytes:
    """The ONNX file of a graph, which names its labels and all else that a program needs to know."""
    check_onnx()
    inputs = graph.inputs or {INPUT_NAME: torch.zeros(*EXAMPLE, 3, dtype=torch.uint8)}
    with quiet():
        program: Any = torch.onnx.export(
            graph.module,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=graph.outputs,
            dynamic_shapes=None if graph.inputs else ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},),
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=translations(),
            verbose=False,
        )
    model = program.model_proto
    del model.metadata_props[:]
    for key, text in description.texts().items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text
    _without_traces(model)
    with_branch(model, description.size)
    model.producer_name, model.producer_version = "vocdet", description.version
    model.doc_string = f"{description.task} {description.net}: {', '.join(description.labels)}"
    return bytes(model.SerializeToString())


def _without_traces(model: Any) -> None:
    """Delete what the exporter notes about the source code, with its paths."""
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        for value in (*graph.value_info, *getattr(graph, "initializer", ())):
            del value.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of an exporter about itself."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # its problems are exceptions
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
