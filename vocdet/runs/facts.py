"""Read the facts about runs from their folders, without importing torch."""

from __future__ import annotations

import csv
import math
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vocdet.errors import ArgumentError, RunError
from vocdet.machine import is_running
from vocdet.outputs import BEST, LAST
from vocdet.wording import reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
Scores = dict[str, float]

RUN_FILES = ("recipe.toml", "recipe.json", "run.json", "metrics.csv", BEST, LAST,
             "state.safetensors")  # fmt: skip
LARGEST_NUMBER = 1e15  # of a recipe
LARGEST_HEADER = 100_000_000  # bytes, the limit of safetensors


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts in the files of a run; unknown texts are empty, unknown numbers 0."""

    folder: Path
    task: str = ""  # ssd, backbone, maskrcnn; "": not a run
    net: str = ""
    size: int = 0
    labels: tuple[str, ...] = ()
    epochs: int = 0  # completed
    planned: int = 0  # epochs; 0: a time or a number of steps
    minutes: float = 0.0
    seconds: float = 0.0  # of training
    best_epoch: int = 0
    scores: Scores = field(default_factory=dict)  # validation of the best checkpoint
    by_label: Scores = field(default_factory=dict)  # in the same epoch: AP50 of a detector, accuracy of a classifier
    started: str = ""  # ISO
    state: str = ""  # running, running?, finished, interrupted, failed, killed
    pid: int = 0  # of the process that trained it last
    why: str = ""  # the error of a failed run
    resumable: bool = False
    dataset: str = ""  # fingerprint of the training data
    data: dict[str, Any] = field(default_factory=dict)  # more facts about the dataset
    recipe: dict[str, Any] = field(default_factory=dict)  # section.field: value
    environment: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()  # files that cannot be read


class _Model(msgspec.Struct):
    """The fields of any model spec that are needed here."""

    task: str
    labels: tuple[str, ...] = ()
    size: int | tuple[int, int] = 0
    backbone: dict[str, Any] = {}

    @property
    def side(self) -> int:
        """The height or the shorter side of the input, pixels."""
        return self.size if isinstance(self.size, int) else self.size[0]


class _Checkpoint(msgspec.Struct):
    """The fields of a checkpoint's description that are needed here."""

    model: _Model
    dataset: str = ""
    recipe: dict[str, Any] = {}
    scores: Scores = {}


class _State(msgspec.Struct):
    about: _Checkpoint


class _Status(msgspec.Struct):
    """The status of a run, as the journal writes it."""

    state: str = ""
    task: str = ""
    dataset: dict[str, Any] = {}
    started: str = ""
    why: str = ""
    host: str = ""
    pid: int = 0
    started_at: float = 0.0
    schedules: list[dict[str, Any]] = []  # that are finished, if the run continued with another


def list_runs(folder: Path, *, sort: str = "date") -> list[RunFacts]:
    """The runs in a folder, or the folder itself if it is a run; other folders come last, without a task.

    `sort` is date (newest first), name, epochs, seconds, or a metric such as ap50 (best first; a loss: lowest first).
    A missing folder is a `RunError`, a metric that no run has an `ArgumentError`.
    """
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        hint = "give the folder of the runs, or train first: `vocdet.train_detector(dataset)`"
        raise RunError(f"cannot be read: {reason(error)}", place=folder, hint=hint) from error
    runs = [read_run(path) for path in ([folder] if is_run(folder) else inside)]
    return [*_sorted([run for run in runs if run.task], sort), *(run for run in runs if not run.task)]


def is_run(folder: Path) -> bool:
    """Whether a folder holds any file of a run."""
    return any((folder / name).is_file() for name in RUN_FILES)


def read_run(folder: Path) -> RunFacts:
    """The facts in a run's files; damaged files are listed in `problems`, and nothing is raised."""
    problems: list[str] = []
    status = _json_file(folder / "run.json", _Status, problems) or _Status()
    info = _info(folder, problems)
    recipe = _recipe_of(folder, problems) or (info.recipe if info else {})
    environment: dict[str, Any] = _json_file(folder / "environment.json", dict[str, Any], problems) or {}
    rows, labels = table_rows(folder / "metrics.csv", problems), table_rows(folder / "labels.csv", problems)
    flat, last, best = flatten(recipe), rows[-1] if rows else {}, _best_row(rows)
    validated = {name[4:]: value for name, value in best.items() if name.startswith("val_")}
    by_label = next((row for row in labels if best and row.get("epoch") == best.get("epoch")), {})
    state, task = _state_of(folder, status), status.task or (info.model.task if info else str(recipe.get("task", "")))
    return RunFacts(
        folder=folder,
        task=task or _recipe_task(flat),
        net=str(flat.get("model.net", "") or (_net_name(info.model.backbone) if info else "")),
        size=_integer(flat.get("model.size")) or (info.model.side if info else 0),
        labels=_as_texts(status.dataset.get("labels")) or (info.model.labels if info else ()),
        epochs=_integer(last.get("epoch")),
        planned=0 if flat.get("train.minutes") or flat.get("train.max_steps") else _integer(flat.get("train.epochs")),
        minutes=_minutes(flat, status),
        seconds=last.get("seconds", 0.0),
        best_epoch=_integer(best.get("epoch")),
        scores=validated | (info.scores if info else {}),
        by_label={name: value for name, value in by_label.items() if name != "epoch"},
        started=_started(folder, status, environment),
        state=state,
        pid=status.pid,
        why=status.why,
        resumable=(folder / "state.safetensors").is_file() and not state.startswith("running"),
        dataset=str(status.dataset.get("fingerprint", "")) or (info.dataset if info else ""),
        data=status.dataset,
        recipe={name: value for name, value in flat.items() if name not in ("task", "description")},
        environment={name: value for name, value in environment.items() if name != "earlier"},
        problems=tuple(problems),
    )


def flatten(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Values of nested tables by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


def lower_is_better(metric: str) -> bool:
    """Whether a lower value of a metric is better."""
    return metric == "loss" or metric.endswith("_loss")


def _sorted(runs: list[RunFacts], by: str) -> list[RunFacts]:
    metrics = sorted({name for run in runs for name in run.scores})
    if by == "name":
        return sorted(runs, key=lambda run: run.folder.name)
    if by == "date":
        return sorted(runs, key=lambda run: (_moment(run.started), run.folder.name), reverse=True)
    if by in ("epochs", "seconds"):
        return sorted(runs, key=lambda run: -float(getattr(run, by)))
    if by not in metrics and runs:
        known = ", ".join(["date", "name", "epochs", "seconds", *metrics])
        raise ArgumentError(f"no run has the metric {by!r}", hint=f"sort by one of {known}")
    sign = 1 if lower_is_better(by) else -1
    return sorted(runs, key=lambda run: sign * run.scores[by] if by in run.scores else math.inf)


def _minutes(recipe: Mapping[str, Any], status: _Status) -> float:
    """The minutes of all schedules of a run whose last one has a time; else 0."""
    last = _number(recipe.get("train.minutes"))
    return last + sum(_number(one.get("minutes")) for one in status.schedules) if last else 0.0


def _moment(started: str) -> float:
    try:
        return datetime.fromisoformat(started).timestamp()
    except ValueError:
        return 0.0


def _started(folder: Path, status: _Status, environment: dict[str, Any]) -> str:
    """When a run first started, even if it was resumed later; without a record, the date of its oldest file."""
    earlier = environment.get("earlier")
    first = earlier[0] if isinstance(earlier, list) and earlier and isinstance(earlier[0], dict) else environment
    recorded = first.get("date") or status.started
    if isinstance(recorded, str) and _moment(recorded):
        return recorded
    dates = [(folder / name).stat().st_mtime for name in RUN_FILES if (folder / name).is_file()]
    return datetime.fromtimestamp(min(dates)).astimezone().isoformat(timespec="seconds") if dates else ""


def _state_of(folder: Path, status: _Status) -> str:
    if status.state == "running":
        alive = is_running(status.pid, status.started_at) if status.host == socket.gethostname() else None
        return {True: "running", False: "killed", None: "running?"}[alive]
    if status.state:
        return status.state
    if (folder / "state.safetensors").is_file():
        return "interrupted"
    return "finished" if (folder / LAST).is_file() else ""


def _info(folder: Path, problems: list[str]) -> _Checkpoint | None:
    """The description in the best checkpoint, else in the last, else in the state."""
    for name in (BEST, LAST):
        if checkpoint := _metadata(folder / name, "vocdet", _Checkpoint, problems):
            return checkpoint
    state = _metadata(folder / "state.safetensors", "vocdet-state", _State, problems)
    return state.about if state else None


def _metadata(path: Path, key: str, kind: type[T], problems: list[str]) -> T | None:
    """JSON in the header of a safetensors file: its length in eight bytes, then JSON."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER:
                raise msgspec.DecodeError("not a header of safetensors")
            header = msgspec.json.decode(file.read(length), type=dict[str, Any])
        return msgspec.json.decode(header["__metadata__"][key], type=kind)
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, UnicodeDecodeError):
        problems.append(f"{path.name} is damaged, or not a checkpoint of vocdet")
        return None


def _json_file(path: Path, kind: type[T], problems: list[str]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        problems.append(f"{path.name} cannot be read")
        return None


def _recipe_of(folder: Path, problems: list[str]) -> dict[str, Any]:
    """The recipe as JSON has it: a date of TOML is a text, a number that is not finite None."""
    path = folder / "recipe.toml"
    if not path.is_file():
        return _json_file(folder / "recipe.json", dict[str, Any], problems) or {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.json.decode(msgspec.json.encode(content), type=dict[str, Any])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, OverflowError):  # a number of more than 64 bits
        problems.append(f"{path.name} cannot be read")
        return {}


def table_rows(path: Path, problems: list[str]) -> list[Scores]:
    """The numbers of a table by column; other cells are left out."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {name: number for name, text in row.items() if (number := _finite_number(text)) is not None}
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error, UnicodeDecodeError):
        problems.append(f"{path.name} cannot be read")
        return []


def _finite_number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _best_row(rows: list[Scores]) -> Scores:
    return next((row for row in reversed(rows) if row.get("best")), {})


def _recipe_task(recipe: Mapping[str, Any]) -> str:
    """The task of a recipe that does not state it; "" if unknown."""
    marks = {"model.masks": "maskrcnn", "model.anchors": "ssd", "model.net": "backbone"}
    return next((task for mark, task in marks.items() if mark in recipe), "")


def _net_name(backbone: dict[str, Any]) -> str:
    width = backbone.get("width", 1)
    return f"{backbone.get('kind', '')}" + (f"-{width:g}" if isinstance(width, (int, float)) and width != 1 else "")


def _integer(value: object) -> int:
    return int(_number(value))


def _number(value: object) -> float:
    """A number of a file that people may have edited; 0 for anything else."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < LARGEST_NUMBER else 0.0


def _as_texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


def find_run(name: Path, runs: Path) -> Path:
    """The folder of a run, given as a folder, a checkpoint in one, or a name in the folder of the runs."""
    tried = [name, runs / name] if not name.is_absolute() else [name]
    for path in tried:
        if path.is_file() and is_run(path.parent):
            return path.parent
        if path.is_dir() and is_run(path):
            return path
    if any(path.is_dir() for path in tried):
        raise RunError("not a run: the folder has no files of a training", place=name, hint=f"the runs are in {runs}")
    raise RunError("no such run", place=name, hint=f"name one of the runs in {runs}")
