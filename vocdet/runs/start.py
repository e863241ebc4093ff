"""The weights that a training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from torch import Tensor

from vocdet import __version__
from vocdet.data.dataset import Dataset
from vocdet.errors import CheckpointError, RunError
from vocdet.inference.predictor import BEST
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.backbones.resnet import with_eps
from vocdet.models.checkpoint import CheckpointInfo, info_if_ours, read_tensors
from vocdet.models.classifier import Classifier
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.rcnn.model import MaskRcnn
from vocdet.models.ssd.anchors import Anchors
from vocdet.models.ssd.model import SsdLite
from vocdet.models.weights.heads import Heads
from vocdet.models.weights.published import (
    HALF,
    IMAGENET,
    Normalization,
    coco_heads,
    coco_rcnn_heads,
    coco_rcnn_tensors,
    coco_tensors,
    content_of,
    imagenet_tensors,
    is_coco_rcnn,
)
from vocdet.models.weights.timm import from_timm
from vocdet.models.weights.transfer import Transfer, transfer, with_its_tail
from vocdet.recipes.schema import Recipe
from vocdet.runs.folders import newest_run, run_info
from vocdet.training.state import STATE

M = TypeVar("M", bound=Classifier | SsdLite | MaskRcnn)


@dataclass(frozen=True, slots=True)
class StartingWeights:
    """Weights to start from, and the properties of a model that can use them."""

    source: str
    text: str  # for people
    backbone: BackboneSpec  # the requested one, with a reduced tail if the weights have one
    normalization: Normalization = HALF  # of the images
    tensors: Mapping[str, Tensor] = field(default_factory=dict)  # empty: from scratch
    heads: Heads | None = None  # labels and anchors of the heads among the tensors, if known

    @property
    def anchors(self) -> Anchors | PyramidAnchors | None:
        """The anchors of the detector's heads, if there are any."""
        return self.heads.anchors if self.heads else None


@dataclass(frozen=True, slots=True, eq=False)
class InitialModel(Generic[M]):
    """A model with the weights that training starts from."""

    model: M
    info: CheckpointInfo  # before any validation
    weights: str  # their origin, for people
    transfer: Transfer | None  # tensor by tensor; None: from scratch, or from a saved state
    own_anchors: bool = True  # not those of the weights


def initialize(model: M, start: StartingWeights, dataset: Dataset, recipe: Recipe) -> InitialModel[M]:
    """A new model with the weights that fit it, and its description."""
    transferred = None
    if start.tensors:
        transferred = transfer(model, start.tensors, start.backbone, source=start.source, heads=start.heads)
    info = CheckpointInfo(
        vocdet=__version__,
        model=model.spec,
        levels=dataset.levels,
        dataset=dataset.fingerprint(),
        recipe=asdict(recipe),
    )
    same_anchors = start.anchors is not None and getattr(model.spec, "anchors", None) is start.anchors
    return InitialModel(
        model, info, start.text + (", with their anchors" if same_anchors else ""), transferred, not same_anchors
    )


def find_weights(weights: str, spec: BackboneSpec, runs: Path, *, task: str = "ssd") -> StartingWeights:
    """The weights that a recipe names.

    `none`: from scratch. `auto`: the newest backbone run of the same net in `runs`, else from scratch. `last`: the
    newest run of this task in `runs`, which must have the same net. `imagenet`: torchvision's classifier. `coco`:
    torchvision's SSD-lite or Mask R-CNN. Else a run folder or a file. A checkpoint states the normalization of its
    images and the labels and anchors of its heads; for other files these are derived from the tensors where possible.
    """
    if weights == "none":
        return StartingWeights("none", "from scratch", spec)
    if weights == "imagenet":
        tensors, name = imagenet_tensors(spec)
        return StartingWeights(name, f"ImageNet weights of torchvision ({name})", spec, IMAGENET, tensors)
    if weights == "coco":
        return _coco_weights(spec, task)
    if weights == "last":
        run = _last_run(runs, task, spec)
        return _file_weights(run / BEST, f"the newest {task} run, {run}", spec)
    if weights == "auto":
        try:
            run = newest_run(runs, "backbone", net=spec.name, reduced_tail=spec.reduced_tail)
        except RunError:
            return StartingWeights("none", f"from scratch: no backbone run of {spec.name} in {runs}", spec)
        return _file_weights(run / BEST, f"the newest backbone run, {run}", spec)
    path = Path(weights)
    file = path / BEST if path.is_dir() else path
    if not file.is_file():
        hint = "give a file, a run folder, imagenet, coco, last, none or auto"
        raise CheckpointError("no such file of weights", place=file, hint=hint)
    if file.name == STATE:
        hint = f"give the run's folder, or its {BEST}"
        raise CheckpointError("holds the state of a training to resume, not its weights", place=file, hint=hint)
    return _file_weights(file, f"the run {path}" if path.is_dir() else str(path), spec)


def _coco_weights(spec: BackboneSpec, task: str) -> StartingWeights:
    if task == "maskrcnn":
        tensors, name = coco_rcnn_tensors(spec)
        return _with_tail(StartingWeights(name, _coco_text(name), spec, IMAGENET, tensors, coco_rcnn_heads()))
    if task != "ssd":
        hint = 'use `weights="imagenet"`; `weights="coco"` is for detectors'
        raise CheckpointError("the COCO weights are those of a detector", hint=hint)
    tensors, name = coco_tensors(spec)
    return _with_tail(StartingWeights(name, _coco_text(name), spec, HALF, tensors, coco_heads()))


def _coco_text(name: str) -> str:
    return f"COCO weights of torchvision ({name})"


def _last_run(runs: Path, task: str, spec: BackboneSpec) -> Path:
    run = newest_run(runs, task)
    net = run_info(run).backbone
    if net.name != spec.name:
        hint = f'use `net="{net.name}"`, or name another run'
        raise CheckpointError(f"the last run has the net {net.name}, not {spec.name}", place=run, hint=hint)
    return run


def _file_weights(path: Path, text: str, spec: BackboneSpec) -> StartingWeights:
    tensors, info = from_timm(read_tensors(path)), info_if_ours(path)
    if info is None:
        content = content_of(tensors, path)
        text += f", {content.name}" if content.name else ""
        tensors = with_eps(tensors) if is_coco_rcnn(tensors) else tensors
        return _with_tail(StartingWeights(str(path), text, spec, content.normalization, tensors, content.heads))
    heads = Heads(info.labels, getattr(info.model, "anchors", None))  # a classifier has no anchors
    return _with_tail(StartingWeights(str(path), text, spec, (info.mean, info.std), tensors, heads))


def _with_tail(start: StartingWeights) -> StartingWeights:
    """The same weights; their backbone has a reduced tail if theirs is reduced."""
    fitting = with_its_tail(start.backbone, start.tensors)
    if fitting == start.backbone:
        return start
    return replace(start, backbone=fitting, text=f"{start.text}, which have a reduced tail")
