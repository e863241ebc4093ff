"""Options that take help and default from a recipe's fields."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner
from vocdet_cli.training.options import RecipeFile, Settings, ShowRecipe, from_recipe, help_of, show_recipe

from vocdet.recipes.load import load_recipe
from vocdet.recipes.schema import AnchorChoice, SsdAugment, SsdModel, SsdTrain

app = typer.Typer(rich_markup_mode=None)
RUN = CliRunner()
LOADED: list[Any] = []


@app.command()
def train(
    recipe: RecipeFile = None,
    settings: Settings = None,
    show: ShowRecipe = False,
    lr: Annotated[float | None, from_recipe(SsdTrain, "lr")] = None,
    backbone_lr: Annotated[float | None, from_recipe(SsdTrain, "backbone_lr")] = None,
    flip: Annotated[bool | None, from_recipe(SsdAugment, "flip")] = None,
    anchors: Annotated[AnchorChoice | None, from_recipe(SsdModel, "anchors")] = None,
    batch: Annotated[int | None, from_recipe(SsdTrain, "batch")] = None,
) -> None:
    """As a training has it."""
    options = {"lr": lr, "backbone_lr": backbone_lr, "flip": flip, "anchors": anchors, "batch": batch}
    values = {name: value for name, value in options.items() if value is not None}
    LOADED[:] = [load_recipe("ssd", recipe, settings=settings or (), values=values)]
    if show:
        show_recipe(LOADED[0])


def loaded(*arguments: str) -> Any:
    done = RUN.invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return LOADED[0]


def test_absent_options_leave_the_recipe_unchanged() -> None:
    assert set(loaded().origin.values()) == {"default"}
    recipe = loaded(
        "--recipe", "finetune", "--lr", "1", "--no-flip", "--set", "train.clip=5", "--set", "train.warm=1"
    ).recipe
    assert (recipe.train.lr, recipe.augment.flip, recipe.train.clip, recipe.train.warm) == (1.0, False, 5.0, 1)
    assert recipe.train.freeze_norm is True


def test_help_and_default_come_from_the_fields() -> None:
    text = " ".join(RUN.invoke(app, ["--help"], terminal_width=200).output.split())
    for help, default in (("Highest learning rate.", "0.004"), ("Train on mirrored images, too; not for text", "true")):
        _, _, after = text.partition(help)
        assert default in after.partition("]")[0]
    assert "--no-flip" in text
    assert "--backbone-lr" in text
    assert "auto|fit|torchvision" in text


@pytest.mark.parametrize(
    ("section", "field", "help"),
    [
        (SsdTrain, "lr", "Highest learning rate."),
        (
            SsdTrain,
            "optimizer",
            "muon: for convolutions with a norm, adamw for all else; adamw; sgd: with Nesterov momentum .9; momentum: sgd with "
            "plain momentum.",
        ),
        (SsdTrain, "balance", "0: all objects have the same weight; 1: all labels, however rare."),
        (SsdModel, "net", "mb1, mb2, mb3-small or mb3-large; with a width multiplier as in mb1-0.25."),
    ],
)
def test_help_is_a_sentence_unless_it_begins_with_a_value(section: type, field: str, help: str) -> None:
    assert help_of(section, field) == help


def test_an_unknown_field_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="SsdTrain has no mosaic"):
        from_recipe(SsdTrain, "mosaic")


@pytest.mark.parametrize(("text", "value"), [("auto", 0), ("16", 16)])
def test_a_batch_is_a_number_or_auto(text: str, value: int) -> None:
    resolved = loaded("--batch", text)
    assert (resolved.recipe.train.batch, resolved.origin["train.batch"]) == (value, "values")


def test_any_other_batch_is_a_usage_error() -> None:
    done = RUN.invoke(app, ["--batch", "many"])
    assert done.exit_code == 2
    assert "'many' is neither a whole number nor auto" in done.output


def test_a_recipe_is_shown_with_the_origins_of_its_values(tmp_path: Any) -> None:
    done = RUN.invoke(app, ["--recipe", "finetune", "--lr", "0.5", "--set", "train.clip=5", "--show-recipe"])
    lines = done.output.splitlines()
    assert "lr = 0.5                      # --lr" in lines
    assert "clip = 5.0                    # --set" in lines
    assert "freeze = 8                    # finetune" in lines
    assert "warm = 100" in lines
    (tmp_path / "r.toml").write_text(done.output)
    assert load_recipe("ssd", str(tmp_path / "r.toml")).recipe == LOADED[0].recipe
