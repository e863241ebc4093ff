"""Options of the trainings, whose help and defaults are the recipe's own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocdet.recipes.schema import Recipe, SsdTrain
from vocdet.recipes.values import AUTO, toml
from vocdet_cli import render

if TYPE_CHECKING:
    from vocdet.recipes.load import Resolved

RecipeFile = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="Recipe: one that vocdet recipes lists, a .toml file, or a run whose recipe it is.",
        show_default="the defaults below",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A value of the recipe, as train.clip=5. Can be given again."),
]
ShowRecipe = Annotated[
    bool, typer.Option("--show-recipe", help="Print the recipe with all its values and where they come from, and stop.")
]


def from_recipe(section: type, field: str, *names: str, parser: Callable[[str], Any] | None = None) -> Any:
    """The option for a field of a recipe: `lr: Annotated[float | None, from_recipe(SsdTrain, "lr")] = None`.

    Help and default are the field's; None is what the parameter has when nobody gave it.
    """
    default = _field(section, field).default
    panel = section.__name__.removeprefix("Ssd")  # as the sections of a recipe are called
    shown = toml(default) if isinstance(default, (bool, tuple)) else str(default)
    return typer.Option(*names, help=help_of(section, field), show_default=shown, parser=parser, rich_help_panel=panel)


def help_of(section: type, field: str) -> str:
    """The help of a field as a sentence; one that begins with the words to give stays as it is."""
    text = str(_field(section, field).metadata["help"])
    is_sentence = re.match(r"[a-z]+ (?!\()", text)
    return f"{text[:1].upper()}{text[1:]}." if is_sentence else f"{text}."


def _field(section: Any, field: str) -> dataclasses.Field[Any]:
    for known in dataclasses.fields(section):
        if known.name == field:
            return known
    raise ValueError(f"{section.__name__} has no {field}")


def batch_size(text: str) -> int:
    """What --batch is given: a number, or auto, which is 0."""
    if text == AUTO:
        return 0
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a whole number nor {AUTO}") from None


Batch = Annotated[int | None, from_recipe(SsdTrain, "batch", parser=batch_size)]


def given(**flags: object) -> dict[str, object]:
    """The options that were given, by the names of their fields."""
    return {name: value for name, value in flags.items() if value is not None}


def show_recipe(resolved: Resolved[Recipe]) -> None:
    """Print a recipe as TOML that can be saved and given again; a comment says where each value comes from."""
    from vocdet.recipes.load import DEFAULT, dump_recipe
    from vocdet.recipes.schema import TASKS

    (task,) = (name for name, made in TASKS.items() if type(resolved.recipe) is made)
    notes = {key: "" if origin == DEFAULT else origin for key, origin in resolved.origin.items()}
    text = dump_recipe(resolved.recipe, task, description=resolved.description, notes=notes)
    render.out.print(text, markup=False, soft_wrap=True, end="")
