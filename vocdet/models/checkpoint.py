"""Checkpoints: safetensors weights, and JSON that is enough to rebuild their model. No pickle.

Only the current `CHECKPOINT_FORMAT` is read: a file of an older or a newer one is refused with an error that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn

from vocdet.data.levels import Levels
from vocdet.data.tiles import Tiles
from vocdet.errors import CheckpointError
from vocdet.files import write_bytes
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.build import ModelSpec, build, task_of
from vocdet.models.folding import plain_state
from vocdet.wording import json_reason, reason

CHECKPOINT_FORMAT = 4  # older files describe their model differently and are refused
SUFFIX = ".safetensors"
_KEY = "vocdet"  # of the JSON in the file's metadata


class Start(msgspec.Struct, frozen=True):
    """The file of weights that a training started from."""

    name: str
    sha256: str


class ThresholdOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the thresholds of a detector come from."""

    rule: str = "f1"  # best F1; else as in "precision 0.95", "recall 0.9", "precision 0.9, recall 0.8"
    split: str = ""  # that they were chosen on: val, train, test, …
    images: int = 0  # of that split
    dataset: str = ""  # fingerprint of these images and their objects; "": not recorded
    unreached: tuple[str, ...] = ()  # labels that no threshold brings there: they have the one with the best F1
    fixed: tuple[str, ...] = ()  # labels whose threshold was given as a number


class CheckpointInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything in a checkpoint except its weights: the model, and the training behind it."""

    format: int = CHECKPOINT_FORMAT
    vocdet: str  # version that wrote it
    model: ModelSpec
    thresholds: tuple[float, ...] | None = None  # of a detector: the score from which a detection of each label counts
    thresholds_from: ThresholdOrigin | None = None  # None: not recorded
    calibration: tuple[tuple[float, float], ...] = ()  # score and share of correct detections, both rising; (): unknown
    levels: Levels | None = None  # of images with more than 8 bits a sample
    tiles: Tiles | None = None  # that it was trained on, and detects on; None: whole images
    dataset: str = ""  # fingerprint of the training images and objects
    recipe: dict[str, Any] = {}
    start: Start | None = None  # None: from scratch, or not recorded
    scores: dict[str, float] = {}  # of the validation

    def __post_init__(self) -> None:
        if self.thresholds is not None and len(self.thresholds) != len(self.labels):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")

    @property
    def task(self) -> str:
        """The model's family: a key of `vocdet.models.build.FAMILIES`."""
        return task_of(self.model)

    @property
    def backbone(self) -> BackboneSpec:
        """The model's backbone."""
        return self.model.backbone

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels, without background."""
        return self.model.labels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels; of a Mask R-CNN its shorter side, and the limit of the longer."""
        return self.model.input_size

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of RGB in [0, 1] that the model subtracts."""
        return self.model.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of RGB in [0, 1] that the model divides by."""
        return self.model.std

    def with_(
        self,
        *,
        scores: dict[str, float],
        thresholds: tuple[float, ...] | None = None,
        thresholds_from: ThresholdOrigin | None = None,
    ) -> CheckpointInfo:
        """The same model after a validation; None leaves the thresholds unchanged."""
        if thresholds is None:
            return msgspec.structs.replace(self, scores=scores)
        return msgspec.structs.replace(
            self, scores=scores, thresholds=thresholds, thresholds_from=thresholds_from, calibration=()
        )


class _Format(msgspec.Struct, frozen=True):
    format: int


def save_checkpoint(path: Path, model: nn.Module, info: CheckpointInfo) -> None:
    """Write weights and description, whole or not at all."""
    write_bytes(path, packed(plain_state(model), {_KEY: msgspec.json.encode(info).decode()}))


def packed(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The content of a safetensors file: byte for byte that of `safetensors.torch.save`, in a quarter of its time."""
    arrays = {key: value.detach().cpu().contiguous().numpy() for key, value in tensors.items()}
    return save(arrays, metadata=metadata)


def replace_info(path: Path, info: CheckpointInfo) -> None:
    """Write another description into a checkpoint, whole or not at all; its weights stay bit for bit."""
    _, tensors = _open(path, weights=True)
    write_bytes(path, packed(tensors, {_KEY: msgspec.json.encode(info).decode()}))


def read_info(path: Path) -> CheckpointInfo:
    """A checkpoint's description, without reading its weights."""
    return _open(path, weights=False)[0]


def info_if_ours(path: Path) -> CheckpointInfo | None:
    """The description of a weights file that is a checkpoint of vocdet; None for any other file."""
    if path.suffix != SUFFIX:
        return None
    text, _ = _read_tensors(path, weights=False)
    return None if text is None else _decoded_info(path, text)


def load_checkpoint(path: Path) -> tuple[nn.Module, CheckpointInfo]:
    """The model, rebuilt from the file alone, in eval mode on the CPU.

    A missing, foreign or damaged file is a `CheckpointError`, and so is one of another `CHECKPOINT_FORMAT`.
    """
    info, tensors = _open(path, weights=True)
    model = build(info.model)
    expected = model.state_dict()
    mismatched = [key for key in expected.keys() | tensors.keys() if _shape(expected, key) != _shape(tensors, key)]
    if mismatched:
        problem = f"its weights do not fit the model in its description ({min(mismatched)!r})"
        raise CheckpointError(problem, place=path, hint="the file is damaged")
    model.load_state_dict(_finite(path, tensors))
    return model.eval(), info


def _finite(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, if all are finite: a detector with a NaN detects nothing, without a message."""
    bad = [key for key, value in tensors.items() if not _is_finite(path, key, value)]
    if bad:
        hint = "the file is damaged, or its training failed"
        raise CheckpointError(f"holds weights that are not finite ({min(bad)!r})", place=path, hint=hint)
    return tensors


def _is_finite(path: Path, key: str, value: Tensor) -> bool:
    try:
        return bool(value.isfinite().all())
    except (NotImplementedError, RuntimeError) as error:  # quantized, sparse, 8-bit floats, without content
        hint = "save the weights as 32-bit floats"
        raise CheckpointError(f"{key!r} is no plain tensor of floats", place=path, hint=hint) from error


def _shape(tensors: dict[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(tensors[key].shape) if key in tensors else None


def _open(path: Path, *, weights: bool) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    if not path.is_file():
        hint = "train a detector with `vocdet.train_detector(dataset)`"
        raise CheckpointError("no such checkpoint", place=path, hint=hint)
    text, tensors = _read_tensors(path, weights=weights)
    if text is None:
        hint = f"it holds only weights: start a training from it with `weights={str(path)!r}`"
        raise CheckpointError("is not a checkpoint of vocdet", place=path, hint=hint)
    return _decoded_info(path, text), tensors


def _read_tensors(path: Path, *, weights: bool) -> tuple[str | None, dict[str, Tensor]]:
    """The JSON of a checkpoint (None in foreign files), and on request its weights."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            return text, {key: file.get_tensor(key) for key in file.keys()} if weights else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        hint = "the file is damaged or not a checkpoint"
        raise CheckpointError(f"cannot be read: {error}", place=path, hint=hint) from error


def _decoded_info(path: Path, text: str) -> CheckpointInfo:
    try:
        number = msgspec.json.decode(text, type=_Format).format
        if number > CHECKPOINT_FORMAT:  # before the rest, which a newer format may have changed
            hint = "update vocdet"
            raise CheckpointError(f"has format {number}, newer than this vocdet", place=path, hint=hint)
        if number < CHECKPOINT_FORMAT:
            hint = "train it again, or use the vocdet that wrote it"
            raise CheckpointError(f"has format {number}, which this vocdet no longer reads", place=path, hint=hint)
        return msgspec.json.decode(text, type=CheckpointInfo)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise CheckpointError(
            f"has an invalid description: {json_reason(error)}", place=path, hint="the file is damaged"
        ) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of any weights file: .safetensors, or a .pth read without running code from it."""
    if not path.is_file():
        raise CheckpointError("no such weights file", place=path)
    _check_content(path)
    try:
        if path.suffix == SUFFIX:
            with safe_open(path, framework="pt") as file:
                return _finite(path, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch's readers raise many kinds on broken or unsafe files
        unsafe = isinstance(error, UnpicklingError) and "GLOBAL" in str(error)
        cause = "it holds Python objects, which could run code" if unsafe else "it is damaged or not a weights file"
        hint = "give a complete .safetensors file, or a state dict written by torch.save"
        raise CheckpointError(f"cannot be read as weights: {cause}", place=path, hint=hint) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    items = content.items() if isinstance(content, dict) else ()
    tensors = {key: value for key, value in items if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError("holds no named tensors", place=path, hint="save model.state_dict()")
    return _finite(path, tensors)


def _check_content(path: Path) -> None:
    """Refuse what a failed download leaves in place of weights."""
    try:
        with path.open("rb") as file:
            start = file.read(256).lstrip().lower()
    except OSError as error:
        raise CheckpointError(f"cannot be read: {reason(error)}", place=path, hint="check its permissions") from error
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        hint = "download the file itself: the link led to a page about it"
        raise CheckpointError("is a web page, not weights", place=path, hint=hint)
    if not start:
        raise CheckpointError("is empty", place=path, hint="download or copy it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError("is only a Git LFS pointer", place=path, hint="run git lfs pull in its repository")
