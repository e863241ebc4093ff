"""The facts of run folders: finished, killed, damaged, and folders that are not runs."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vocdet.errors import ArgumentError, RunError
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.recipes.load import dump_recipe
from vocdet.recipes.schema import SsdRecipe, changed
from vocdet.runs import journal
from vocdet.runs.facts import RunFacts, find_run, list_runs, read_run
from vocdet.runs.journal import Journal


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the pictures of these runs."""
    monkeypatch.setattr(journal, "curves", lambda *_, **__: b"")


def make(run: Path, *, epochs: int = 2, ap50: float = 0.5, date: str = "", end: bool = True, **recipe: Any) -> Path:
    """The folder of a training without its checkpoints."""
    run.mkdir(parents=True)
    kept = Journal(run)
    resolved = changed(SsdRecipe(), **{"net": "mb1-0.25", "size": 64, "epochs": 9, **recipe})
    dataset = {"fingerprint": "abc" * 20, "root": "data", "labels": ["cat", "dog"], "images": 4, "validation_images": 2}
    kept.start(dump_recipe(resolved, "ssd"), {}, task="ssd", dataset=dataset)
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "seconds": 90.5 * epoch, "train_box": 1.0, "val_ap50": ap50 if epoch == 1 else 0.1}
        kept.epoch(row, {"cat": 0.75, "dog": 0.25}, best=epoch == 1)
    if end:
        kept.close()
    else:
        assert kept._events
        kept._events.close()
    if date:
        for name in ("environment.json", "run.json"):
            content = json.loads((run / name).read_text())
            (run / name).write_text(json.dumps({**content, "date": date, "started": date}))
    return run


def save_best(run: Path, scores: dict[str, float]) -> None:
    about = CheckpointInfo(
        vocdet="0", model=SsdSpec(parse_net("mb1-0.25"), ("a", "b"), (64, 64), torchvision_anchors()),
        dataset="d" * 64, scores=scores,
    )  # fmt: skip
    run.mkdir(exist_ok=True)
    save_checkpoint(run / "best.safetensors", build(about.model), about)


def names(found: list[RunFacts]) -> list[str]:
    return [run.folder.name for run in found]


def test_a_finished_run_has_its_recipe_and_its_metrics(tmp_path: Path) -> None:
    run = make(tmp_path / "ssd-mb1-0.25-1", ap50=0.625, date="2026-01-02T03:04:05+00:00")
    facts = read_run(run)
    assert (facts.task, facts.net, facts.size, facts.labels) == ("ssd", "mb1-0.25", 64, ("cat", "dog"))
    assert (facts.epochs, facts.planned, facts.minutes, facts.seconds) == (2, 9, 0.0, 181.0)
    assert (facts.best_epoch, facts.scores, facts.by_label) == (1, {"ap50": 0.625}, {"cat": 0.75, "dog": 0.25})
    assert (facts.started, facts.state, facts.dataset) == ("2026-01-02T03:04:05+00:00", "finished", "abc" * 20)
    assert (facts.resumable, facts.problems) == (False, ())
    assert facts.recipe["train.epochs"] == 9
    assert facts.recipe["train.steps"] == [0.67, 0.89]


def test_the_best_checkpoint_supplies_the_scores(tmp_path: Path) -> None:
    run = make(tmp_path / "a", ap50=0.5)
    save_best(run, {"ap50": 0.512345678, "ap": 0.25})
    assert read_run(run).scores == {"ap50": 0.512345678, "ap": 0.25}


def test_a_run_with_only_checkpoints_is_described_by_them(tmp_path: Path) -> None:
    save_best(tmp_path / "old", {"ap50": 0.5})
    shutil.copy(tmp_path / "old" / "best.safetensors", tmp_path / "old" / "last.safetensors")
    facts = read_run(tmp_path / "old")
    assert (facts.task, facts.net, facts.size, facts.labels) == ("ssd", "mb1-0.25", 64, ("a", "b"))
    assert (facts.scores, facts.dataset, facts.state) == ({"ap50": 0.5}, "d" * 64, "finished")


def test_a_training_limited_by_time_has_no_number_of_epochs(tmp_path: Path) -> None:
    facts = read_run(make(tmp_path / "a", minutes=8.0))
    assert (facts.planned, facts.minutes) == (0, 8.0)


@pytest.mark.parametrize("value", ['"half"', "inf", "nan", "[1]", "1e400", "true"])
def test_a_recipe_that_somebody_edited_does_not_hide_the_other_runs(tmp_path: Path, value: str) -> None:
    run = make(tmp_path / "a")
    text = (run / "recipe.toml").read_text()
    for name in ("minutes", "epochs", "size"):
        (run / "recipe.toml").write_text(re.sub(rf"(?m)^{name} = .*$", f"{name} = {value}", text))
        assert names(list_runs(tmp_path)) == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="a process is only known for sure by the kernel's count")
def test_a_run_is_running_while_its_process_is_alive(tmp_path: Path) -> None:
    run = make(tmp_path / "ssd-mb1-0.25-1", end=False)
    (run / "state.safetensors").write_bytes(b"")
    assert (read_run(run).state, read_run(run).resumable) == ("running", False)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    status = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**status, "pid": gone.pid}))
    assert (read_run(run).state, read_run(run).resumable) == ("killed", True)
    (run / "run.json").write_text(json.dumps({**status, "host": "another"}))
    assert (read_run(run).state, read_run(run).resumable) == ("running?", False)


@pytest.mark.parametrize("ending", ["interrupted", "failed"])
def test_a_run_with_a_saved_state_is_resumable(tmp_path: Path, ending: Any) -> None:
    run = make(tmp_path / "a", end=False)
    Journal(run).json("run.json", {"state": ending, "task": "ssd", "host": socket.gethostname(), "why": "disk"})
    assert (read_run(run).state, read_run(run).resumable) == (ending, False)
    (run / "state.safetensors").write_bytes(b"")
    assert read_run(run).resumable
    (run / "run.json").unlink()
    assert (read_run(run).state, read_run(run).task) == ("interrupted", "ssd")


def test_a_resumed_run_has_its_original_start(tmp_path: Path) -> None:
    run = make(tmp_path / "a", date="2026-01-02T03:04:05+00:00")
    again = Journal(run)
    again.start("", {}, task="ssd", dataset={})
    again.close()
    assert read_run(run).started == "2026-01-02T03:04:05+00:00"
    assert "earlier" not in read_run(run).environment


DAMAGE = {
    "recipe.toml": b"[model\n", "environment.json": b"[1]", "run.json": b'{"state": 3}', "metrics.csv": b"\xff\xfe\x00",
    "labels.csv": b"\xff", "best.safetensors": b"\xff" * 40, "last.safetensors": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_reported_and_the_others_are_read(tmp_path: Path, name: str) -> None:
    run = make(tmp_path / "a")
    (run / name).write_bytes(DAMAGE[name])
    facts = read_run(run)
    assert [problem.split()[0] for problem in facts.problems] == [name]
    assert facts.task == "ssd"
    assert names(list_runs(tmp_path)) == ["a"]


def test_a_checkpoint_with_an_oversized_header_is_not_read(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    (run / "best.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    assert read_run(run).problems == ("best.safetensors is damaged, or not a checkpoint of vocdet",)


def test_cells_without_numbers_are_skipped(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    (run / "metrics.csv").write_text("epoch,val_ap50,best\n1,,1\n2,nan,x\n,,\n3,0.5,1,9,9\n")
    facts = read_run(run)
    assert (facts.best_epoch, facts.scores, facts.epochs) == (3, {"ap50": 0.5}, 3)


def test_folders_that_are_not_runs_are_listed_last(tmp_path: Path) -> None:
    make(tmp_path / "z")
    (tmp_path / "photos").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    found = list_runs(tmp_path)
    assert [(run.folder.name, run.task) for run in found] == [("z", "ssd"), ("photos", "")]


def test_runs_are_sorted_by_date_name_length_or_metric(tmp_path: Path) -> None:
    make(tmp_path / "a", ap50=0.5, epochs=3, date="2026-01-01T00:00:00+02:00")
    make(tmp_path / "b", ap50=0.9, epochs=1, date="2025-12-31T23:00:00+00:00")  # an hour later, in another zone
    make(tmp_path / "c", ap50=0.7, epochs=2, date="2025-01-01T00:00:00+00:00")
    make(tmp_path / "d", epochs=0, date="2024-01-01T00:00:00+00:00")
    assert names(list_runs(tmp_path)) == ["b", "a", "c", "d"]
    assert names(list_runs(tmp_path, sort="name")) == ["a", "b", "c", "d"]
    assert names(list_runs(tmp_path, sort="epochs")) == ["a", "c", "b", "d"]
    assert names(list_runs(tmp_path, sort="ap50")) == ["b", "c", "a", "d"]
    for name, loss in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        save_best(tmp_path / name, {"loss": loss})
    assert names(list_runs(tmp_path, sort="loss")) == ["b", "c", "a", "d"]
    with pytest.raises(ArgumentError, match="no run has the metric 'map'") as caught:
        list_runs(tmp_path, sort="map")
    assert caught.value.hint == "sort by one of date, name, epochs, seconds, ap50, loss"


def test_a_run_folder_lists_itself_and_an_empty_folder_nothing(tmp_path: Path) -> None:
    assert names(list_runs(make(tmp_path / "runs" / "a"))) == ["a"]
    (tmp_path / "empty").mkdir()
    assert list_runs(tmp_path / "empty") == []
    with pytest.raises(RunError, match="cannot be read: no such file"):
        list_runs(tmp_path / "missing")


def test_a_run_is_found_by_folder_checkpoint_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = make(Path("runs", "a"))
    (run / "best.safetensors").write_bytes(b"")
    for name in (run, run / "best.safetensors", Path("a"), run.absolute()):
        assert find_run(name, Path("runs")).resolve() == run.resolve()
    Path("photos").mkdir()
    with pytest.raises(RunError, match="not a run"):
        find_run(Path("photos"), Path("runs"))
    with pytest.raises(RunError, match="no such run"):
        find_run(Path("b"), Path("runs"))


def test_runs_are_listed_without_torch(tmp_path: Path) -> None:
    make(tmp_path / "a")
    code = (
        "import sys\nfrom pathlib import Path\nfrom vocdet.runs.facts import list_runs\n"
        f"assert len(list_runs(Path({str(tmp_path)!r}))) == 1\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_recipe_is_read_as_json_has_it(tmp_path: Path) -> None:
    run = tmp_path / "ssd-1"
    run.mkdir()
    (run / "recipe.toml").write_text('task = "ssd"\n[train]\nlr = nan\nclip = -inf\nday = 2024-01-31\n')
    recipe = read_run(run).recipe
    assert json.loads(json.dumps(recipe, allow_nan=False)) == recipe
    assert recipe == {"train.lr": None, "train.clip": None, "train.day": "2024-01-31"}
