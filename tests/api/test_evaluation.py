"""The API, `vocdet eval` and `vocdet bench` agree on every number."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import vocdet
from vocdet.formats.scan import Source
from vocdet.workflows.bench import BenchOptions, bench_runs
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate import evaluate_run

Trained = tuple[Path, vocdet.Run]


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the run, to write to."""
    return Path(shutil.copytree(trained[1].path, tmp_path / "run"))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_api_eval_and_bench_agree(split: str, trained: Trained, run: Path) -> None:
    root = trained[0]
    report = vocdet.evaluate(vocdet.read(root), vocdet.load(run, device="cpu"), split=split)
    assert report.overall.objects > 0
    done = evaluate_run(run, Source(root), EvalOptions(split=split), detector=DetectorOptions("cpu"))
    assert report.as_dict() == done.report.as_dict()
    written = json.loads((run / f"metrics-{split}.json").read_text())
    assert written.items() >= json.loads(json.dumps(report.as_dict())).items()
    (measured,) = bench_runs([run], BenchOptions(split=split, rounds=1, device="cpu"), data=root).runs
    assert measured.scores.metrics == {"ap50": report.overall.ap50, "ap": report.overall.ap}
    assert (measured.scores.images, measured.scores.split) == (report.images, split)


def test_the_validation_of_the_training_is_the_evaluation_on_val(trained: Trained) -> None:
    root, run = trained
    report = vocdet.evaluate(root, run, split="val")
    assert run.metrics["ap50"] == pytest.approx(report.overall.ap50, abs=1e-6)


def test_splits_in_memory_are_evaluated(trained: Trained, detector: vocdet.Detector) -> None:
    dataset = vocdet.read(trained[0])
    mine = replace(dataset, splits={"test": dataset.splits["train"][:3]})
    report = vocdet.evaluate(mine, detector)
    assert report.images == 3
    assert repr(report).startswith("<evaluation of 3 images, 6 objects, 2 labels, AP ")
    with pytest.raises(vocdet.SplitError):
        vocdet.evaluate(mine, detector, split="val")


def test_a_subset_has_an_interval(trained: Trained, detector: vocdet.Detector) -> None:
    report = vocdet.evaluate(trained[0], detector, split="train", subset=4, seed=2)
    assert report.images == 4
    assert report.interval is not None


def test_nothing_is_written(trained: Trained, run: Path) -> None:
    before = sorted(run.iterdir())
    vocdet.evaluate(trained[0], run)
    assert sorted(run.iterdir()) == before
