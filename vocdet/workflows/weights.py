"""Where a training starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from vocdet.errors import CheckpointError, VocdetError
from vocdet.inference.predictor import BEST
from vocdet.models.backbone import BackboneSpec
from vocdet.models.checkpoint import SUFFIX, read_about, read_tensors
from vocdet.models.transfer import HALF, IMAGENET, imagenet_tensors, is_torchvision_name
from vocdet.workflows.runs import newest_run

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Start:
    """Weights to start from, and how the images must be normalised for them."""

    source: str
    text: str  # for people
    normalisation: Normalisation = HALF
    tensors: dict[str, Tensor] = field(default_factory=dict)  # empty: from scratch


def find_start(weights: str, spec: BackboneSpec, runs: Path) -> Start:
    """What `--weights` means.

    `auto`: the newest backbone run of the same net in `runs`, else from scratch. `none`: from scratch. `imagenet`:
    torchvision's weights. Else a run folder or a file; files named as torchvision's want ImageNet's mean and
    standard deviation, checkpoints know theirs, and others get .5 and .5, as TensorFlow's MobileNets are trained.
    """
    if weights == "none":
        return Start("none", "from scratch")
    if weights == "imagenet":
        tensors, name = imagenet_tensors(spec)
        return Start(name, f"ImageNet weights of torchvision ({name})", IMAGENET, tensors)
    if weights == "auto":
        try:
            run = newest_run(runs, "backbone", net=spec.name, reduced_tail=spec.reduced_tail)
        except CheckpointError:
            return Start("none", f"from scratch: there is no backbone run of {spec.name} in {runs}")
        return _from_file(run / BEST, f"the newest backbone run, {run}")
    path = Path(weights)
    hint = "give a file, a run folder, imagenet, none or auto"
    file = path / BEST if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError("there is no such file of weights", place=file, hint=hint)
    return _from_file(file, f"the run {path}" if path.is_dir() else str(path))


def _from_file(path: Path, text: str) -> Start:
    tensors = read_tensors(path)
    normalisation: Normalisation = IMAGENET if is_torchvision_name(path) else HALF
    if path.suffix == SUFFIX:
        try:
            about = read_about(path)
            normalisation = (about.mean, about.std)
        except VocdetError:
            pass  # weights of another program
    return Start(str(path), text, normalisation, tensors)
