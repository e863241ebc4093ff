"""Runs logged to W&B and MLflow: modules with the same signatures replace them and record the calls."""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vocdet.errors import VocdetError
from vocdet.runs.journal import Journal
from vocdet.runs.tracking import SafeTracker, Service, open_tracker

RECIPE = {"model": {"net": "mb1"}, "train": {"steps": (0.6, 0.9)}}
ENVIRONMENT = {"python": "3.11", "gpus": ["H100"]}
DATASET = {"fingerprint": "f" * 64}


class WandbError(Exception):
    """As wandb.errors.Error."""


class Wandb(ModuleType):
    """W&B 0.31, as far as it is used."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.errors = SimpleNamespace(Error=WandbError)
        self.key = True
        self.reachable = True
        self.works = True

    def named(self, name: str) -> list[dict[str, Any]]:
        return [given for called, given in self.calls if called == name]

    def login(
        self, key: str | None = None, relogin: bool | None = None, host: str | None = None, force: bool | None = None,
        timeout: int | None = None, verify: bool = True, referrer: str | None = None, prompt: bool = True,
    ) -> bool:  # fmt: skip
        assert not prompt, "a question on the terminal"
        assert not verify, "a request before there is anything to tell"
        return self.key

    def init(
        self, entity: str | None = None, project: str | None = None, dir: Any = None, id: str | None = None,
        name: str | None = None, notes: str | None = None, tags: Any = None, config: dict[str, Any] | None = None,
        mode: str | None = None, resume: Any = None, settings: dict[str, Any] | None = None,
    ) -> WandbRun:  # fmt: skip
        self.calls.append(("init", {k: v for k, v in locals().items() if k != "self"}))
        if mode != "offline" and not self.reachable:
            raise WandbError("\n  Network error\nmore")
        return WandbRun(self, str(id), None if mode == "offline" else f"https://wandb.ai/{project}/{id}")


class WandbRun:
    """A run of it."""

    def __init__(self, wandb: Wandb, id: str, url: str | None) -> None:
        self._wandb, self.id, self.url = wandb, id, url

    def _called(self, name: str, /, **given: Any) -> None:
        if not self._wandb.works:
            raise ConnectionError("the service has gone")
        self._wandb.calls.append((name, given))

    def define_metric(self, name: str, step_metric: str | None = None, step_sync: bool | None = None) -> None:
        self._called("define_metric", name=name, step_metric=step_metric)

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        self._called("log", data=data, step=step)

    def save(self, glob_str: str, base_path: str | None = None, policy: str = "live", glob: bool = True) -> None:
        self._called("save", glob_str=glob_str, base_path=base_path, policy=policy)

    def finish(self, exit_code: int | None = None) -> None:
        self._called("finish", exit_code=exit_code)


class MlflowException(Exception):
    """As mlflow.exceptions.MlflowException."""


class Param:
    def __init__(self, key: str, value: str) -> None:
        self.key, self.value = key, value


class Metric:
    def __init__(self, key: str, value: float, timestamp: int, step: int) -> None:
        self.key, self.value, self.step = key, value, step


class Mlflow(ModuleType):
    """MLflow 3.17, as far as it is used; it refuses what the real one refuses."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.entities = SimpleNamespace(Param=Param, Metric=Metric)
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}

    def get_tracking_uri(self) -> str:
        return "sqlite:///mlflow.db"

    def MlflowClient(self, tracking_uri: str | None = None, registry_uri: str | None = None) -> MlflowClient:
        return MlflowClient(self)


class MlflowClient:
    """Its client."""

    def __init__(self, mlflow: Mlflow) -> None:
        self._mlflow = mlflow

    def get_experiment_by_name(self, name: str) -> Any:
        known = self._mlflow.experiments.get(name)
        return SimpleNamespace(experiment_id=known) if known else None

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Any = None) -> str:
        self._mlflow.experiments[name] = str(len(self._mlflow.experiments) + 1)
        return self._mlflow.experiments[name]

    def create_run(
        self, experiment_id: str, start_time: int | None = None, tags: Any = None, run_name: str | None = None
    ) -> Any:
        id = f"run{len(self._mlflow.runs)}"
        self._mlflow.runs[id] = {"experiment": experiment_id, "name": run_name, "status": "RUNNING", "params": {},
                                 "metrics": [], "tags": {}, "artifacts": []}  # fmt: skip
        return SimpleNamespace(info=SimpleNamespace(run_id=id))

    def log_batch(
        self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = (), synchronous: bool | None = None
    ) -> None:
        run = self._mlflow.runs[run_id]
        if len(params) > 100 or len(metrics) > 1000:
            raise MlflowException("too many at once")
        for param in params:
            if run["params"].setdefault(param.key, param.value) != param.value or not isinstance(param.value, str):
                raise MlflowException("a param is changed, or no text")
        for metric in metrics:
            if not all(c.isalnum() or c in "_-. :/" for c in metric.key):
                raise MlflowException(f"Invalid value {metric.key!r}")
            run["metrics"].append((metric.step, metric.key, metric.value))

    def set_tag(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> None:
        self._mlflow.runs[run_id]["tags"][key] = value

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        self._mlflow.runs[run_id]["status"] = status

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        self._mlflow.runs[run_id]["artifacts"].append(Path(local_path).name)

    def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
        self._mlflow.runs[run_id]["status"] = status


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    module = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


@pytest.fixture
def tracked(tmp_path: Path) -> Callable[[Service], tuple[SafeTracker, list[str]]]:
    """A tracker of a run that is started, and what it says."""
    (tmp_path / "ssd-mb1-3").mkdir()

    def open_(service: Service) -> tuple[SafeTracker, list[str]]:
        notes: list[str] = []
        tracker = SafeTracker(open_tracker(service, tmp_path / "ssd-mb1-3"), service, notes.append)
        tracker.start(RECIPE, ENVIRONMENT)
        return tracker, notes

    return open_


Tracked = Callable[[Service], tuple[SafeTracker, list[str]]]


def test_wandb_receives_recipe_epochs_files_and_end(wandb: Wandb, tracked: Tracked, tmp_path: Path) -> None:
    tracker, notes = tracked("wandb")
    run = tmp_path / "ssd-mb1-3"
    (begun,) = wandb.named("init")
    assert (begun["project"], begun["name"], begun["dir"]) == ("vocdet", "ssd-mb1-3", str(run))
    assert begun["config"] == {**RECIPE, "environment": ENVIRONMENT}
    assert begun["mode"] is None
    assert notes == [f"https://wandb.ai/vocdet/{begun['id']}"]
    tracker.log(1, {"val/ap50": 0.5, "val/loss": math.nan})
    assert wandb.named("log") == [{"data": {"epoch": 1, "val/ap50": 0.5}, "step": None}]
    assert {"name": "*", "step_metric": "epoch"} in wandb.named("define_metric")
    (run / "metrics.csv").write_text("epoch\n")
    tracker.finish([run / "metrics.csv", run / "curves.png"], "finished")
    assert [given["glob_str"] for given in wandb.named("save")] == [str(run / "metrics.csv")]
    assert wandb.named("finish") == [{"exit_code": 0}]


def test_a_resumed_run_is_the_same_wandb_run(wandb: Wandb, tracked: Tracked) -> None:
    tracked("wandb")
    tracked("wandb")
    first, second = wandb.named("init")
    assert first["id"] == second["id"]
    assert first["resume"] == second["resume"] == "allow"


def test_without_a_login_wandb_logs_offline_without_a_prompt(wandb: Wandb, tracked: Tracked) -> None:
    wandb.key = False
    _, notes = tracked("wandb")
    assert [given["mode"] for given in wandb.named("init")] == ["offline"]
    assert "wandb login" in notes[0]
    assert "wandb sync" in notes[0]


def test_the_environment_variables_of_wandb_take_precedence(
    wandb: Wandb, tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb.key = False
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_PROJECT", "cells")
    tracked("wandb")
    assert [(given["mode"], given["project"]) for given in wandb.named("init")] == [(None, "cells")]


def test_without_a_network_wandb_logs_offline(wandb: Wandb, tracked: Tracked) -> None:
    wandb.reachable = False
    _, notes = tracked("wandb")
    assert [given["mode"] for given in wandb.named("init")] == [None, "offline"]
    assert notes[0].startswith("cannot reach W&B (Network error): logging offline")


def test_mlflow_receives_recipe_epochs_files_and_end(mlflow: Mlflow, tracked: Tracked, tmp_path: Path) -> None:
    tracker, notes = tracked("mlflow")
    assert mlflow.experiments == {"vocdet": "1"}
    run = mlflow.runs["run0"]
    assert (run["experiment"], run["name"]) == ("1", "ssd-mb1-3")
    assert run["params"] == {"model.net": "mb1", "train.steps": "(0.6, 0.9)"}
    assert run["tags"] == {"environment.python": "3.11", "environment.gpus": "['H100']"}
    assert notes == ["MLflow run run0 in sqlite:///mlflow.db"]
    tracker.log(2, {"labels/a(b)": 0.5, "labels/a[b]": 0.25, "labels/猫": 1.0, "val/loss": math.inf})
    assert run["metrics"] == [(2, "labels/a_b_", 0.5), (2, "labels/a_b__", 0.25), (2, "labels/猫", 1.0)]
    (tmp_path / "ssd-mb1-3" / "metrics.csv").write_text("epoch\n")
    tracker.finish([tmp_path / "ssd-mb1-3" / "metrics.csv"], "interrupted")
    assert (run["artifacts"], run["status"]) == (["metrics.csv"], "KILLED")


def test_a_resumed_run_is_the_same_mlflow_run(mlflow: Mlflow, tracked: Tracked) -> None:
    tracked("mlflow")[0].finish([], "failed")
    assert mlflow.runs["run0"]["status"] == "FAILED"
    tracked("mlflow")
    assert {id: run["status"] for id, run in mlflow.runs.items()} == {"run0": "RUNNING"}


def test_a_long_recipe_is_split_for_mlflow(mlflow: Mlflow, tmp_path: Path) -> None:
    tracker = open_tracker("mlflow", tmp_path)
    tracker.start({"x": {f"a{i}": "y" * 9000 for i in range(250)}}, {})
    assert len(mlflow.runs["run0"]["params"]) == 250


@pytest.mark.parametrize("service", ["wandb", "mlflow"])
def test_a_missing_service_is_an_error_with_its_install_command(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, service, None)
    with pytest.raises(VocdetError) as caught:
        Journal(tmp_path, track=service)
    assert f"pip install 'vocdet[{service}]'" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_service_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VocdetError, match="unknown tracking service 'neptune'"):
        open_tracker("neptune", tmp_path)  # type: ignore[arg-type]


def test_a_service_that_fails_at_the_start_ends_the_training_with_a_hint(
    mlflow: Mlflow, tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("API request failed\nwith much more")

    monkeypatch.setattr(MlflowClient, "create_experiment", refuse)
    with pytest.raises(VocdetError, match="MLflow cannot be used") as caught:
        tracked("mlflow")
    assert caught.value.problem == "MLflow cannot be used: API request failed"
    assert 'leave out `track="mlflow"`' in caught.value.hint


def test_a_service_that_fails_later_is_reported_once_and_stops_nothing(wandb: Wandb, tracked: Tracked) -> None:
    tracker, notes = tracked("wandb")
    wandb.works = False
    tracker.log(1, {"val/ap50": 0.5})
    tracker.log(2, {"val/ap50": 0.5})
    tracker.finish([], "finished")
    assert notes[1:] == ["Weights & Biases failed and receives no more metrics: the service has gone"]


def test_a_journal_sends_its_content_to_the_service(wandb: Wandb, tmp_path: Path) -> None:
    with Journal(tmp_path, track="wandb") as journal:
        journal.start("", RECIPE, task="ssd", dataset=DATASET)
        journal.epoch({"epoch": 1, "train_loss": 2.0, "val_ap50": 0.5}, {"cat": 0.25})
    assert wandb.named("log")[0]["data"] == {"epoch": 1, "train/loss": 2.0, "val/ap50": 0.5, "labels/cat": 0.25}
    sent = {Path(given["glob_str"]).name for given in wandb.named("save")}
    assert sent == {"recipe.toml", "environment.json", "metrics.csv", "labels.csv", "curves.png"}
    assert json.loads((tmp_path / "tracking.json").read_text()) == {"wandb": wandb.named("init")[0]["id"]}
    assert journal.notes[0].startswith("https://")


@pytest.mark.parametrize("service", ["wandb", "mlflow"])
def test_the_stand_ins_have_the_real_signatures(service: str) -> None:
    real: Any = pytest.importorskip(service)
    pairs: list[tuple[Any, str]]
    pairs = [(Wandb.login, "login"), (Wandb.init, "init")] if service == "wandb" else [
        (getattr(MlflowClient, name), f"MlflowClient.{name}") for name in vars(MlflowClient) if not name.startswith("_")
    ]  # fmt: skip
    for mine, path in pairs:
        theirs = real
        for name in path.split("."):
            theirs = getattr(theirs, name)
        assert set(inspect.signature(mine).parameters) <= set(inspect.signature(theirs).parameters) | {"self"}
