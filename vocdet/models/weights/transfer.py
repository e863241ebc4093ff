"""Copy weights into a model, with a report on every tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vocdet.errors import CheckpointError
from vocdet.models.backbones.backbone import C4_LAYER, NETWORKS, BackboneSpec
from vocdet.models.backbones.resnet import make_backbone
from vocdet.models.classifier import Classifier
from vocdet.models.rcnn.model import MaskRcnn
from vocdet.models.ssd.model import SsdLite
from vocdet.models.weights.heads import Heads, carried
from vocdet.models.weights.timm import is_timm
from vocdet.recipes.nets import RESNET

Fate = Literal["loaded", "resized", "skipped", "fresh"]
MIN_FITTING = 0.5  # share of a backbone's tensors; with fewer the file is for another net
WIDTHS = (1.0, 0.75, 0.5, 0.35, 0.25)  # the published ones


@dataclass(frozen=True, slots=True)
class TensorFate:
    """The fate of one tensor."""

    name: str
    shape: tuple[int, ...]
    fate: Fate  # resized: some rows are from the file; skipped: only in the file; fresh: not from the file
    why: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    """The result of a transfer, tensor by tensor."""

    source: str
    tensors: tuple[TensorFate, ...]
    labels: tuple[str, ...] = ()  # of the model, if the labels of the file are known
    common: tuple[str, ...] = ()  # labels of the model that the file has, too

    def count(self, fate: Fate) -> int:
        """The number of tensors with this fate."""
        return sum(t.fate == fate for t in self.tensors)


def transfer(
    model: Classifier | SsdLite | MaskRcnn,
    tensors: Mapping[str, Tensor],
    spec: BackboneSpec,
    *,
    source: str,
    heads: Heads | None = None,
) -> Transfer:
    """Copy into `model` every tensor that fits by name and shape; the rest of the model is unchanged.

    Names may be ours, or those of torchvision's MobileNets, ResNet-50, SSD-lite or Mask R-CNN. With `heads`, which
    describe what the file's heads were made for, the last layers are copied label by label. A file with less than half
    of the backbone's tensors is for another net: a `CheckpointError`.
    """
    ours = model.state_dict()
    our_heads = Heads(model.spec.labels, getattr(model.spec, "anchors", None))
    renamed = our_names(tensors, spec)
    theirs = {renamed[name]: value for name, value in tensors.items()}
    backbone = [name for name in ours if name.startswith("backbone.") and not name.startswith("backbone.fpn.")]
    fitting = sum(name in theirs and theirs[name].shape == ours[name].shape for name in backbone)
    if fitting < MIN_FITTING * len(backbone):
        raise CheckpointError(
            f"contains only {fitting} of {len(backbone)} tensors of {spec.name} with the right shape",
            place=Path(source),
            hint=_which_net(tensors),
        )
    rows, known = [], set()
    for name, value in ours.items():
        taken = carried(name, theirs[name], value, heads, our_heads) if name in theirs else None
        if taken is None or taken.tensor is None:
            rows.append(TensorFate(name, tuple(value.shape), "fresh", taken.why if taken else "not in the file"))
            continue
        known |= set(taken.labels)
        rows.append(
            TensorFate(name, tuple(value.shape), "loaded" if taken.tensor is theirs[name] else "resized", taken.why)
        )
        with torch.no_grad():
            value.copy_(taken.tensor)
    rows += [TensorFate(n, tuple(v.shape), "skipped", "no place for it") for n, v in theirs.items() if n not in ours]
    labels = (our_heads.labels or ()) if heads and heads.labels else ()
    return Transfer(source, tuple(rows), labels, tuple(label for label in labels if label in known))


def with_its_tail(spec: BackboneSpec, tensors: Mapping[str, Tensor]) -> BackboneSpec:
    """The backbone with a reduced tail, if that fits the tensors better."""
    if spec.reduced_tail or not spec.kind.startswith("mb3"):
        return spec
    reduced = replace(spec, reduced_tail=True)
    return reduced if _fit(tensors, reduced) > _fit(tensors, spec) else spec


def fits(tensors: Mapping[str, Tensor], spec: BackboneSpec) -> bool:
    """Whether all tensors of a backbone are among `tensors`."""
    return _fit(tensors, spec) == 1


def net_of(tensors: Mapping[str, Tensor]) -> BackboneSpec | None:
    """The net whose tensors these are, if it is known."""
    if fits(tensors, BackboneSpec(RESNET)):
        return BackboneSpec(RESNET)
    if any(name.startswith("backbone.features.") for name in our_names(tensors, BackboneSpec("mb1")).values()):
        for kind, width, tail in product(NETWORKS, WIDTHS, (False, True)):
            spec = BackboneSpec(kind, width, tail and kind.startswith("mb3"))
            if fits(tensors, spec):
                return spec
    return None


def _which_net(tensors: Mapping[str, Tensor]) -> str:
    """A hint that names the net of the tensors, if it is known."""
    if spec := net_of(tensors):
        return f'they fit `net="{spec.name}"`' + (" with `reduced_tail=True`" if spec.reduced_tail else "")
    if is_timm(tensors):
        return 'timm weights are supported for MobileNetV1 only: use `weights="imagenet"` for other nets'
    parts = ("backbone.features.", "backbone.body.")
    if any(
        name.startswith(parts) for kind in ("mb1", RESNET) for name in our_names(tensors, BackboneSpec(kind)).values()
    ):
        return "the weights are for another net: choose it with `net`"
    return 'they fit no net of vocdet, so another program may have written them: use `weights="imagenet"`, or a run'


def _fit(tensors: Mapping[str, Tensor], spec: BackboneSpec) -> float:
    """The share of a backbone's tensors that are among `tensors`; counts of batches, which old files lack, aside."""
    renamed = our_names(tensors, spec)
    shapes = {renamed[name]: tuple(value.shape) for name, value in tensors.items()}
    wanted = {name: shape for name, shape in _backbone_shapes(spec).items() if not name.endswith("num_batches_tracked")}
    return sum(shapes.get(name) == shape for name, shape in wanted.items()) / len(wanted)


@lru_cache(maxsize=64)
def _backbone_shapes(spec: BackboneSpec) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):  # nothing is allocated or drawn
        return {f"backbone.{name}": tuple(value.shape) for name, value in make_backbone(spec).state_dict().items()}


def our_names(names: Iterable[str], spec: BackboneSpec) -> dict[str, str]:
    """The name in vocdet of every tensor of torchvision's networks; other names are unchanged."""
    plain = {name: name.removeprefix("module.") for name in names}
    if spec.kind == RESNET:
        return {name: _resnet_name(short) for name, short in plain.items()}
    # torchvision's SSD-lite splits the backbone inside the tapped block, visible in the name of the first convolution
    halved = "backbone.features.0.0.0.weight" in plain.values()
    return {name: _our_name(short, C4_LAYER[spec.kind], halved) for name, short in plain.items()}


def _resnet_name(name: str) -> str:
    """A name of ResNet-50, or of a Mask R-CNN with the layer names of torchvision 0.13 and before."""
    if re.match(r"(?:conv1|bn1|layer[1-4])\.", name):
        return f"backbone.body.{name}"
    name = re.sub(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", name)
    name = re.sub(r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", name)
    mask = re.fullmatch(r"roi_heads\.mask_head\.mask_fcn([1-4])\.(weight|bias)", name)
    return f"roi_heads.mask_head.{int(mask[1]) - 1}.0.{mask[2]}" if mask else name


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
    # the expansion of the tapped block ends the first half, the rest of the block starts the second
    inside = {("0", tap): "block.0.", ("1", tap): "block."}.get((match[1], layer), "")
    return f"backbone.features.{layer}.{inside}{rest}"
