"""`vocdet train`: its plan, its steps, how it stops and continues, and what it refuses."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from vocdet_cli.training import progress

from vocdet.errors import OutputError
from vocdet.formats.scan import Source
from vocdet.recipes.plan import PlanRequest
from vocdet.runs.setup import RunOptions
from vocdet.workflows.train import Session, prepare

pytestmark = pytest.mark.usefixtures("no_curves", "quick_facts")

MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
CAT, DOG = ("cat", (5.0, 5.0, 40.0, 50.0)), ("[red]dog", (50.0, 10.0, 90.0, 70.0))
TINY = ("--net", "mb1-0.25", "--size", 64, "--batch", 4, "--epochs", 1, "--weights", "none", "--device", "cpu")


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc({f"img{i:02}": [CAT, DOG] for i in range(12)})


def test_it_explains_the_plan_runs_the_commands_and_says_what_the_metrics_are_worth(vocdet: Run, root: Path) -> None:
    code, out, err = vocdet("train", root, *TINY, "--minutes", 1, "--set", "train.clip=5", "--seed", 3)
    assert (code, "error" in err) == (0, False)
    assert f"{root}: 12 images, 24 objects, 2 labels" in out
    assert "plan for 1 minute, and a detector for a phone:" in out
    assert re.search(r"^size +64 +as requested +train-ssd --size 64 *$", out, re.MULTILINE)
    assert re.search(r"^classifier +none +2 labels: the detector learns to distinguish so few by itself *$", out, re.M)
    assert f"  vocdet split {root} --seed 3\n" in out
    assert f"  vocdet eval --data {root} --split test --interval\n" in out
    (line,) = (line for line in out.splitlines() if line.startswith("  vocdet train-ssd"))
    assert line.startswith(f"  vocdet train-ssd {root} --recipe ssdlite-mb3-small --net mb1-0.25 --size 64 ")
    assert line.endswith(" --set train.clip=5.0")
    assert "--seed 3" in line
    steps = re.findall(r"^\$ (vocdet \S+)", out, re.MULTILINE)
    assert steps == ["vocdet split", "vocdet train-ssd", "vocdet eval"]
    assert "[red]dog" in out
    assert "average precision" in out
    assert (
        "1 image of test cannot tell the AP50 on other images: annotate more, or evaluate all in turn after vocdet "
        in err
    )
    assert "The detector is in runs/ssd-mb1-0.25-1; recipe.toml there has its settings and why they were chosen" in out
    assert out.endswith(f"next: vocdet predict runs/ssd-mb1-0.25-1 {root}\n")
    assert out.count("next:") == 1


def test_the_commands_of_the_plan_are_those_that_do_the_same(vocdet: Run, root: Path) -> None:
    code, out, _ = vocdet("train", root, *TINY, "--dry-run", "--set", "train.clip=5")
    assert code == 0
    commands = [line.split()[1:] for line in out.splitlines() if line.startswith("  vocdet ")]
    assert [words[0] for words in commands] == ["split", "train-ssd", "eval"]
    assert not Path("runs").exists()
    for words in commands:
        code, out, err = vocdet(*words, *(("--device", "cpu") if words[0] != "split" else ()))
        assert (code, "error" in err) == (0, False), err
    recipe = Path("runs/ssd-mb1-0.25-1/recipe.toml").read_text()
    assert "clip = 5" in recipe


def test_a_dry_run_shows_the_plan_and_writes_nothing(vocdet: Run, root: Path) -> None:
    code, out, _ = vocdet("train", root, "--dry-run", "--classifier", 2, "--for", "pi")
    assert code == 0
    assert "plan for 30 minutes, and a detector for a pi:" in out
    assert f"vocdet train-backbone {root} --recipe backbone --minutes 2 --size 96\n" in out
    assert "planned, and trained nothing" in out
    assert not Path("runs").exists()
    assert not (root / "ImageSets").exists()


def test_an_interrupted_training_says_how_to_continue_and_continues(
    vocdet: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"net": "mb1-0.25", "size": 64, "batch": 2, "epochs": 2, "weights": "none"}
    source, options = Source(root), RunOptions(runs=Path("runs"), device="cpu")
    plan = prepare(source, PlanRequest(values=values), options).plan
    session = Session.start(plan, source, Path("runs"))
    with monkeypatch.context() as patch:
        patch.setattr(progress, "_show_step", lambda *_: signal.raise_signal(signal.SIGINT))
        code, out, _ = vocdet("train", "--resume", "--device", "cpu")
    assert code == 130
    assert f"next: vocdet train --resume {session.path}\n" in out
    code, out, _ = vocdet("train", "--resume", "--dry-run")
    assert code == 0
    assert out == (
        "what is left, in single commands:\n  vocdet train-ssd --resume runs/ssd-mb1-0.25-1\n"
        f"  vocdet eval --data {root} --split test --interval\n"
        f"trained nothing\nnext: vocdet train --resume {session.path}\n"
    )
    code, _, err = vocdet("train", root, *TINY, "--minutes", 1)
    assert code == 0
    assert f"unfinished: vocdet train --resume {session.path} continues it" in err
    code, out, _ = vocdet("train", "--resume", "--device", "cpu")
    assert code == 0
    assert re.findall(r"^\$ (vocdet \S+)", out, re.MULTILINE) == ["vocdet train-ssd", "vocdet eval"]
    assert "Saved to runs/ssd-mb1-0.25-1" in out
    code, out, _ = vocdet("train", "--resume", session.path, "--dry-run")
    assert (code, out) == (0, "nothing is left: every command of the plan is done\n")


def test_a_dry_run_of_a_session_that_has_trained_nothing_shows_all_its_commands(vocdet: Run, root: Path) -> None:
    source, options = Source(root), RunOptions(runs=Path("runs"), device="cpu")
    Session.start(prepare(source, PlanRequest(), options).plan, source, Path("runs"))
    code, out, _ = vocdet("train", "--resume", "--dry-run")
    assert code == 0
    assert re.findall(r"^  vocdet (\S+)", out, re.MULTILINE) == ["split", "train-ssd", "eval"]
    assert not (root / "ImageSets").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--minutes", 30), ("--for", "phone"), ("--classifier", 0), ("--masks",), ("--seed", 0), ("--from", "voc"),
        ("--skip-bad",), ("--set", "train.clip=5"), ("--size", 64),
    ],
)  # fmt: skip
def test_options_of_a_new_training_are_refused_by_one_to_continue(vocdet: Run, words: tuple[object, ...]) -> None:
    code, _, err = vocdet("train", "--resume", "--device", "cpu", "--runs", "runs", "--dry-run", *words)
    assert code == 1
    assert f"--resume excludes a dataset and settings: {words[0]}\n" in err


def test_a_seed_given_as_an_option_replaces_one_among_the_settings(vocdet: Run, root: Path) -> None:
    code, out, _ = vocdet("train", root, *TINY, "--dry-run", "--set", "train.seed=7")
    assert (code, out.count(" --seed 7")) == (0, 2)
    code, out, _ = vocdet("train", root, *TINY, "--dry-run", "--set", "train.seed=7", "--seed", 3)
    assert (code, out.count(" --seed 3"), out.count(" --seed 7")) == (0, 2, 0)


def test_a_dataset_that_was_split_meanwhile_keeps_its_splits(vocdet: Run, root: Path) -> None:
    values = {"net": "mb1-0.25", "size": 64, "batch": 4, "epochs": 1, "weights": "none"}
    source, options = Source(root), RunOptions(runs=Path("runs"), device="cpu")
    Session.start(prepare(source, PlanRequest(values=values), options).plan, source, Path("runs"))
    assert vocdet("split", root)[0] == 0
    code, out, err = vocdet("train", "--resume", "--device", "cpu")
    assert code == 0, err
    assert re.findall(r"^\$ (vocdet \S+)", out, re.MULTILINE) == ["vocdet split", "vocdet train-ssd", "vocdet eval"]
    assert "the dataset has its splits" in err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OutputError("cannot be written: no space left on device")])
def test_an_interruption_between_the_trainings_says_how_to_continue(
    vocdet: Run, root: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vocdet.workflows.train.split_dataset", fail)
    code, _, err = vocdet("train", root, *TINY)
    assert code != 0
    assert "continue with vocdet train --resume runs/train-1.json\n" in err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--resume", "--size", 64), "--resume excludes a dataset and settings"),
        (("a-folder", "--resume"), "--resume excludes a dataset and settings: DATA"),
        (("--resume",), "no unfinished training by a plan"),
        (("--device", "0,1"), "this command trains on one device"),
        (("--size", 5), "size is 5"),
        (("--classifier", 30), "the classifier takes all 30 minutes"),
    ],
)
def test_what_it_refuses_and_how_it_says_so(vocdet: Run, root: Path, words: tuple[object, ...], problem: str) -> None:
    data = () if "--resume" in words else (root,)
    code, _, err = vocdet("train", *data, *words)
    assert code == 1
    assert problem in err
    assert "Traceback" not in err


def test_a_dataset_with_a_train_split_alone_is_trained_on_and_not_evaluated(vocdet: Run, make_voc: MakeVoc) -> None:
    stems = [f"img{i:02}" for i in range(6)]
    code, out, err = vocdet("train", make_voc({stem: [CAT] for stem in stems}, splits={"train": stems}), *TINY)
    assert code == 0, err
    assert re.findall(r"^\$ (vocdet \S+)", out, re.MULTILINE) == ["vocdet train-ssd"]
    assert "nothing was evaluated: all images are trained on, and none of val or test are left: vocdet split " in err
    assert "The detector is in runs/ssd-mb1-0.25-1; " in out
    assert vocdet("train", "--resume")[0] == 1  # nothing is left


def test_errors_in_the_dataset_come_with_the_command_that_leaves_them_out(vocdet: Run, root: Path) -> None:
    path = root / "Annotations" / "img00.xml"
    path.write_text(path.read_text().replace("<xmax>40</xmax>", "<xmax>4</xmax>"))
    code, _, err = vocdet("train", root, *TINY)
    assert code == 1
    assert "--skip-bad" in err
    code, out, err = vocdet("train", root, *TINY, "--skip-bad", "--minutes", 1)
    assert code == 0, err
    assert f"$ vocdet split {root} --skip-bad\n" in out
