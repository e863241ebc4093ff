"""Where a training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from vocdet.errors import CheckpointError
from vocdet.inference.predictor import BEST
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.backbones.resnet import with_eps
from vocdet.models.checkpoint import info_if_ours, read_tensors
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.ssd.anchors import Anchors
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
from vocdet.models.weights.transfer import with_its_tail
from vocdet.runs.folders import newest_run, run_info
from vocdet.training.state import STATE


@dataclass(frozen=True, slots=True)
class Start:
    """Weights to start from, and what a model must be like to take them."""

    source: str
    text: str  # for people
    backbone: BackboneSpec  # the one asked for, with a reduced tail where the weights have one
    normalization: Normalization = HALF  # of the images
    tensors: Mapping[str, Tensor] = field(default_factory=dict)  # empty: from scratch
    heads: Heads | None = None  # what the heads among the tensors were made for, where that is known

    @property
    def anchors(self) -> Anchors | PyramidAnchors | None:
        """Those that a detector's heads were made for, if there are any."""
        return self.heads.anchors if self.heads else None


def find_start(weights: str, spec: BackboneSpec, runs: Path, *, task: str = "ssd") -> Start:
    """What `--weights` means.

    `none`: from scratch. `auto`: the newest backbone run of the same net in `runs`, else from scratch. `last`: the
    newest run of this task in `runs`, which must be of the same net. `imagenet`: torchvision's classifier. `coco`:
    torchvision's SSD-lite, or its Mask R-CNN. Else a run folder or a file. Checkpoints know how their images must be
    normalised, and for which labels and anchors their heads were made; of other files what they hold tells it, as far
    as it can be told.
    """
    if weights == "none":
        return Start("none", "from scratch", spec)
    if weights == "imagenet":
        tensors, name = imagenet_tensors(spec)
        return Start(name, f"ImageNet weights of torchvision ({name})", spec, IMAGENET, tensors)
    if weights == "coco":
        return _coco(spec, task)
    if weights == "last":
        run = _last(runs, task, spec)
        return _from_file(run / BEST, f"the newest {task} run, {run}", spec)
    if weights == "auto":
        try:
            run = newest_run(runs, "backbone", net=spec.name, reduced_tail=spec.reduced_tail)
        except CheckpointError:
            return Start("none", f"from scratch: there is no backbone run of {spec.name} in {runs}", spec)
        return _from_file(run / BEST, f"the newest backbone run, {run}", spec)
    path = Path(weights)
    file = path / BEST if path.is_dir() else path
    if not file.is_file():
        hint = "give a file, a run folder, imagenet, coco, last, none or auto"
        raise CheckpointError("there is no such file of weights", place=file, hint=hint)
    if file.name == STATE:
        hint = f"give the run's folder, or its {BEST}"
        raise CheckpointError("is the state of a training, to resume it, and not its weights", place=file, hint=hint)
    return _from_file(file, f"the run {path}" if path.is_dir() else str(path), spec)


def _coco(spec: BackboneSpec, task: str) -> Start:
    if task == "maskrcnn":
        tensors, name = coco_rcnn_tensors(spec)
        return _start(name, f"COCO weights of torchvision ({name})", spec, IMAGENET, tensors, coco_rcnn_heads())
    if task != "ssd":
        hint = "use --weights imagenet here, and --weights coco with vocdet train-ssd or train-maskrcnn"
        raise CheckpointError("the COCO weights are of a detector", hint=hint)
    tensors, name = coco_tensors(spec)
    return _start(name, f"COCO weights of torchvision ({name})", spec, HALF, tensors, coco_heads())


def _last(runs: Path, task: str, spec: BackboneSpec) -> Path:
    run = newest_run(runs, task)
    net = run_info(run).backbone
    if net.name != spec.name:
        raise CheckpointError(
            f"the last run is of {net.name}, not of {spec.name}",
            place=run,
            hint=f"use --net {net.name}, or name another run",
        )
    return run


def _from_file(path: Path, text: str, spec: BackboneSpec) -> Start:
    tensors, about = from_timm(read_tensors(path)), info_if_ours(path)
    if about is None:
        content = content_of(tensors, path)
        text += f", {content.name}" if content.name else ""
        tensors = with_eps(tensors) if is_coco_rcnn(tensors) else tensors
        return _start(str(path), text, spec, content.normalization, tensors, content.heads)
    anchors = getattr(about.model, "anchors", None)  # a classifier has none
    return _start(str(path), text, spec, (about.mean, about.std), tensors, Heads(about.labels, anchors))


def _start(
    source: str,
    text: str,
    spec: BackboneSpec,
    normalization: Normalization,
    tensors: Mapping[str, Tensor],
    heads: Heads | None,
) -> Start:
    fitting = with_its_tail(spec, tensors)
    if fitting != spec:
        text += ", and the reduced tail that they are of"
    return Start(source, text, fitting, normalization, tensors, heads)
