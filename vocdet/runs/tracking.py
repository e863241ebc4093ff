"""Runs told to a tracking service: Weights & Biases, or MLflow. Both are optional, and loaded when asked for."""

from __future__ import annotations

import importlib
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from vocdet.errors import VocdetError
from vocdet.files import write_bytes

Service = Literal["wandb", "mlflow"]
Ending = Literal["finished", "interrupted", "failed"]

PROJECT = "vocdet"  # of W&B, and the experiment of MLflow
NAMES = {"wandb": "Weights & Biases", "mlflow": "MLflow"}
KEPT = "tracking.json"  # in the run folder: under which id each service knows the run
MOST_PARAMS = 100  # that MLflow takes at once
LONGEST_PARAM = 500  # characters that every version of MLflow takes


class Tracker(Protocol):
    """Somewhere a run is followed from."""

    def start(self, recipe: Mapping[str, object], environment: Mapping[str, object]) -> None:
        """Begin, or go on with a run that was begun before."""
        ...

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """The figures of an epoch."""
        ...

    def finish(self, files: Sequence[Path], ending: Ending) -> None:
        """Send these files of the run, and say how it ended."""
        ...


def open_tracker(service: Service, run: Path) -> Tracker:
    """What follows a run; a service that is not installed is a `VocdetError` that says how to get it."""
    if service not in NAMES:
        raise VocdetError(f"there is no tracking service {service!r}", hint=f"give one of {', '.join(NAMES)}")
    try:
        module = importlib.import_module(service)
    except ImportError as error:
        problem = f"{NAMES[service]} is not installed" if error.name == service else f"{service} cannot be loaded"
        raise VocdetError(
            f"{problem} ({error})", hint=f"run pip install 'vocdet[{service}]', or leave out --track {service}"
        ) from error
    return WandbTracker(module, run) if service == "wandb" else MlflowTracker(module, run)


class WandbTracker:
    """A run of Weights & Biases. Where nobody is logged in, or no answer comes, it is kept on this machine."""

    def __init__(self, wandb: Any, run: Path) -> None:
        self.note = ""  # for the user: where the run is to be seen
        self._wandb, self._folder = wandb, run
        self._run: Any = None

    def start(self, recipe: Mapping[str, object], environment: Mapping[str, object]) -> None:
        known = _kept(self._folder, "wandb")
        settings: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "name": self._folder.name,
            "id": known or secrets.token_hex(4),  # its own would be drawn from Python's global generator
            "resume": "allow",
            "dir": str(self._folder),
            "config": {**recipe, "environment": dict(environment)},
            "settings": {"console": "off", "silent": True},  # the terminal is ours
        }
        if "WANDB_MODE" not in os.environ and not self._logged_in():
            self._run = self._wandb.init(**settings, mode="offline")
            self.note = "nobody is logged in to W&B (wandb login): kept offline"
        else:
            try:
                self._run = self._wandb.init(**settings)
            except self._wandb.errors.Error as error:  # no network, or a key that is not valid
                self._run = self._wandb.init(**settings, mode="offline")
                self.note = f"W&B cannot be reached ({_first_line(error)}): kept offline"
        if self.note:
            self.note += f"; wandb sync {self._folder / 'wandb'}/offline-run-* sends it"
        else:
            self.note = str(getattr(self._run, "url", None) or "")
        _keep(self._folder, "wandb", str(self._run.id))
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")  # its own count of steps cannot go back when a run resumes

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log({"epoch": step, **figures})

    def finish(self, files: Sequence[Path], ending: Ending) -> None:
        for file in files:
            self._run.save(str(file), base_path=str(self._folder), policy="now")
        self._run.finish(exit_code=0 if ending == "finished" else 1)

    def _logged_in(self) -> bool:
        """Whether there is a key, without a question on the terminal."""
        try:
            return bool(self._wandb.login(prompt=False, verify=False))
        except TypeError:  # a version that asks
            return bool(os.environ.get("WANDB_API_KEY") or self._wandb.api.api_key)


class MlflowTracker:
    """A run of MLflow, where MLFLOW_TRACKING_URI says, or in a database in the working folder."""

    def __init__(self, mlflow: Any, run: Path) -> None:
        self.note = ""
        self._mlflow, self._folder = mlflow, run
        self._client: Any = None
        self._id = ""

    def start(self, recipe: Mapping[str, object], environment: Mapping[str, object]) -> None:
        client = self._client = self._mlflow.MlflowClient()
        self._id = _kept(self._folder, "mlflow")
        if not self._id:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else client.create_experiment(name)
            self._id = client.create_run(number, run_name=self._folder.name).info.run_id
            _keep(self._folder, "mlflow", self._id)
            param, flat = self._mlflow.entities.Param, list(_flat(recipe).items())
            for first in range(0, len(flat), MOST_PARAMS):
                some = flat[first : first + MOST_PARAMS]
                client.log_batch(self._id, params=[param(key, str(value)[:LONGEST_PARAM]) for key, value in some])
        else:
            client.update_run(self._id, status="RUNNING")
        for key, value in _flat(environment).items():
            client.set_tag(self._id, f"environment.{key}", str(value)[:LONGEST_PARAM])
        self.note = f"MLflow run {self._id} in {self._mlflow.get_tracking_uri()}"

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        now, metric = int(time.time() * 1000), self._mlflow.entities.Metric
        named: dict[str, float] = {}
        for name, value in figures.items():
            key = re.sub(r"[^\w\-. /]", "_", name)
            while key in named:
                key += "_"
            named[key] = value
        metrics = [metric(key, float(value), now, step) for key, value in named.items()]
        for first in range(0, len(metrics), 1000):  # that it takes at once
            self._client.log_batch(self._id, metrics=metrics[first : first + 1000])

    def finish(self, files: Sequence[Path], ending: Ending) -> None:
        for file in files:
            self._client.log_artifact(self._id, str(file))
        status = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}[ending]
        self._client.set_terminated(self._id, status=status)


class Patient:
    """A tracker whose failures stop no training: they are said once, and then it is left alone.

    A failure at the start is a `VocdetError`: better now than after a week.
    """

    def __init__(self, tracker: Tracker, service: Service, say: Callable[[str], None]) -> None:
        self._tracker, self._service, self._say = tracker, service, say
        self._works = True

    def start(self, recipe: Mapping[str, object], environment: Mapping[str, object]) -> None:
        try:
            self._tracker.start(recipe, environment)
        except VocdetError:
            raise
        except Exception as error:  # of a service: any kind
            problem = f"{NAMES[self._service]} cannot be used: {_first_line(error)}"
            raise VocdetError(problem, hint=f"see to it, or leave out --track {self._service}") from error
        if note := getattr(self._tracker, "note", ""):
            self._say(note)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        self._try(lambda: self._tracker.log(step, finite))

    def finish(self, files: Sequence[Path], ending: Ending) -> None:
        self._try(lambda: self._tracker.finish([file for file in files if file.is_file()], ending))

    def _try(self, act: Callable[[], None]) -> None:
        if self._works:
            try:
                act()
            except Exception as error:  # of a service: any kind, and none that is worth a training
                self._works = False
                self._say(f"{NAMES[self._service]} does not answer, and is told no more: {_first_line(error)}")


def _kept(run: Path, service: str) -> str:
    """The id under which a service knows a run; "" if it does not."""
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode((run / KEPT).read_bytes(), type=dict[str, str]).get(service, "")
    return ""


def _keep(run: Path, service: str, name: str) -> None:
    known: dict[str, str] = {}
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        known = msgspec.json.decode((run / KEPT).read_bytes(), type=dict[str, str])
    write_bytes(run / KEPT, msgspec.json.encode({**known, service: name}) + b"\n")


def _flat(nested: Mapping[str, object], above: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
