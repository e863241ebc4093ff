"""The graph of every model family: one entry for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import torch
from torch import Tensor, nn

from vocdet.errors import ArgumentError
from vocdet.exporting.classifier import ClassifierGraph
from vocdet.exporting.prepared import LabelingGraph, PreparedGraph, SelectedGraph
from vocdet.exporting.rcnn import RcnnGraph
from vocdet.exporting.ssd import SsdGraph
from vocdet.models.build import ModelSpec, build
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.folding import fused
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.models.ssd.model import SsdLite
from vocdet.recipes.schema import LARGEST, SMALLEST
from vocdet.runtimes.description import ExportTarget
from vocdet.runtimes.predictor import thresholds_of

DETECTIONS = ("boxes", "scores", "labels")


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A network with everything from pixels to results, and the names of its outputs."""

    module: nn.Module
    outputs: tuple[str, ...]
    inputs: Mapping[str, Tensor] | None = None  # examples, of fixed shapes; None: an image (H, W, 3) uint8 of any size


def graph_of(model: nn.Module, info: CheckpointInfo, *, raw: bool = False) -> Graph:
    """The graph of a model; `raw`: without what follows the network."""
    network = fused(model)
    if isinstance(network, Classifier):
        return Graph(ClassifierGraph(network, raw=raw).eval(), ("logits",) if raw else ("probabilities",))
    thresholds = torch.from_numpy(thresholds_of(info.labels, info.thresholds))
    if isinstance(network, SsdLite):
        names = ("offsets", "logits", "anchors") if raw else _twice(DETECTIONS)
        return Graph(SsdGraph(network, thresholds, raw=raw).eval(), names)
    if raw:
        hint = "export it without `raw=True`"
        raise ArgumentError("a Mask R-CNN decodes boxes in the middle of its network", hint=hint)
    assert isinstance(network, MaskRcnn)
    names = _twice((*DETECTIONS, "masks") if network.spec.masks else DETECTIONS)
    return Graph(RcnnGraph(network, thresholds).eval(), names)


def prepared_graph(model: nn.Module, target: ExportTarget) -> Graph:
    """The graph of an SSD for a prepared image, with what `target` expects."""
    network = fused(model)
    if not isinstance(network, SsdLite):
        raise ArgumentError(
            "only an SSD is exported for programs that prepare the image",
            hint='use `vocdet.export(run, format="onnx")`',
        )
    inputs = {"images": torch.zeros(1, 3, *network.spec.size)}
    if target == "x-anylabeling":
        size = torch.tensor([network.spec.size[::-1]])
        names = ("labels", "boxes", "scores")
        return Graph(LabelingGraph(network).eval(), names, inputs | {"orig_target_sizes": size})
    if target == "tensorrt-nms":
        return Graph(SelectedGraph(network).eval(), DETECTIONS, inputs)
    return Graph(PreparedGraph(network).eval(), DETECTIONS[:2], inputs)


def at_size(model: nn.Module, info: CheckpointInfo, size: int) -> tuple[nn.Module, CheckpointInfo]:
    """The same weights for another input size, with anchors for it: the side, or of a Mask R-CNN the shorter one."""
    if not SMALLEST <= size <= LARGEST:
        raise ArgumentError(f"a size of {size} pixels", hint=f"give {SMALLEST} to {LARGEST}: `size=320`")
    spec = info.model
    changed: ModelSpec
    if isinstance(spec, RcnnSpec):
        changed = msgspec.structs.replace(spec, size=size, longest=min(round(spec.longest * size / spec.size), LARGEST))
    else:
        changed = msgspec.structs.replace(spec, size=size if isinstance(spec, ClassifierSpec) else (size, size))
    other = build(changed)
    other.load_state_dict(model.state_dict())
    return other.eval(), msgspec.structs.replace(info, model=changed)


def _twice(names: tuple[str, ...]) -> tuple[str, ...]:
    return (*names, *(f"candidate_{name}" for name in names))
