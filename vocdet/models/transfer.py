"""Weights from elsewhere: which tensor of a file goes where, and what became of each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from vocdet.errors import CheckpointError
from vocdet.models.backbone import C4_LAYER, BackboneSpec

Fate = Literal["loaded", "skipped", "fresh"]
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # RGB mean and std that torchvision's weights expect
ENOUGH = 0.5  # of a backbone's tensors must fit, or the file is for another net


@dataclass(frozen=True, slots=True)
class Tensors:
    """What became of one tensor."""

    name: str
    shape: tuple[int, ...]
    fate: Fate  # skipped: in the file, not used; fresh: in the model, not in the file
    why: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What was loaded from where, tensor by tensor."""

    source: str
    tensors: tuple[Tensors, ...]

    def count(self, fate: Fate) -> int:
        """How many tensors met this fate."""
        return sum(t.fate == fate for t in self.tensors)


def transfer(model: nn.Module, tensors: dict[str, Tensor], spec: BackboneSpec, *, source: str) -> Transfer:
    """Copy into `model` every tensor that fits by name and shape; the rest of the model stays as it is.

    Names may be ours, torchvision's MobileNets' or torchvision's SSD-lite's. A file of which less than half of the
    backbone fits is a `CheckpointError`: it is for another net.
    """
    ours = model.state_dict()
    renamed = our_names(tensors, spec)
    theirs = {renamed[name]: value for name, value in tensors.items()}
    rows = []
    for name, value in ours.items():
        given = theirs.get(name)
        if given is None:
            rows.append(Tensors(name, tuple(value.shape), "fresh", "not in the file"))
        elif given.shape != value.shape:
            rows.append(Tensors(name, tuple(value.shape), "fresh", f"the file's is {tuple(given.shape)}"))
        else:
            rows.append(Tensors(name, tuple(value.shape), "loaded"))
    rows += [Tensors(n, tuple(v.shape), "skipped", "no place for it") for n, v in theirs.items() if n not in ours]
    backbone = [r for r in rows if r.name.startswith("backbone.") and r.fate != "skipped"]
    fitting = sum(r.fate == "loaded" for r in backbone)
    if fitting < ENOUGH * len(backbone):
        raise CheckpointError(
            f"only {fitting} of {len(backbone)} tensors of {spec.name} are in it with the right shape",
            place=Path(source),
            hint="the weights are for another --net",
        )
    with torch.no_grad():
        for row in rows:
            if row.fate == "loaded":
                ours[row.name].copy_(theirs[row.name])
    return Transfer(source, tuple(rows))


def our_names(names: Iterable[str], spec: BackboneSpec) -> dict[str, str]:
    """The name in vocdet of every tensor of torchvision's MobileNets or SSD-lite; any other name stays."""
    plain = {name: name.removeprefix("module.") for name in names}
    # torchvision's SSD-lite cuts the backbone in two inside the tapped block, which shows in its first convolution
    halved = "backbone.features.0.0.0.weight" in plain.values()
    return {name: _our_name(short, C4_LAYER[spec.kind], halved) for name, short in plain.items()}


def _our_name(name: str, tap: int, halved: bool) -> str:
    if name.startswith("features."):
        return f"backbone.{name}"
    for theirs, ours in (
        ("backbone.extra.", "extras."),
        ("head.classification_head.module_list.", "class_head."),
        ("head.regression_head.module_list.", "box_head."),
    ):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    match = re.fullmatch(r"backbone\.features\.([01])\.(\d+)\.(.+)", name) if halved else None
    if match is None:
        return name
    layer, rest = int(match[2]) + (tap if match[1] == "1" else 0), match[3]
    # the expansion of the tapped block ends the first half without its block, the rest of the block begins the second
    inside = {("0", tap): "block.0.", ("1", tap): "block."}.get((match[1], layer), "")
    return f"backbone.features.{layer}.{inside}{rest}"


def imagenet_tensors(spec: BackboneSpec) -> tuple[dict[str, Tensor], str]:
    """torchvision's ImageNet weights of a net and their file's name, downloaded on the first use.

    Without a network, a `CheckpointError` says which file to fetch and where to put it.
    """
    from torchvision.models import MobileNet_V2_Weights, MobileNet_V3_Large_Weights, MobileNet_V3_Small_Weights

    known = {
        "mb2": MobileNet_V2_Weights.IMAGENET1K_V2,
        "mb3-small": MobileNet_V3_Small_Weights.IMAGENET1K_V1,
        "mb3-large": MobileNet_V3_Large_Weights.IMAGENET1K_V2,
    }
    if spec.kind not in known or spec.width != 1 or spec.reduced_tail:
        raise CheckpointError(
            f"torchvision has no ImageNet weights for {spec.name}",
            hint=f"use --net {', '.join(known)} for them, or --weights FILE or none",
        )
    url = known[spec.kind].url
    name = url.rsplit("/", 1)[1]
    try:
        return torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True, map_location="cpu"), name
    except Exception as error:  # the network fails in many ways
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise CheckpointError(
            f"the ImageNet weights could not be downloaded: {error}",
            hint=f"fetch {url} on another machine and put it into {folder}, or give the file to --weights",
        ) from error


def is_torchvision_name(path: Path) -> bool:
    """Whether a file is named as torchvision names its ImageNet weights, by a hash: mobilenet_v2-b0353104.pth.

    Its SSD-lite is not among them: that was trained with .5 and .5.
    """
    return re.fullmatch(r"mobilenet_[a-z0-9_]+-[0-9a-f]{8}\.pth", path.name) is not None
