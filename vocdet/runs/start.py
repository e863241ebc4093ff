"""The weights that a training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from torch import Tensor

from vocdet import __version__
from vocdet.data.dataset import Dataset
from vocdet.fetching.download import sha256_of
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.backbones.resnet import with_eps
from vocdet.models.checkpoint import CheckpointInfo, Start, info_if_ours, read_tensors
from vocdet.models.classifier import Classifier
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.rcnn.model import MaskRcnn
from vocdet.models.ssd.anchors import Anchors
from vocdet.models.ssd.model import SsdLite
from vocdet.models.weights.heads import Heads
from vocdet.models.weights.published import HALF, Normalization, content_of, is_coco_rcnn
from vocdet.models.weights.timm import from_timm
from vocdet.models.weights.transfer import Transfer, transfer, with_its_tail
from vocdet.recipes.schema import Recipe

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
    name: str = ""  # in records; "": from scratch
    sha256: str = ""  # of the file
    notes: tuple[str, ...] = ()  # about files that are not used
    warning: str = ""  # from scratch because nothing was found, and how to change that

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
    notes: tuple[str, ...] = ()  # about weights that are not used
    warning: str = ""  # from scratch because no weights were found, and how to change that


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
        start=Start(start.name, start.sha256) if start.name else None,
    )
    same_anchors = start.anchors is not None and getattr(model.spec, "anchors", None) is start.anchors
    return InitialModel(
        model, info, start.text + (", with their anchors" if same_anchors else ""), transferred, not same_anchors,
        start.notes, start.warning,
    )  # fmt: skip


def file_weights(path: Path, text: str, spec: BackboneSpec, *, name: str = "", sha256: str = "") -> StartingWeights:
    """The weights in a file: a checkpoint of vocdet, or tensors of torchvision's or timm's.

    `text` names them for people, and `name` in records: the path, unless it is given; `sha256` is that of the file, if
    it is known. An unusable file is a `CheckpointError`.
    """
    tensors, info = from_timm(read_tensors(path)), info_if_ours(path)
    sha256 = sha256 or sha256_of(path)
    start = StartingWeights(str(path), text, spec, tensors=tensors, name=name or str(path), sha256=sha256)
    if info is not None:
        heads = Heads(info.labels, getattr(info.model, "anchors", None))  # a classifier has no anchors
        return _with_tail(replace(start, normalization=(info.mean, info.std), heads=heads))
    content = content_of(tensors, path)
    tensors = with_eps(tensors) if is_coco_rcnn(tensors) else tensors
    if not name and content.name:
        start = replace(start, text=f"{text}, {content.name}")
    return _with_tail(replace(start, normalization=content.normalization, tensors=tensors, heads=content.heads))


def with_heads_of(detector: StartingWeights, backbone: StartingWeights) -> StartingWeights:
    """The weights of a backbone, with the neck and the heads of a detector on the same net."""
    rest = {name: value for name, value in detector.tensors.items() if not name.startswith("backbone.")}
    own = {name: value for name, value in backbone.tensors.items() if name.startswith("backbone.")}
    text = f"{backbone.text}, and the rest of {detector.name}"
    return replace(backbone, text=text, tensors=own | rest, heads=detector.heads)


def _with_tail(start: StartingWeights) -> StartingWeights:
    """The same weights; their backbone has a reduced tail if theirs is reduced."""
    fitting = with_its_tail(start.backbone, start.tensors)
    if fitting == start.backbone:
        return start
    return replace(start, backbone=fitting, text=f"{start.text}, which have a reduced tail")
