"""`vocdet runs` and `vocdet compare`: what they print."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.test_compare_split import runs  # noqa: F401
from vocdet.recipes.load import dump_recipe
from vocdet.recipes.schema import BackboneRecipe, SsdRecipe, changed
from vocdet.runs import journal
from vocdet.runs.journal import Journal

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the pictures of these runs."""
    monkeypatch.setattr(journal, "curves", lambda *_, **__: b"")


def make(
    name: str, *, ending: Any = "finished", metrics: Mapping[str, float] | None = None,
    labels: Mapping[str, float] | None = None, fingerprint: str = "0123456789", **recipe: Any,
) -> Path:  # fmt: skip
    """A run in ./runs with one epoch of an hour."""
    run = Path("runs", name)
    run.mkdir(parents=True)
    task = name.partition("-")[0]
    base: Any = BackboneRecipe() if task == "backbone" else SsdRecipe()
    with Journal(run) as kept:
        data = {"fingerprint": fingerprint, "labels": list(labels or {}), "images": 4}
        kept.start(dump_recipe(changed(base, **{"epochs": 9, **recipe}), task), {}, task=task, dataset=data)
        row = {f"val_{name}": value for name, value in (metrics or {"ap50": 0.5, "ap": 0.25}).items()}
        kept.epoch({"epoch": 1, "seconds": 3660.0, **row}, labels, best=True)
        kept.close(ending)
    if ending != "finished":
        (run / "state.safetensors").write_bytes(b"")
    else:
        header = json.dumps({"__metadata__": {"vocdet": json.dumps({"model": {"task": task}})}}).encode()
        (run / "best.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return run


def line(out: str, begin: str) -> list[str]:
    """The words of the one line that begins so."""
    (found,) = [words for words in map(str.split, out.splitlines()) if words[:1] == [begin]]
    return found


def test_runs_are_listed_by_task_with_their_metrics(vocdet: Run) -> None:
    make("ssd-mb1-1", metrics={"ap50": 0.75, "ap": 0.375}, net="mb1", size=96)
    make("backbone-mb1-1", metrics={"accuracy": 0.9, "mean_label_accuracy": 0.8, "loss": 0.5}, net="mb1")
    code, out, err = vocdet("runs")
    assert (code, err) == (0, "")
    words = line(out, "ssd-mb1-1")
    assert words[:6] == ["ssd-mb1-1", "mb1", "96", "1/9", "0.750", "0.375"]
    assert words[-4:] == ["1:01", "h", "01234567", "finished"]
    assert line(out, "backbone-mb1-1")[4:7] == ["0.900", "0.800", "0.500"]
    assert "detectors (ssd)" in out
    assert "classifiers (backbone)" in out
    assert "2 runs in runs" in out


def test_an_interrupted_run_is_listed_with_the_command_that_resumes_it(vocdet: Run) -> None:
    make("ssd-mb1-1", ending="interrupted")
    _, out, _ = vocdet("runs")
    assert "interrupted (resumable)" in out
    assert out.endswith("next: vocdet train-ssd --resume runs/ssd-mb1-1\n")


def test_a_run_without_a_checkpoint_is_passed_over(vocdet: Run) -> None:
    (make("ssd-mb1-1") / "best.safetensors").unlink()
    make("ssd-mb1-2")
    assert vocdet("runs")[1].endswith("next: vocdet eval runs/ssd-mb1-2\n")


def test_two_runs_on_the_same_data_suggest_a_comparison(vocdet: Run) -> None:
    run = make("ssd-mb1-1")
    best = (run / "best.safetensors").read_bytes()
    (run / "best.safetensors").unlink()
    assert "next:" not in vocdet("runs")[1]  # there is no checkpoint to evaluate
    (run / "best.safetensors").write_bytes(best)
    assert vocdet("runs")[1].endswith("next: vocdet eval runs/ssd-mb1-1\n")
    make("ssd-mb1-2", fingerprint="another")
    assert vocdet("runs", "--sort", "name")[1].endswith("next: vocdet eval runs/ssd-mb1-1\n")
    make("ssd-mb1-3")
    assert vocdet("runs", "--sort", "name")[1].endswith("next: vocdet compare runs/ssd-mb1-1 runs/ssd-mb1-3\n")


def test_damaged_runs_and_other_folders_are_reported(vocdet: Run) -> None:
    run = make("ssd-mb1-[red]")
    (run / "metrics.csv").write_bytes(b"\xff\xfe")
    Path("runs", "photos").mkdir()
    code, out, err = vocdet("runs")
    assert code == 0
    assert line(out, "ssd-mb1-[red]")[-2:] == ["finished,", "damaged"]
    assert f"warning: {run / 'metrics.csv'} cannot be read" in err
    assert "not runs: photos" in err


def test_the_error_of_a_failed_run_is_printed(vocdet: Run) -> None:
    run = make("ssd-mb1-1")
    status = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**status, "state": "failed", "why": "the loss is not finite"}))
    assert "ssd-mb1-1 failed: the loss is not finite" in vocdet("runs")[2]


def test_the_list_is_available_as_json(vocdet: Run) -> None:
    make("ssd-mb1-1", metrics={"ap50": 0.75})
    make("ssd-mb1-2", metrics={"ap50": 0.875}, ending="interrupted")
    code, out, err = vocdet("runs", "--json", "--sort", "ap50")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert [(run["folder"], run["scores"]) for run in found] == [
        ("runs/ssd-mb1-2", {"ap50": 0.875}), ("runs/ssd-mb1-1", {"ap50": 0.75}),
    ]  # fmt: skip
    assert found[0]["resume"] == ["train-ssd", "--resume", "runs/ssd-mb1-2"]
    assert found[0]["recipe"]["train.epochs"] == 9
    Path("none").mkdir()
    assert vocdet("runs", "none", "--json")[1] == "[]\n"


def test_a_folder_without_runs_suggests_to_train(vocdet: Run) -> None:
    Path("none").mkdir()
    assert vocdet("runs", "none") == (0, "0 runs in none\nnext: vocdet train-ssd\n", "")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("runs", "missing"), "missing: cannot be read: no such file or directory"),
        (("runs", "--sort", "map"), "no run has the metric 'map'"),
        (("compare", "ssd-mb1-1", "x"), "x: no such run"),
        (("compare", "ssd-mb1-1"), "runs/ssd-mb1-1: only one run to compare"),
        (("compare", "ssd-mb1-1", "runs/ssd-mb1-1"), "runs/ssd-mb1-1: the same run is named twice"),
    ],
)
def test_an_invalid_argument_is_one_message_with_a_hint(vocdet: Run, arguments: tuple[str, ...], problem: str) -> None:
    make("ssd-mb1-1")
    code, out, err = vocdet(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {problem}")
    assert err.count("error:") == err.count("hint:") == 1


def test_two_runs_are_compared_label_by_label(vocdet: Run) -> None:
    a = make("ssd-mb1-1", metrics={"ap50": 0.5}, labels={"[red]cat": 0.5, "dog": 0.5, "old": 0.1}, lr=0.1)
    b = make(
        "ssd-mb1-2", metrics={"ap50": 0.75}, labels={"[red]cat": 0.4, "dog": 0.9, "new": 0.2}, fingerprint="another"
    )
    code, out, err = vocdet("compare", a, "ssd-mb1-2")
    assert (code, err) == (0, "")
    assert line(out, "train.lr") == ["train.lr", "0.1", "0.004"]
    assert ["ap50", "0.500", "0.750", "+0.250"] in [words.split() for words in out.splitlines()]
    assert line(out, "dog") == ["dog", "0.500", "0.900", "+0.400"]
    assert line(out, "[red]cat") == ["[red]cat", "0.500", "0.400", "−0.100"]
    assert line(out, "old") == ["old", "0.100", "–"]
    assert line(out, "new") == ["new", "–", "0.200"]
    assert line(out, "fingerprint") == ["fingerprint", "01234567", "another"]
    assert "3 labels: +new −old" in out
    assert "environment: no known difference" in out
    assert out.index("dog") < out.index("[red]cat  ")  # what gained most comes first
    assert out.endswith(f"Compared 2 runs\nnext: vocdet eval {b}\n")


def test_of_many_labels_both_ends_are_shown_or_all_on_request(vocdet: Run) -> None:
    for number in (1, 2):
        labels = {f"label{i:02}": 0.001 * i * number for i in range(60)}
        make(f"ssd-mb1-{number}", labels=labels)
    short, long = (
        vocdet("compare", "ssd-mb1-1", "ssd-mb1-2")[1],
        vocdet("compare", "ssd-mb1-1", "ssd-mb1-2", "--all")[1],
    )
    assert "more: --all" in short
    assert "label30" not in short
    assert "label30" in long


def test_metrics_on_different_images_are_a_warning(vocdet: Run) -> None:
    for number, digest in ((1, "x"), (2, "y")):
        run = make(f"ssd-mb1-{number}")
        (run / "dataset.json").write_text(json.dumps({"labels": [], "images": {"val": {"a": digest}}}))
    _, out, err = vocdet("compare", "ssd-mb1-1", "ssd-mb1-2")
    assert "warning: the runs used different images of val: their metrics are not comparable" in err
    assert line(out, "images") == ["images", "of", "val", "1", "1", "(1", "changed)"]


def test_the_comparison_is_available_as_json(vocdet: Run) -> None:
    make("ssd-mb1-1", labels={"cat": 0.25}, lr=0.1)
    make("ssd-mb1-2", labels={"cat": 0.5})
    code, out, err = vocdet("compare", "ssd-mb1-1", "ssd-mb1-2", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["runs"] == ["runs/ssd-mb1-1", "runs/ssd-mb1-2"]
    assert found["recipe"] == [{"name": "train.lr", "values": [0.1, 0.004]}]
    assert found["splits"][0]["labels"] == {"ap50": [{"name": "cat", "values": [0.25, 0.5]}]}


def test_a_comparison_needs_two_runs(vocdet: Run) -> None:
    code, out, err = vocdet("compare")
    assert (code, out) == (2, "")
    assert "Usage" in err


def test_a_paired_test_on_a_split(vocdet: Run, runs: tuple[Path, list[Path]]) -> None:  # noqa: F811
    root, folders = runs
    code, out, _ = vocdet("compare", *folders, "--split", "test", "--data", root)
    assert code == 0
    assert "paired test on test: the same 10 images, drawn 1,000 times" in out
    words = " ".join(out.split())
    assert "AP50" in words
    assert "−0.500" in words
    code, out, _ = vocdet("compare", *folders, "--split", "test", "--data", root, "--json")
    first = json.loads(out)["tests"][0]
    assert (first["metric"], first["before"], first["after"], first["difference"]) == ("AP50", ["a", "b"], ["c"], -0.5)
    assert first["p"] < 0.05
    assert vocdet("compare", *folders, "--split", "night", "--data", root)[0] == 1
