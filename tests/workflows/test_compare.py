"""The differences between runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vocdet.errors import ArgumentError
from vocdet.recipes.load import dump_recipe
from vocdet.recipes.schema import SsdRecipe, changed
from vocdet.runs import journal
from vocdet.runs.journal import Journal
from vocdet.workflows.compare import Comparison, Difference, MetricRow, compare_runs


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the pictures of these runs."""
    monkeypatch.setattr(journal, "curves", lambda *_, **__: b"")


def make(
    run: Path, ap50: float = 0.5, labels: Mapping[str, float] | None = None, *, images: Any = None, **recipe: Any
) -> Path:
    """A run of one epoch, with an AP50 of every label."""
    by_label = labels or {"cat": 0.5, "dog": 0.5}
    run.mkdir(parents=True)
    with Journal(run) as kept:
        text = dump_recipe(changed(SsdRecipe(), **recipe), "ssd")
        kept.start(text, {}, task="ssd", dataset={"fingerprint": "f", "labels": list(by_label), "images": 4})
        kept.epoch({"epoch": 1, "val_ap50": ap50}, by_label, best=True)
    if images:
        kept.json("dataset.json", {"labels": list(by_label), "images": images})
    return run


def evaluation(
    run: Path, split: str, labels: Mapping[str, float | None], *, dataset: str = "d", own: bool = False
) -> None:
    """The compared fields of an evaluation's report."""
    rows = [{"label": name, "ap50": value, "ap": None, "f1": 0.5, "objects": 3} for name, value in labels.items()]
    content = {"split": split, "dataset": dataset, "thresholds_from": "the checkpoint" if own else "these images",
               "images": 2, "labels": rows, "overall": {"ap50": 0.5, "f1": None, "objects": 9}, "coco": {}}  # fmt: skip
    (run / f"metrics-{split}.json").write_text(json.dumps(content))


def splits(found: Comparison) -> dict[str, dict[str, list[MetricRow]]]:
    return {split.split: {name: list(rows) for name, rows in split.labels.items()} for split in found.splits}


def test_only_differences_of_the_recipes_are_shown(tmp_path: Path) -> None:
    found = compare_runs([make(tmp_path / "a", lr=0.1), make(tmp_path / "b", size=416), make(tmp_path / "c", lr=0.1)])
    assert found.recipe == (
        Difference("model.size", (320, 416, 320)),
        Difference("train.lr", (0.1, 0.004, 0.1)),
    )
    assert (found.environment, found.data, found.notes) == ((), (), ())


def test_only_relevant_differences_of_the_environment_are_shown(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b")
    environment = json.loads((b / "environment.json").read_text())
    other = {"torch": "1.0", "gpus": ["H100"], "date": "x", "host": "y", "command": "z"}
    (b / "environment.json").write_text(json.dumps({**environment, **other}))
    assert compare_runs([a, b]).environment == (
        Difference("torch", (environment["torch"], "1.0")),
        Difference("gpus", (None, ["H100"])),
    )


def test_an_unknown_environment_is_not_a_difference(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b")
    (b / "environment.json").unlink()
    found = compare_runs([a, b])
    assert (found.environment, found.notes) == ((), ("the environment of b is unknown",))


def test_metrics_are_compared_for_the_labels_of_any_run(tmp_path: Path) -> None:
    a = make(tmp_path / "a", 0.5, {"cat": 0.4, "dog": 0.6})
    b = make(tmp_path / "b", 0.75, {"dog": 0.7, "emu": 0.8})
    found = compare_runs([a, b])
    (split,) = found.splits
    assert (split.split, split.measured, split.same_images) == ("val", "validation", None)
    assert split.overall == (MetricRow("ap50", (0.5, 0.75)),)
    assert split.labels["ap50"] == (
        MetricRow("cat", (0.4, None)), MetricRow("dog", (0.6, 0.7)), MetricRow("emu", (None, 0.8)),
    )  # fmt: skip
    assert found.data == (Difference("labels", (["cat", "dog"], ["dog", "emu"])),)


def test_added_removed_and_changed_images_are_counted(tmp_path: Path) -> None:
    a = make(tmp_path / "a", images={"train": {"1": "x", "2": "y", "3": "z"}, "val": {"4": "v"}})
    b = make(tmp_path / "b", images={"train": {"1": "x", "2": "changed", "5": "w", "6": "u"}, "val": {"4": "v"}})
    found = compare_runs([a, b])
    assert found.data == (Difference("images of train", ("3", "4 (2 added, 1 removed, 1 changed)")),)
    assert found.splits[0].same_images is True


def test_different_validation_images_are_detected(tmp_path: Path) -> None:
    a, b = (make(tmp_path / name, images={"train": {"1": "x"}, "val": {name: "v"}}) for name in "ab")
    assert compare_runs([a, b]).splits[0].same_images is False


def test_evaluations_on_the_same_split_are_compared(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b")
    evaluation(a, "test", {"cat": 0.25, "dog": None})
    evaluation(b, "test", {"dog": 0.5, "cat": 0.75})
    found = compare_runs([a, b])
    test = found.splits[1]
    assert (test.split, test.measured, test.same_images) == ("test", "eval", True)
    assert test.overall == (MetricRow("ap50", (0.5, 0.5)),)
    assert splits(found)["test"]["ap50"] == [MetricRow("cat", (0.25, 0.75)), MetricRow("dog", (None, 0.5))]
    assert splits(found)["test"]["f1"][0] == MetricRow("cat", (0.5, 0.5))


def test_evaluations_that_cannot_be_compared_are_reported(tmp_path: Path) -> None:
    a, b, c = (make(tmp_path / name) for name in "abc")
    evaluation(a, "test", {"cat": 0.25})
    evaluation(b, "test", {"cat": 0.5}, dataset="another", own=True)
    evaluation(b, "train", {"cat": 0.5})
    (c / "metrics-test.json").write_text("{}")
    found = compare_runs([a, b, c])
    assert [(split.split, split.same_images) for split in found.splits] == [("val", None), ("test", False)]
    assert found.notes == (
        f"{c / 'metrics-test.json'} cannot be read",
        f'{c} has no metrics-test.json: run `vocdet.evaluate(dataset, run, split="test")`',
        "precision, recall and F1 on test use thresholds of different origins",
        f'{a}, {c} has no metrics-train.json: run `vocdet.evaluate(dataset, run, split="train")`',
    )


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "b", "b"]])
def test_a_comparison_needs_different_runs(tmp_path: Path, names: list[str]) -> None:
    for name in "ab":
        make(tmp_path / name)
    with pytest.raises(ArgumentError, match=r"only one run|named twice"):
        compare_runs([Path(name) for name in names], runs=tmp_path)
