"""Log runs to a tracking service: Weights & Biases or MLflow. Both are optional, and imported on demand."""

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

from vocdet.errors import ArgumentError, DependencyError, TrainingError, VocdetError
from vocdet.files import write_bytes
from vocdet.runs.facts import flatten

Service = Literal["wandb", "mlflow"]
Ending = Literal["finished", "interrupted", "failed"]

PROJECT = "vocdet"  # of W&B, and the experiment of MLflow
SERVICE_NAMES = {"wandb": "Weights & Biases", "mlflow": "MLflow"}
IDS = "tracking.json"  # in the run folder: the id of the run in each service
MOST_PARAMS = 100  # in one request to MLflow
MOST_METRICS = 1000
LONGEST_PARAM = 500  # characters, the limit of the oldest MLflow


class Tracker(Protocol):
    """A service that shows the progress of a run."""

    def start(self, recipe: Mapping[str, object], environment: Mapping[str, object]) -> None:
        """Start a run, or continue one."""
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch."""
        ...

    def finish(self, files: Sequence[Path], ending: Ending) -> None:
        """Upload files of the run, and log how it ended."""
        ...


def open_tracker(service: Service, run: Path) -> Tracker:
    """A tracker for a run; a service that is not installed is a `DependencyError` with the command to install it."""
    if service not in SERVICE_NAMES:
        raise ArgumentError(f"unknown tracking service {service!r}", hint=f"give one of {', '.join(SERVICE_NAMES)}")
    try:
        module = importlib.import_module(service)
    except ImportError as error:
        problem = (
            f"{SERVICE_NAMES[service]} is not installed" if error.name == service else f"{service} cannot be loaded"
        )
        hint = f"run pip install 'vocdet[{service}]', or leave out `track=\"{service}\"`"
        raise DependencyError(f"{problem} ({error})", hint=hint) from error
    return WandbTracker(module, run) if service == "wandb" else MlflowTracker(module, run)


class WandbTracker:
    """A run of Weights & Biases; stored on this machine without a login or a network."""

    def __init__(self, wandb: Any, run: Path) -> None:
        self.note = ""  # for the user: where the run is shown
        self._wandb, self._folder = wandb, run
        self._run: Any = None

    def start(self, recipe: Mapping[str, object], environment: Mapping[str, object]) -> None:
        known = _known_id(self._folder, "wandb")
        settings: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "name": self._folder.name,
            "id": known or secrets.token_hex(4),  # W&B would draw one from Python's global generator
            "resume": "allow",
            "dir": str(self._folder),
            "config": {**recipe, "environment": dict(environment)},
            "settings": {"console": "off", "silent": True},  # vocdet prints to the terminal
        }
        if "WANDB_MODE" not in os.environ and not self._logged_in():
            self._run = self._wandb.init(**settings, mode="offline")
            self.note = "not logged in to W&B (wandb login): logging offline"
        else:
            try:
                self._run = self._wandb.init(**settings)
            except self._wandb.errors.Error as error:  # no network, or an invalid key
                self._run = self._wandb.init(**settings, mode="offline")
                self.note = f"cannot reach W&B ({_first_line(error)}): logging offline"
        if self.note:
            self.note += f"; wandb sync {self._folder / 'wandb'}/offline-run-* uploads it"
        else:
            self.note = str(getattr(self._run, "url", None) or "")
        _save_id(self._folder, "wandb", str(self._run.id))
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")  # the step of W&B cannot go back when a run resumes

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log({"epoch": step, **metrics})

    def finish(self, files: Sequence[Path], ending: Ending) -> None:
        for file in files:
            self._run.save(str(file), base_path=str(self._folder), policy="now")
        self._run.finish(exit_code=0 if ending == "finished" else 1)

    def _logged_in(self) -> bool:
        """Whether there is a key; never prompts."""
        try:
            return bool(self._wandb.login(prompt=False, verify=False))
        except TypeError:  # an older version, which would prompt
            return bool(os.environ.get("WANDB_API_KEY") or self._wandb.api.api_key)


class MlflowTracker:
    """A run of MLflow, at MLFLOW_TRACKING_URI or in a database in the working folder."""

    def __init__(self, mlflow: Any, run: Path) -> None:
        self.note = ""
        self._mlflow, self._folder = mlflow, run
        self._client: Any = None
        self._id = ""

    def start(self, recipe: Mapping[str, object], environment: Mapping[str, object]) -> None:
        client = self._client = self._mlflow.MlflowClient()
        self._id = _known_id(self._folder, "mlflow")
        if not self._id:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else client.create_experiment(name)
            self._id = client.create_run(number, run_name=self._folder.name).info.run_id
            _save_id(self._folder, "mlflow", self._id)
            param, flat = self._mlflow.entities.Param, list(flatten(recipe).items())
            for first in range(0, len(flat), MOST_PARAMS):
                some = flat[first : first + MOST_PARAMS]
                client.log_batch(self._id, params=[param(key, str(value)[:LONGEST_PARAM]) for key, value in some])
        else:
            client.update_run(self._id, status="RUNNING")
        for key, value in flatten(environment).items():
            client.set_tag(self._id, f"environment.{key}", str(value)[:LONGEST_PARAM])
        self.note = f"MLflow run {self._id} in {self._mlflow.get_tracking_uri()}"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now, metric = int(time.time() * 1000), self._mlflow.entities.Metric
        named: dict[str, float] = {}
        for name, value in metrics.items():
            key = re.sub(r"[^\w\-. /]", "_", name)
            while key in named:
                key += "_"
            named[key] = value
        entities = [metric(key, float(value), now, step) for key, value in named.items()]
        for first in range(0, len(entities), MOST_METRICS):
            self._client.log_batch(self._id, metrics=entities[first : first + MOST_METRICS])

    def finish(self, files: Sequence[Path], ending: Ending) -> None:
        for file in files:
            self._client.log_artifact(self._id, str(file))
        status = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}[ending]
        self._client.set_terminated(self._id, status=status)


class SafeTracker:
    """A tracker whose failures do not stop a training: the first one is reported, and ends the logging.

    A failure at the start is a `TrainingError`: better now than after a week.
    """

    def __init__(self, tracker: Tracker, service: Service, report: Callable[[str], None]) -> None:
        self._tracker, self._service, self._report = tracker, service, report
        self._works = True

    def start(self, recipe: Mapping[str, object], environment: Mapping[str, object]) -> None:
        try:
            self._tracker.start(recipe, environment)
        except VocdetError:
            raise
        except Exception as error:  # a service may raise anything
            problem = f"{SERVICE_NAMES[self._service]} cannot be used: {_first_line(error)}"
            raise TrainingError(problem, hint=f'fix that, or leave out `track="{self._service}"`') from error
        if note := getattr(self._tracker, "note", ""):
            self._report(note)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._try(lambda: self._tracker.log(step, finite))

    def finish(self, files: Sequence[Path], ending: Ending) -> None:
        self._try(lambda: self._tracker.finish([file for file in files if file.is_file()], ending))

    def _try(self, act: Callable[[], None]) -> None:
        if self._works:
            try:
                act()
            except Exception as error:  # a service may raise anything
                self._works = False
                self._report(
                    f"{SERVICE_NAMES[self._service]} failed and receives no more metrics: {_first_line(error)}"
                )


def _known_id(run: Path, service: str) -> str:
    """The id of a run in a service; "" if it has none."""
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode((run / IDS).read_bytes(), type=dict[str, str]).get(service, "")
    return ""


def _save_id(run: Path, service: str, name: str) -> None:
    known: dict[str, str] = {}
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        known = msgspec.json.decode((run / IDS).read_bytes(), type=dict[str, str])
    write_bytes(run / IDS, msgspec.json.encode({**known, service: name}) + b"\n")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
