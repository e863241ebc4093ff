"""A whole training in one call."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import vocdet

pytestmark = pytest.mark.usefixtures("no_curves", "quick_facts")
TINY = {"net": "mb1-0.25", "size": 64, "batch": 4, "epochs": 1, "weights": "none", "device": "cpu"}


def test_a_path_is_split_trained_on_and_evaluated(shelf: Path, tmp_path: Path) -> None:
    shutil.rmtree(shelf / "ImageSets")
    result = vocdet.train(shelf, minutes=1, runs=tmp_path / "runs", **TINY)  # type: ignore[arg-type]
    assert (shelf / "ImageSets" / "Main" / "train.txt").is_file()
    assert result.run.path == tmp_path / "runs" / "ssd-mb1-0.25-1"
    assert result.report is not None
    assert [row.label for row in result.report.labels] == ["circle", "square"]
    assert {choice.name: choice.reason for choice in result.plan.choices}["size"] == "as requested"
    assert repr(result).startswith(f"<training by a plan: <run {result.run.path}, epochs: 1")


def test_a_dataset_in_memory_keeps_its_splits_to_itself(shelf: Path, tmp_path: Path) -> None:
    before = (shelf / "ImageSets" / "Main" / "train.txt").read_bytes()
    dataset = vocdet.split(vocdet.read(shelf), trainval=0.5, seed=4)
    result = vocdet.train(dataset, minutes=1, runs=tmp_path / "runs", **TINY)  # type: ignore[arg-type]
    assert result.report is not None
    assert result.report.images == len(dataset.splits["test"]) == 6
    assert (shelf / "ImageSets" / "Main" / "train.txt").read_bytes() == before


def test_a_stopped_training_has_no_report(shelf: Path, tmp_path: Path) -> None:
    result = vocdet.train(shelf, minutes=1, runs=tmp_path / "runs", stop=lambda: True, **TINY)  # type: ignore[arg-type]
    assert result.run.interrupted
    assert result.report is None


def test_a_value_that_no_recipe_has_is_an_error_with_the_nearest_match(shelf: Path) -> None:
    with pytest.raises(vocdet.RecipeError) as caught:
        vocdet.train(shelf, sise=64)
    assert "did you mean 'size'?" in caught.value.hint
