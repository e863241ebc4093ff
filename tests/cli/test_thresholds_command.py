"""`vocdet thresholds`: what it prints and stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_eval_command import BOTH, save_run
from vocdet.models.checkpoint import read_info

MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc({"a": BOTH, "b": BOTH[:1], "c": []}, splits={"test": ["a", "b", "c"]})


def test_thresholds_are_shown_and_stored(vocdet: Run, root: Path) -> None:
    run = save_run(Path("runs", "ssd-mb1-0.25-1"), "[red]dog", "cat")
    code, out, err = vocdet("thresholds", "--data", root, "--device", "cpu", "--set", "cat=0.125")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["cat", "0.500", "0.125"] in [line[:3] for line in lines]
    assert "[red]dog" in out
    assert "chosen on test" in err
    assert f"Saved in {run / 'best.safetensors'}" in out
    info = read_info(run / "best.safetensors")
    assert info.thresholds is not None
    assert info.thresholds[1] == 0.125


def test_a_score_needs_its_label(vocdet: Run, root: Path) -> None:
    run = save_run(Path("runs", "ssd-mb1-0.25-1"), "cat")
    code, _, err = vocdet("thresholds", run, "--data", root, "--set", "0.5x")
    assert code == 2
    assert "LABEL=SCORE" in err
