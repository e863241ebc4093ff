"""`vocdet init` and `vocdet recipes`, as a user types them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import vocdet_cli.app
import vocdet_cli.project

from vocdet.recipes.document import bundled_recipes
from vocdet.recipes.load import load_recipe

ALL = vocdet_cli.app.app
Run = Callable[..., tuple[int, str, str]]
MakeVoc = Callable[..., Path]


@pytest.fixture(autouse=True)
def group(monkeypatch: pytest.MonkeyPatch) -> None:
    """This group of commands alone, with what becomes of its errors."""
    monkeypatch.setattr(vocdet_cli.app, "app", vocdet_cli.project.app)


def test_init_creates_a_project_and_prints_the_next_step(vocdet: Run) -> None:
    code, out, err = vocdet("init", "my shelf", "--net", "mb3-large")
    assert (code, err) == (0, "put your dataset into my shelf/data first\n")
    assert "wrote README.md, labels.txt, recipes/backbone.toml, recipes/ssd.toml, slurm.sh into " in out
    assert out.endswith("next: cd 'my shelf' && vocdet check data\n")
    assert load_recipe("ssd", "my shelf/recipes/ssd.toml").recipe.model.net == "mb3-large"


def test_the_readme_of_a_project_names_existing_commands(vocdet: Run) -> None:
    known = {command for app in (ALL, vocdet_cli.project.app) for command in typer.main.get_group(app).commands}
    assert vocdet("init", "p")[0] == 0
    named = set(re.findall(r"(?:vocdet|vocdet_cli) ([a-z-]+)(?= )", Path("p", "README.md").read_text(encoding="utf-8")))
    assert {"check", "split", "train-backbone", "train-ssd", "eval", "predict", "recipes"} <= named
    assert named - {"brings"} <= known


def test_init_in_the_current_folder(vocdet: Run, make_voc: MakeVoc) -> None:
    data = make_voc({"a": [("dog", (5.0, 5.0, 40.0, 50.0))]}, root=Path("photos"))
    code, out, _ = vocdet("init", "--data", data, "--task", "backbone")
    assert code == 0
    assert out.endswith("next: vocdet check photos\n")
    assert Path("labels.txt").read_text() == "dog\n"
    assert not Path("recipes", "ssd.toml").exists()


def test_init_overwrites_nothing_and_lists_existing_files(vocdet: Run) -> None:
    assert vocdet("init", "p")[0] == 0
    before = {path: path.read_bytes() for path in Path("p").rglob("*") if path.is_file()}
    code, out, err = vocdet("init", "p", "--net", "mb1")
    assert (code, out) == (1, "")
    assert err.startswith("error: p/README.md: exists already\n  also in p/labels.txt, p/recipes/")
    assert "hint: choose a new folder, or move the file away" in err
    assert {path: path.read_bytes() for path in Path("p").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("wrong", [("--net", "vgg16"), ("--task", "yolo"), ("a", "b")])
def test_wrong_usage_of_init_ends_with_2_and_nothing_is_written(vocdet: Run, wrong: tuple[str, ...]) -> None:
    assert vocdet("init", *wrong)[0] == 2
    assert list(Path().iterdir()) == []


def test_init_with_a_missing_dataset_is_an_error(vocdet: Run) -> None:
    code, out, err = vocdet("init", "p", "--data", "nowhere")
    assert (code, out) == (1, "")
    assert "nowhere: no such" in err
    assert not Path("p").exists()


def test_recipes_are_listed_with_descriptions(vocdet: Run) -> None:
    code, out, err = vocdet("recipes")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert {line[0] for line in lines} >= set(bundled_recipes())
    assert [*lines[2][:4], lines[2][4]] == ["backbone", "backbone", "mb3-small", "128", "Classifier"]
    assert "SSD on MobileNetV1 at 300, plain extra layers" in out


def test_a_recipe_is_printed_completely_and_can_be_read_back(vocdet: Run) -> None:
    code, out, err = vocdet("recipes", "ssd-mb1")
    assert (code, err) == (0, "")
    assert 'extras = "plain"              # extra layers: depthwise-separable, or plain 3x3 convolutions\n' in out
    Path("mine.toml").write_text(out)
    assert load_recipe("ssd", "mine.toml").recipe == load_recipe("ssd", "ssd-mb1").recipe
    assert vocdet("recipes", "mine.toml") == (0, out, "")


def test_an_unknown_recipe_has_a_nearest_match(vocdet: Run) -> None:
    expected = "error: unknown recipe 'ssd-mb3'\n  hint: did you mean ssd-mb1?\n"
    assert vocdet("recipes", "ssd-mb3") == (1, "", expected)


def test_all_errors_in_a_recipe_are_printed(vocdet: Run) -> None:
    Path("r.toml").write_text('task = "ssd"\n[train]\nlr = "[red]"\nepoch = 3\n')
    code, out, err = vocdet("recipes", "r.toml")
    assert (code, out) == (1, "")
    assert "error: r.toml: train.lr: lr is '[red]', not a number\n" in err
    assert "error: r.toml: train.epoch: [train] has no epoch\n  hint: did you mean epochs?\n" in err
