"""A paired test of runs on a split, from the detections in their folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.test_compare import make
from tests.workflows.test_evaluate import Knows, save_run
from vocdet.formats.scan import Source
from vocdet.runs import journal
from vocdet.runs.facts import read_run
from vocdet.workflows import evaluate
from vocdet.workflows.compare_split import compare_on
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.load import load_dataset

BOX = (10, 10, 60, 60)


@pytest.fixture
def runs(make_voc: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Path]]:
    """Two seeds that find the dogs of all ten images, and a run with another rate that finds cats alone."""
    root = make_voc(
        {f"i{k}": [("dog" if k % 2 else "cat", BOX)] for k in range(10)}, splits={"test": [f"i{k}" for k in range(10)]}
    )
    monkeypatch.setattr(journal, "curves", lambda *_, **__: b"")
    truth = load_dataset(Source(root)).dataset
    know = {"a": ("cat", "dog"), "b": ("cat", "dog"), "c": ("cat",)}
    settings: dict[str, dict[str, Any]] = {"a": {"seed": 0}, "b": {"seed": 1}, "c": {"lr": 0.1}}
    folders = [save_run(make(tmp_path / name, **settings[name]), know[name]) for name in know]
    monkeypatch.setattr(DetectorOptions, "open", lambda options, run: Knows(truth, know[run.name]))
    monkeypatch.setattr(evaluate, "detect_all", lambda predictor, images: predictor.detect_all(images))
    return root, folders


def test_seeds_of_one_recipe_are_compared_with_another_recipe(runs: tuple[Path, list[Path]]) -> None:
    root, folders = runs
    facts = [read_run(folder) for folder in folders]
    ap50, ap = compare_on(facts, "test", Source(root))
    assert (ap50.metric, ap50.images, ap50.before, ap50.after) == ("AP50", 10, ("a", "b"), ("c",))
    assert (ap50.value, ap50.difference) == (1, -0.5)  # c has no dogs
    assert ap50.bounds == pytest.approx((-0.5, -0.5), abs=0.01)  # both labels are in nearly every draw
    assert ap50.p == pytest.approx(2 / 1001, abs=0.01)
    assert ap50.sure
    assert ap.metric == "AP"


def test_an_evaluation_is_read_and_not_repeated(runs: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    root, folders = runs
    facts = [read_run(folder) for folder in folders]
    first = compare_on(facts[:2], "test", Source(root))
    assert [one.after for one in first] == [("b",)] * 2  # only the seeds differ
    assert all((one.difference, one.p, one.sure) == (0, 1, False) for one in first)
    monkeypatch.setattr("vocdet.workflows.compare_split.evaluate_run", None)
    assert compare_on(facts[:2], "test", Source(root)) == first


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """From the call on, the names of the runs that are evaluated; none is."""
    names: list[str] = []

    def record() -> list[str]:
        monkeypatch.setattr("vocdet.workflows.compare_split.evaluate_run", lambda run, *_, **__: names.append(run.name))
        return names

    return record


def test_an_evaluation_of_a_split_that_has_other_images_by_now_is_repeated(
    runs: tuple[Path, list[Path]], evaluated: Callable[[], list[str]]
) -> None:
    root, folders = runs
    facts = [read_run(folder) for folder in folders[:2]]
    compare_on(facts, "test", Source(root))
    (root / "ImageSets" / "Main" / "test.txt").write_text("".join(f"i{k}\n" for k in reversed(range(10))))
    names = evaluated()
    compare_on(facts, "test", Source(root))
    assert names == ["a", "b"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("best.safetensors", "last.safetensors"),
        ('"split": "test",', '"split": "test", "tiles": {"size": 64, "overlap": 0.2, "whole": true},'),
    ],
    ids=["another checkpoint", "tiles"],
)
def test_an_evaluation_of_another_checkpoint_in_the_run_or_on_tiles_is_repeated(
    runs: tuple[Path, list[Path]], evaluated: Callable[[], list[str]], old: str, new: str
) -> None:
    root, folders = runs
    facts = [read_run(folder) for folder in folders[:2]]
    compare_on(facts, "test", Source(root))
    path = folders[0] / "metrics-test.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    names = evaluated()
    compare_on(facts, "test", Source(root))
    assert names == ["a"]


def test_runs_of_one_name_are_told_apart_by_their_paths(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    root, folders = runs
    copy = shutil.copytree(folders[2], tmp_path / "more" / "c")
    ap50, _ = compare_on([read_run(folders[2]), read_run(copy)], "test", Source(root))
    assert (ap50.before, ap50.after) == ((str(folders[2]),), (str(copy),))
