"""The measuring script: it skips what it has, survives a stop, alternates the sides, and makes the table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import vocdet
from tests.api.test_examples import loaded
from vocdet.formats.scan import Source
from vocdet.inference.predictor import load_predictor
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate import evaluate_detector
from vocdet.workflows.load import load_dataset

CELLS = """
[[cells]]
name = "shelf"
data = "shelf"
minutes = 2
seeds = [0, 1]
commands = ["train-ssd {data} --minutes {minutes} --seed {seed}"]

[[cells]]
name = "later"
data = "shelf"
minutes = 3
commands = ["train {data}"]
"""
RIVAL = (
    "import sys, json; open('rival.log', 'a').write(sys.argv[2] + ' ');"
    "print('epoch 1'); print(json.dumps({'ap50': .5, 'ap': .25 + .1 * int(sys.argv[2])}))"
)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script in a folder with its cells, whose vocdet prints and trains nothing."""
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "a.txt").write_text("data")
    (tmp_path / "cells.toml").write_text(CELLS)
    monkeypatch.chdir(tmp_path)
    module = loaded("measure_detectors", monkeypatch)
    metrics = {"ap50": 0.8, "ap": 0.5, "ap75": 0.6, "epochs": 7, "latency_ms": 5.0}
    monkeypatch.setattr(module, "result_of", lambda *_: dict(metrics))
    return module


def run(script: Any, *words: str, rival: bool = True) -> int:
    (Path("rival.py")).write_text(RIVAL)
    (Path("stub.py")).write_text("import sys; open('vocdet.log', 'a').write(' '.join(sys.argv[1:]) + '\\n')")
    other = ("--rival", f"{sys.executable} rival.py {{data}} {{seed}}") if rival else ()
    return int(script.main(["cells.toml", "results.jsonl", "--vocdet", f"{sys.executable} stub.py", *other, *words]))


def test_every_cell_and_seed_is_measured_once(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(script) == 0
    rows = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    assert [(row["cell"], row["side"], row["seed"]) for row in rows] == [
        ("shelf", "vocdet", 0), ("shelf", "rival", 0), ("shelf", "vocdet", 1), ("shelf", "rival", 1),
        ("later", "vocdet", 0), ("later", "rival", 0),
    ]  # fmt: skip
    assert rows[0].keys() >= {"commands", "commit", "machine", "minutes", "epochs", "ap75", "latency_ms", "seconds"}
    first = Path("vocdet.log").read_text().splitlines()[0]
    assert first == "train-ssd measured/data/shelf --minutes 2 --seed 0 --runs measured/runs/shelf-0"
    capsys.readouterr()
    assert run(script) == 0  # nothing is left to do
    assert len(Path("vocdet.log").read_text().splitlines()) == 3
    assert Path("rival.log").read_text() == "0 1 0 "
    printed = capsys.readouterr().out
    assert "| shelf | 2 | rival | 2 of 2 | 0.500 (0.500 to 0.500) | 0.300 (0.250 to 0.350) | – | – | – |" in printed
    assert "| later | 3 | vocdet | 1 of 1 | 0.800 | 0.500 | 0.600 | 7.0 | 5.0 |" in printed


def test_a_stopped_measurement_repeats_only_the_row_that_was_not_finished(script: Any) -> None:
    assert run(script) == 0
    text = Path("results.jsonl").read_text()
    Path("results.jsonl").write_text(text[: text.rindex('{"cell"') + 20])
    Path("rival.log").write_text("")
    assert run(script) == 0
    assert Path("rival.log").read_text() == "0 "
    lines = Path("results.jsonl").read_text().splitlines()
    assert len(lines) == 7
    assert json.loads(lines[-1])["cell"] == "later"


def test_another_command_is_another_measurement(script: Any) -> None:
    assert run(script, rival=False) == 0
    Path("cells.toml").write_text(CELLS.replace("train {data}", "train {data} --for pi"))
    assert run(script, rival=False) == 0
    assert [line.split()[0] for line in Path("vocdet.log").read_text().splitlines()].count("train") == 2


def test_cells_that_were_not_run_are_named(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(script, "--table") == 0
    assert "| later | 3 | vocdet | **not run** | – | – | – | – | – |" in capsys.readouterr().out
    assert not Path("results.jsonl").exists()


def test_a_failure_is_reported_and_the_others_go_ahead(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    failing = f"{sys.executable} -c raise(SystemExit(3))"
    assert script.main(["cells.toml", "results.jsonl", "--vocdet", failing]) == 1
    assert capsys.readouterr().err.count("failed") == 3


def test_average_precision_is_that_of_the_evaluation(
    trained: tuple[Path, vocdet.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, trained_run = trained
    module = loaded("measure_detectors", monkeypatch)
    evaluation = evaluate_detector(
        load_predictor(trained_run.path, device="cpu"), load_dataset(Source(root)), EvalOptions("test")
    )
    measured = module.average_precision(evaluation.ground_truth, evaluation.detections)
    assert measured["ap"] == pytest.approx(evaluation.report.coco["AP"])
    assert measured["ap50"] == pytest.approx(evaluation.report.coco["AP50"])
    assert list(measured["ap_at"])[:2] == ["0.50", "0.55"]
    monkeypatch.setattr(module, "ROUNDS", 2)
    assert module.network_latency(trained_run.path) > 0
