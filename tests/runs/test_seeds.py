"""The runs of one request with several seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflows.test_compare import make
from vocdet.formats.scan import Source
from vocdet.recipes.schema import SsdRecipe, changed
from vocdet.runs import journal
from vocdet.runs.seeds import SeedRuns, spreads
from vocdet.training.state import FINAL_STATE, STATE


def known(runs: Path, seed: int = 0, data: str = "shelf") -> SeedRuns:
    return SeedRuns.of(runs, "ssd", changed(SsdRecipe(), seed=seed), Source(Path(data)))


def test_the_same_request_finds_its_runs_again(tmp_path: Path) -> None:
    assert known(tmp_path).run(0) is None
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / FINAL_STATE).touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / STATE).touch()
    known(tmp_path).with_run(0, tmp_path / "a").with_run(1, tmp_path / "b")
    again = known(tmp_path, seed=7)  # the first seed is no part of a request
    assert (again.run(0), again.run(1), again.run(2)) == (tmp_path / "a", tmp_path / "b", None)
    assert [again.is_finished(seed) for seed in range(3)] == [True, False, False]
    assert known(tmp_path, data="other").run(0) is None


def test_a_run_without_a_state_and_a_broken_record_are_forgotten(tmp_path: Path) -> None:
    record = known(tmp_path).with_run(0, tmp_path / "gone")
    assert record.run(0) is None
    record.path.write_text("nonsense")
    assert known(tmp_path).run(0) is None


def test_two_processes_record_their_seeds_in_one_file(tmp_path: Path) -> None:
    one, other = known(tmp_path), known(tmp_path, seed=1)  # both begin before the other has written
    for seed, record in enumerate((one, other)):
        run = tmp_path / f"run{seed}"
        run.mkdir()
        (run / STATE).touch()
        record.with_run(seed, run)
    assert [known(tmp_path).run(seed) for seed in range(2)] == [tmp_path / "run0", tmp_path / "run1"]


def test_metrics_spread_over_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "curves", lambda *_, **__: b"")
    folders = [make(tmp_path / name, ap50) for name, ap50 in (("a", 0.4), ("b", 0.5), ("c", 0.6))]
    (ap50,) = spreads(folders)
    assert (ap50.name, ap50.values) == ("ap50", (0.4, 0.5, 0.6))
    assert [ap50.mean, ap50.deviation] == pytest.approx([0.5, 0.1])
