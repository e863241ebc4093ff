"""The detections of a run in the viewer: those of its evaluations on the same dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vocdet.data.detections import Detections
from vocdet.errors import RunError
from vocdet.formats.scan import Source
from vocdet.inference.results import write_coco_results
from vocdet.viewing.table import MISSED, Filters
from vocdet.workflows.load import load_dataset
from vocdet.workflows.view import ViewOptions, open_viewer

pytest.importorskip("starlette", reason="the extra serve is not installed")

CAT, DOG = (5.0, 5.0, 40.0, 50.0), (50.0, 10.0, 90.0, 70.0)


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    both = [("cat", CAT), ("dog", DOG)]
    return make_voc(dict.fromkeys("abcd", both), splits={"train": ["a", "b"], "test": ["d", "c"]})


def evaluated(root: Path, run: Path, *, fingerprint: str = "") -> Path:
    """A run whose detector has its labels in another order, and finds the dogs of test, one with a low score."""
    run.mkdir()
    (run / "best.safetensors").write_bytes(b"")
    dataset = load_dataset(Source(root)).dataset
    known = fingerprint or dataset.subset(dataset.rows("test")).fingerprint()
    rows = [{"label": "dog", "threshold": 0.5, "ap50": 1.0}, {"label": "cat", "threshold": 0.25, "ap50": None}]
    (run / "metrics-test.json").write_text(json.dumps({"split": "test", "dataset": known, "labels": rows}))
    found = [Detections(np.array([DOG]), np.array([score], np.float32), np.array([0])) for score in (0.9, 0.4)]
    write_coco_results(run / "detections-test.json", ["d.jpg", "c.jpg"], found)
    return run


def test_detections_and_thresholds_are_those_of_the_evaluation(root: Path, tmp_path: Path) -> None:
    viewer = open_viewer(Source(root), ViewOptions(evaluated(root, tmp_path / "run"), notes=tmp_path / "n.csv"))
    table, found = viewer.table, viewer.table.predictions
    assert found is not None
    assert table.dataset.labels == ("dog", "cat")
    assert found.thresholds.tolist() == [0.5, 0.25]
    assert found.images.tolist() == [False, False, True, True]
    assert found.table.score.tolist() == pytest.approx([0.4, 0.9])  # of c and d
    assert table.errors["correct"] == 1
    missed = table.select(Filters(error=MISSED, label=0), viewer.notes.codes)
    assert [table.dataset.images.stems[row] for row in missed] == ["c"]


def test_an_evaluation_of_another_dataset_is_repeated(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocdet.workflows import evaluate

    calls: list[str] = []
    monkeypatch.setattr(evaluate, "evaluate_run", lambda run, loaded, options, **_: calls.append(options.split))
    run = evaluated(root, tmp_path / "run", fingerprint="other")
    with pytest.raises(RunError, match="its detections cannot be read"):
        open_viewer(Source(root), ViewOptions(run, notes=tmp_path / "n.csv"))
    assert calls == ["test"]


def test_an_evaluation_of_another_checkpoint_of_the_run_is_not_shown(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocdet.workflows import evaluate

    calls: list[Path] = []
    monkeypatch.setattr(evaluate, "evaluate_run", lambda run, *_, **__: calls.append(run))
    last = evaluated(root, tmp_path / "run") / "last.safetensors"
    last.write_bytes(b"")
    with pytest.raises(RunError, match="its detections cannot be read"):
        open_viewer(Source(root), ViewOptions(last, notes=tmp_path / "n.csv"))
    assert calls == [last]
