"""What an exported file says about its model: texts under keys that begin with vocdet and a dot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from vocdet.data.levels import Levels
from vocdet.data.tiles import Tiles
from vocdet.errors import CheckpointError
from vocdet.files import is_file
from vocdet.wording import json_reason

REPORT = "export.json"  # of an export folder
KEY_PREFIX = "vocdet."
EXPORT_FORMAT = 1

ExportPrecision = Literal["fp32", "int8"]
# A program that prepares the image for the file, and may select the detections; decoder: the one beside the file.
ExportTarget = Literal["", "tensorrt", "tensorrt-nms", "x-anylabeling", "decoder"]


def is_exported(path: Path) -> bool:
    """Whether a path names an exported model: its file, or its folder."""
    return (
        is_file(path / REPORT)
        or path.suffix == ".onnx"
        or (path.suffix == ".xml" and is_file(path.with_suffix(".bin")))
    )


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """The description of an exported model; it travels inside the file."""

    format: int = EXPORT_FORMAT
    version: str  # of vocdet
    task: str  # ssd, maskrcnn or backbone, a classifier
    net: str
    labels: tuple[str, ...]
    size: tuple[int, int]  # pixels: height and width; of a Mask R-CNN its shorter side, and the limit of the longer
    mean: tuple[float, float, float]  # of RGB in [0, 1]; the graph subtracts it
    std: tuple[float, float, float]
    thresholds: tuple[float, ...] = ()  # of a detector: the score from which a detection of each label counts
    levels: Levels | None = None  # of images with more than 8 bits a sample
    tiles: Tiles | None = None  # of a model that was trained on tiles: what it detects on
    resized: bool = False  # whether the size is another than that of the training
    raw: bool = False  # whether decoding is left out
    average: bool = False  # whether boxes are means of those that overlap: what the decoder beside the file must know
    precision: ExportPrecision = "fp32"
    target: ExportTarget = ""  # "": any program, and the file takes images of any size
    metrics: dict[str, float] = {}  # of the validation in training
    dataset: str = ""  # fingerprint of the training data
    checkpoint: str = ""  # digest of the file that was exported

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ValueError("no labels, or a duplicate label")
        if self.thresholds and len(self.thresholds) != len(self.labels):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")
        if not all(1 <= side <= 8192 for side in self.size):
            raise ValueError(f"an input size of {self.size[0]}x{self.size[1]} pixels")

    def texts(self) -> dict[str, str]:
        """The values as texts, those that are no texts as JSON, by key."""
        values = msgspec.to_builtins(self)
        return {
            f"{KEY_PREFIX}{name}": value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in values.items()
        }


_LAST = "checkpoint"  # of the entries in a file
_TEXTS = frozenset(("version", "task", "net", "precision", "target", "dataset", "checkpoint"))


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """An exported model as it was read: opened again, it need not be read again."""

    path: Path
    description: Description
    data: bytes = b""  # of an ONNX file


def described(texts: Mapping[str, str], path: Path) -> Description:
    """The description from the texts of a file; without one, or with an invalid one, a `CheckpointError`."""
    ours = {key.removeprefix(KEY_PREFIX): text for key, text in texts.items() if key.startswith(KEY_PREFIX)}
    if not ours:
        hint = "give a file that `vocdet.export(run)` wrote"
        raise CheckpointError("is no export of vocdet: it does not name its labels", place=path, hint=hint)
    try:
        values = {key: text if key in _TEXTS else msgspec.json.decode(text) for key, text in ours.items()}
        number = values.get("format")
        if isinstance(number, int) and number > EXPORT_FORMAT:  # before the rest, which a newer format may have changed
            raise CheckpointError(f"has format {number}, newer than this vocdet", place=path, hint="update vocdet")
        if _LAST not in values:  # the file ends between two entries
            raise CheckpointError("is incomplete", place=path, hint="copy or export it again")
        return msgspec.convert(values, Description)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        problem = f"has an invalid description: {json_reason(error)}"
        raise CheckpointError(problem, place=path, hint="the file is damaged: export it again") from error
