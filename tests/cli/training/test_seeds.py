"""`--seeds N`: a run for each seed, and the spread of their metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vocdet_cli.training import seeds

from tests.workflows.test_compare import make
from vocdet.runs import journal
from vocdet.training.state import FINAL_STATE, STATE

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, str | None]]:
    """Trainings that end at once: the seed and the run to resume of each. The second one is interrupted."""
    calls: list[tuple[object, str | None]] = []

    def follow(task: str, options: Any, print_start: Any, *, folder: bool) -> tuple[Any, Any]:
        calls.append((options.values.get("seed"), options.resume))
        run = Path(options.resume) if options.resume else make(options.runs / f"ssd-{len(calls)}", len(calls) / 10)
        interrupted = len(calls) == 2
        (run / (STATE if interrupted else FINAL_STATE)).touch()
        if not interrupted:
            (run / STATE).unlink(missing_ok=True)
        print_start(SimpleNamespace(run=run), None, show_weights=False)
        return None, SimpleNamespace(run=run, interrupted=interrupted)

    def print_end(result: Any, then: str, resume: str) -> None:
        if result.interrupted:
            raise SystemExit(130)

    monkeypatch.setattr(journal, "curves", lambda *_, **__: b"")
    monkeypatch.setattr(seeds, "follow", follow)
    monkeypatch.setattr(seeds, "print_end", print_end)
    monkeypatch.setattr("vocdet_cli.training.commands.print_detector_start", lambda *_, **__: None)
    return calls


def test_the_same_command_continues_with_the_seeds_that_are_left(
    vocdet: Run, trained: list[tuple[object, str | None]]
) -> None:
    command = ("train-ssd", "shelf", "--seeds", 3, "--seed", 5)
    assert vocdet(*command)[0] == 130
    code, out, err = vocdet(*command)
    assert code == 0
    assert trained == [(5, None), (6, None), (None, "runs/ssd-2"), (7, None)]
    assert "seed 5: runs/ssd-1 is finished" in err
    rows = [line.split() for line in out.splitlines()]
    assert ["ap50", "0.233", "0.153", "0.100", "0.400"] in rows  # .1, .2, .4
    assert out.endswith("Trained 3 seeds\nnext: vocdet compare runs/ssd-1 runs/ssd-2 runs/ssd-4\n")


def test_it_excludes_a_run_to_resume(vocdet: Run, trained: list[tuple[object, str | None]]) -> None:
    code, _, err = vocdet("train-ssd", "--seeds", 2, "--resume", "a")
    assert code == 2
    assert "--seeds" in err
    assert trained == []
