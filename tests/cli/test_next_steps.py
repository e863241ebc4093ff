"""Whoever follows the "next:" lines comes to their end without an error."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]

BOTH = [("cat", (5.0, 5.0, 40.0, 50.0)), ("dog", (50.0, 10.0, 90.0, 70.0))]
STEMS = [f"img{i:02}" for i in range(20)]
MOST = 8  # commands in a chain
QUICK = {
    "train-backbone": ("--net", "mb1-0.25", "--size", "32", "--batch", "16", "--epochs", "1", "--device", "cpu"),
    "train-ssd": ("--net", "mb1-0.25", "--size", "64", "--batch", "8", "--epochs", "1", "--device", "cpu"),
    "predict": ("--device", "cpu"),
}  # options that make a command quick
LEARNING = ["train-backbone", "train-ssd", "eval", "predict", "live"]


def follow(vocdet: Run, *command: object, until: str = "live") -> list[str]:
    """Run a command, and then what each names as the next one; the names of all commands. `until` is not run."""
    words, names = [str(word) for word in command], list[str]()
    for _ in range(MOST):
        names.append(words[0])
        code, out, err = vocdet(*words, *(QUICK.get(words[0], ())))
        assert code == 0, (words, out, err)
        step = next((line for line in reversed(out.splitlines()) if line.startswith("next: ")), "")
        if not step.startswith("next: vocdet "):
            return names
        words = shlex.split(step)[2:]
        if words[0] == until or words[0] in names:
            return [*names, words[0]]
    raise AssertionError(names)


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    """A dataset without splits whose images have nothing in common."""
    return distinct(make_voc(dict.fromkeys(STEMS, BOTH)))


def distinct(root: Path) -> Path:
    for i, path in enumerate(sorted((root / "JPEGImages").iterdir())):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (80, 100, 3), np.uint8)).save(path)
    return root


def test_a_new_dataset_leads_to_a_detector(vocdet: Run, root: Path) -> None:
    assert follow(vocdet, "stats", root, until="split") == ["stats", "split"]
    assert follow(vocdet, "check", root) == ["check", "split", *LEARNING]  # live needs a camera


@pytest.mark.parametrize(
    ("splits", "until"),
    [
        ({"trainval": STEMS[:15], "test": STEMS[15:]}, "live"),
        ({"trainval": STEMS}, "train-backbone"),
        ({"test": STEMS[15:]}, "train-backbone"),
    ],
)  # from train-backbone on, a dataset without test is followed below, and one with test in the first of these
def test_splits_without_train_are_divided_and_test_stays(
    vocdet: Run, make_voc: MakeVoc, splits: dict[str, list[str]], until: str
) -> None:
    root = distinct(make_voc(dict.fromkeys(STEMS, BOTH), splits=splits))
    expected = ["check", "split", *LEARNING]
    assert follow(vocdet, "check", root, until=until) == expected[: expected.index(until) + 1]
    if "test" in splits:
        assert (root / "ImageSets" / "Main" / "test.txt").read_text().split() == splits["test"]


def test_a_dataset_without_test_is_evaluated_on_val(vocdet: Run, make_voc: MakeVoc) -> None:
    root = distinct(make_voc(dict.fromkeys(STEMS, BOTH), splits={"train": STEMS[:15], "val": STEMS[15:]}))
    assert follow(vocdet, "check", root) == ["check", *LEARNING]


def test_what_is_left_out_stays_left_out(vocdet: Run, root: Path) -> None:
    (root / "JPEGImages" / "img03.jpg").unlink()
    assert follow(vocdet, "split", root, "--skip-bad") == ["split", *LEARNING]


def test_crops_train_a_classifier(vocdet: Run, root: Path, tmp_path: Path) -> None:
    assert follow(vocdet, "crops", root, tmp_path / "crops", "--size", 32) == ["crops", "train-backbone"]


def test_new_datasets_lead_on(vocdet: Run, root: Path, make_voc: MakeVoc, tmp_path: Path) -> None:
    other = make_voc(dict.fromkeys((f"other{i}" for i in range(8)), BOTH), root=tmp_path / "other")
    commands: list[tuple[tuple[object, ...], str]] = [
        (("convert", root, "NEW", "--to", "coco"), "check"),
        (("remap", root, "NEW", "--rename", "cat=lynx"), "stats"),
        (("sample", root, "NEW", "-n", 10), "split"),
        (("merge", root, other, "NEW"), "split"),
    ]
    for i, (command, second) in enumerate(commands):
        new = tmp_path / f"new{i}"
        code, out, err = vocdet(*(new if word == "NEW" else word for word in command))
        assert code == 0, err
        step = shlex.split(out.splitlines()[-1])
        assert step[:4] == ["next:", "vocdet", second, str(new)]
        code, out, err = vocdet(*step[2:])
        assert code == 0, (step, out, err)


def test_runs_and_recipes_lead_on(vocdet: Run, root: Path) -> None:
    assert follow(vocdet, "recipes") == ["recipes", "recipes"]
    assert vocdet("split", root)[0] == 0
    assert vocdet("train-backbone", root, *QUICK["train-backbone"])[0] == 0
    assert follow(vocdet, "runs")[:4] == ["runs", "train-ssd", "eval", "predict"]
    assert vocdet("train-ssd", root, *QUICK["train-ssd"])[0] == 0
    assert follow(vocdet, "runs")[:2] == ["runs", "compare"]


def test_a_run_without_a_checkpoint_is_not_to_be_evaluated(vocdet: Run, root: Path) -> None:
    assert vocdet("split", root)[0] == 0
    assert vocdet("train-ssd", root, *QUICK["train-ssd"])[0] == 0
    (run,) = (path for path in Path("runs").iterdir() if path.is_dir())
    for name in ("best.safetensors", "last.safetensors"):
        (run / name).unlink()
    code, out, _ = vocdet("runs")
    assert code == 0
    assert "vocdet eval" not in out
