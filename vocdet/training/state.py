"""The complete state of a training in one file, from which it resumes exactly. No pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vocdet.errors import CheckpointError
from vocdet.files import write_bytes
from vocdet.models.checkpoint import SUFFIX, CheckpointInfo, packed
from vocdet.training.loop import Progress
from vocdet.wording import json_reason

STATE = f"state{SUFFIX}"
FINAL_STATE = f"final-state{SUFFIX}"  # of a finished training, from which it can be prolonged
STATE_FORMAT = 1
_STATE_KEY = "vocdet-state"  # of the JSON in the file's metadata


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contents of a state besides its tensors."""

    format: int = STATE_FORMAT
    vocdet: str
    about: CheckpointInfo  # the model, with the scores of its newest validation
    recipe: dict[str, Any]
    asked: dict[str, Any] = {}  # the recipe before it was adjusted to the data and the machine
    given: dict[str, Any]  # the other arguments: where its data is
    progress: Progress
    best_epoch: int = 0  # 0: none was validated
    rows: tuple[dict[str, float | int], ...] = ()  # of the metrics, one per epoch
    shards: int = 1
    threads: int = 1
    processes: int = 1
    schedules: tuple[dict[str, Any], ...] = ()  # that are finished: their length, first and last epoch


def save_state(path: Path, tensors: dict[str, Tensor], record: Record) -> None:
    """Write the state atomically: on failure the old file remains."""
    write_bytes(path, packed(tensors, {_STATE_KEY: msgspec.json.encode(record).decode()}))


def read_record(path: Path) -> Record:
    """The record of a state, without its tensors."""
    return _open_state(path, tensors=False)[0]


def read_state(path: Path) -> tuple[Record, dict[str, Tensor]]:
    """The complete state; a file that is damaged or not a state is a `CheckpointError`."""
    return _open_state(path, tensors=True)


def _open_state(path: Path, *, tensors: bool) -> tuple[Record, dict[str, Tensor]]:
    if not path.is_file():
        problem = "holds no state of a training"
        raise CheckpointError(problem, place=path.parent, hint="name the folder of a run")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_STATE_KEY)
            values = {key: file.get_tensor(key) for key in file.keys()} if tensors else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        problem = f"cannot be read: {error}"
        raise CheckpointError(
            problem, place=path, hint=f"the file is damaged: start a new run with `weights={str(path.parent)!r}`"
        ) from error
    if text is None:
        raise CheckpointError("is not the state of a training", place=path, hint="name the folder of a run")
    try:
        return msgspec.json.decode(text, type=Record), values
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        problem = f"has an invalid description: {json_reason(error)}"
        raise CheckpointError(problem, place=path, hint="it is damaged, or from another version of vocdet") from error
