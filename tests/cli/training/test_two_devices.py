"""`train-ssd --device cpu,cpu`: a training in two real processes, and how each reports its error."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from vocdet_cli.training.processes import ERRORS

from vocdet.evaluation.report import evaluate
from vocdet.formats.scan import Source
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.models.checkpoint import load_checkpoint
from vocdet.models.ssd.model import SsdLite
from vocdet.runs.ssd import predict_ssd
from vocdet.training.tasks import DetectTask
from vocdet.workflows.load import load_dataset

STEMS = [f"img{i}" for i in range(10)]
VAL = STEMS[5:]  # three for the first process, two for the second


def run_vocdet(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vocdet_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.fixture
def root(make_voc: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Objects at another place in every image, so that each has another loss."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    scenes = {
        stem: [("cat", (6.0 * i, 5.0, 6.0 * i + 40, 45.0)), ("dog", (5.0, 4.0 * i, 40.0, 4.0 * i + 40))]
        for i, stem in enumerate(STEMS)
    }
    return make_voc(scenes, splits={"train": STEMS[:5], "val": VAL})


def test_two_processes_train_print_and_write_as_one(root: Path) -> None:
    arguments = ("--net", "mb1-0.25", "--size", 64, "--batch", 4, "--epochs", 2, "--weights", "none", "--lr", 0.01)
    done = run_vocdet("train-ssd", root, *arguments, "--device", "cpu,cpu")
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    for once in ("Training on 5 images", "epoch   1", "epoch   2", "next: vocdet eval"):
        assert done.stdout.count(once) == 1
    (run,) = Path("runs").iterdir()
    assert run.name == "ssd-mb1-0.25-1"
    assert (run / "last.safetensors").is_file()
    assert len(list(run.glob("events.out.tfevents*"))) == 1
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]

    measured = rows[-1]  # five images cannot tell which epoch is better, so the last weights are kept
    for name, value in validated_at_once(run, root).items():
        assert float(measured[f"val_{name}"]) == pytest.approx(value, rel=1e-4), name


def validated_at_once(run: Path, root: Path) -> dict[str, float | None]:
    """The kept checkpoint on the whole validation split, in one process."""
    model, _ = load_checkpoint(run / "best.safetensors")
    assert isinstance(model, SsdLite)
    loaded = load_dataset(Source(root), split="val")
    val = loaded.dataset.subset(loaded.dataset.rows("val"))
    predictions = predict_ssd(model.eval(), val, DetectionSamples(val, (64, 64), None), DetectTask(model))
    assert predictions.loss is not None
    metrics = evaluate(val, predictions.detections).overall
    loss = float(predictions.loss[0] / predictions.loss[1])
    return {"ap50": metrics.ap50, "ap": metrics.ap, "f1": metrics.f1, "loss": loss}


def test_a_command_in_one_of_several_processes_reports_its_error_and_prints_nothing(
    vocdet: Callable[..., tuple[int, str, str]], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that started them prints it, once: `test_launch.py`."""
    monkeypatch.setenv(ERRORS, str(tmp_path))
    assert vocdet("train-ssd", root, "--net", "mb1-0.25", "--weights", "x.pth", "--device", "cpu") == (1, "", "")
    (error,) = json.loads((tmp_path / "0.json").read_text())["errors"]
    assert (error["problem"], error["place"]["path"]) == ("no such file of weights", "x.pth")
    assert not Path("runs").exists()
