"""Checkpoints that rebuild their model from themselves: safetensors weights, and JSON about them. No pickle."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vocdet.errors import CheckpointError
from vocdet.files import write_bytes
from vocdet.models.backbones.backbone import BackboneSpec, Classifier
from vocdet.models.folding import plain_state
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.models.ssd.anchors import Anchors
from vocdet.models.ssd.model import EXTRAS, SsdLite, SsdSpec
from vocdet.recipes.schema import FEWEST, Extras, LastMap
from vocdet.wording import reason

FORMAT = 3  # 1: without extras and last_map; 2: without rcnn
LARGEST = 4096  # pixels of an input's side: a damaged file must not ask for all the memory there is
SUFFIX = ".safetensors"
MAPS = 2 + len(EXTRAS)
TASKS = ("ssd", "backbone", "maskrcnn")
WIDEST = {
    "channels": 512,
    "hidden": 2048,
    "candidates": 8192,
    "proposals": 8192,
}  # of a Mask R-CNN, for the same reason
_KEY = "vocdet"  # of the JSON in the file's metadata


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a checkpoint says of itself besides its weights."""

    format: int = FORMAT
    vocdet: str
    task: str  # one of TASKS
    backbone: BackboneSpec
    labels: tuple[str, ...]
    size: tuple[int, int]  # of the input, pixels: height and width; maskrcnn: its shorter side, and its longer at most
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    anchors: Anchors | None = None  # ssd
    extras: Extras = "separable"  # ssd
    last_map: LastMap = "conv"  # ssd
    rcnn: RcnnSpec | None = None  # maskrcnn
    thresholds: tuple[float, ...] | None = None  # of a detector: a label's score from which a detection is shown
    context: float | None = None  # backbone: of the crops
    dataset: str = ""  # fingerprint of the training images and objects
    recipe: dict[str, Any] = {}
    scores: dict[str, float] = {}  # of the validation

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"there is no task {self.task!r}")
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ValueError("no labels, or one twice")
        if not all(1 <= side <= LARGEST for side in self.size):
            raise ValueError(f"an input of {self.size[0]}x{self.size[1]} pixels")
        if not all(self.std):
            raise ValueError("a standard deviation of 0")
        if self.task == "ssd" and (self.anchors is None or len(self.anchors.shapes) != MAPS):
            raise ValueError(f"a detector without anchors for its {MAPS} maps")
        if self.task == "maskrcnn":
            self._check_rcnn()
        if self.thresholds is not None and len(self.thresholds) != len(self.labels):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")

    def _check_rcnn(self) -> None:
        spec = self.rcnn
        if spec is None:
            raise ValueError("a Mask R-CNN without what it is like")
        said = (spec.backbone, spec.labels, (spec.size, spec.longest), spec.mean, spec.std)
        if said != (self.backbone, self.labels, self.size, self.mean, self.std):
            raise ValueError("a Mask R-CNN of which two different things are said")
        if spec.channels < FEWEST:
            raise ValueError(f"{spec.channels} channels")
        for name, most in WIDEST.items():
            if getattr(spec, name) > most:
                raise ValueError(f"{getattr(spec, name)} {name}")

    def with_(self, *, scores: dict[str, float], thresholds: tuple[float, ...] | None = None) -> About:
        """The same model after a validation; its thresholds stay where no others are given."""
        return msgspec.structs.replace(self, scores=scores, thresholds=thresholds or self.thresholds)


class _Format(msgspec.Struct, frozen=True):
    format: int


def build(about: About) -> nn.Module:
    """The model that a checkpoint describes, with fresh weights."""
    if about.task == "backbone":
        return Classifier(about.backbone, len(about.labels))
    if about.task == "maskrcnn":
        assert about.rcnn is not None  # About checks it
        return MaskRcnn(about.rcnn)
    assert about.anchors is not None
    spec = SsdSpec(
        about.backbone, about.labels, about.size, about.anchors, about.mean, about.std, about.extras, about.last_map
    )
    return SsdLite(spec)


def save_checkpoint(path: Path, model: nn.Module, about: About) -> None:
    """Write weights and what they are, whole or not at all."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in plain_state(model).items()}
    write_bytes(path, save(tensors, metadata={_KEY: msgspec.json.encode(about).decode()}))


def read_about(path: Path) -> About:
    """What a checkpoint says of itself, without reading its weights."""
    return _open(path, weights=False)[0]


def about_if_any(path: Path) -> About | None:
    """What a file of weights says of itself, if it is a checkpoint of vocdet; None if it is any other file."""
    if path.suffix != SUFFIX:
        return None
    text, _ = _read(path, weights=False)
    return None if text is None else _decoded(path, text)


def load_checkpoint(path: Path) -> tuple[nn.Module, About]:
    """The model, rebuilt from the file alone, in eval mode on the CPU."""
    about, tensors = _open(path, weights=True)
    model = build(about)
    wanted = model.state_dict()
    odd = [key for key in wanted.keys() | tensors.keys() if _shape(wanted, key) != _shape(tensors, key)]
    if odd:
        raise CheckpointError(
            f"weights do not fit the network they claim to be ({min(odd)!r})", place=path, hint="the file is damaged"
        )
    model.load_state_dict(_finite(path, tensors))
    return model.eval(), about


def _finite(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, if all their numbers are: a detector with others finds nothing and does not say why."""
    odd = [key for key, value in tensors.items() if not value.isfinite().all()]
    if odd:
        hint = "the file is damaged, or of a training that failed"
        raise CheckpointError(f"holds weights that are not finite ({min(odd)!r})", place=path, hint=hint)
    return tensors


def _shape(tensors: dict[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(tensors[key].shape) if key in tensors else None


def _open(path: Path, *, weights: bool) -> tuple[About, dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError("there is no such checkpoint", place=path, hint="run vocdet train-ssd")
    text, tensors = _read(path, weights=weights)
    if text is None:
        hint = "it holds weights alone: give it to --weights"
        raise CheckpointError("is not a checkpoint of vocdet", place=path, hint=hint)
    return _decoded(path, text), tensors


def _read(path: Path, *, weights: bool) -> tuple[str | None, dict[str, Tensor]]:
    """The JSON of a checkpoint, and its weights if they are wanted."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            return text, {key: file.get_tensor(key) for key in file.keys()} if weights else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"cannot be read: {error}", place=path, hint="the file is damaged or no checkpoint"
        ) from error


def _decoded(path: Path, text: str) -> About:
    try:
        number = msgspec.json.decode(text, type=_Format).format
        if number > FORMAT:  # before the rest, which a newer format may have changed
            raise CheckpointError(f"has format {number}, newer than this vocdet", place=path, hint="update vocdet")
        return msgspec.json.decode(text, type=About)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise CheckpointError(f"describes itself wrongly: {error}", place=path, hint="the file is damaged") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of any weights file: .safetensors, or a .pth read without running code from it."""
    if not path.is_file():
        raise CheckpointError("there is no such file of weights", place=path)
    _check_kind(path)
    try:
        if path.suffix == SUFFIX:
            with safe_open(path, framework="pt") as file:
                return _finite(path, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch's readers raise many kinds on broken or unsafe files
        unsafe = isinstance(error, UnpicklingError) and "GLOBAL" in str(error)
        reason = "it holds Python objects, which could run code" if unsafe else "it is damaged or of another kind"
        hint = "it must be a .safetensors file, or a state dict saved by torch.save, and downloaded or copied whole"
        raise CheckpointError(f"cannot be read as weights: {reason}", place=path, hint=hint) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise CheckpointError("holds no named tensors", place=path, hint="save model.state_dict()")
    return _finite(path, tensors)


def _check_kind(path: Path) -> None:
    """What is often taken for weights after a download that went wrong."""
    try:
        with path.open("rb") as file:
            start = file.read(256).lstrip().lower()
    except OSError as error:
        raise CheckpointError(f"cannot be read: {reason(error)}", place=path, hint="see who may read it") from error
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            "is a web page, not weights", place=path, hint="download the file itself: the link led to a page about it"
        )
    if not start:
        raise CheckpointError("is empty", place=path, hint="download or copy it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError("is only a pointer of Git LFS", place=path, hint="run git lfs pull where it comes from")
