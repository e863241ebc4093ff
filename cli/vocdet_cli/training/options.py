"""The options of the training commands, generated from the fields of their recipes: help, default and limits."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin, get_type_hints

import typer

from vocdet.recipes.schema import Recipe
from vocdet.recipes.values import AUTO, toml
from vocdet_cli import render
from vocdet_cli.option_groups import Command, command_option, group_class, group_options, with_options
from vocdet_cli.options import DEFAULT_RUNS, ReadOptions, Runs, SomeData

if TYPE_CHECKING:
    from vocdet.recipes.load import Resolved

RECIPE_HELP = "Recipe: a name that `vocdet recipes` lists, a .toml file, or a run."
RecipeFile = Annotated[
    str | None,
    typer.Option("--recipe", metavar="NAME|FILE", help=RECIPE_HELP, show_default="the defaults below"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a value of the recipe, as in train.clip=5; repeatable."),
]
ShowRecipe = Annotated[
    bool, typer.Option("--show-recipe", help="Print the recipe with all its values and their origins, and exit.")
]
Tensors = Annotated[bool, typer.Option("--show-weights", help="List every tensor with the origin of its weights.")]
Devices = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …; 0,1 trains in one process per device.")]
Seeds = Annotated[
    int,
    typer.Option(
        min=1,
        help="Train N times, with seeds from --seed on, and show the mean and spread of the metrics. The same command "
        "continues: finished runs are skipped.",
    ),
]
TrackOption = Annotated[Literal["wandb", "mlflow"] | None, typer.Option(help="Log the run to a tracking service.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningOptions(ReadOptions):
    """The dataset to learn from, the settings, and where the runs are."""

    data: SomeData = None
    settings: Settings = None
    runs: Runs = DEFAULT_RUNS
    values: Mapping[str, object] = dataclasses.field(default_factory=dict)  # of recipe fields, by their names


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions(LearningOptions):
    """The options that all training commands have."""

    recipe: RecipeFile = None
    show_recipe: ShowRecipe = False
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[RUN]",
            help="Resume an interrupted run (default: the last one) with its own recipe and data; with --epochs or "
            "--minutes, continue a finished one.",
            show_default="a new run",
        ),
    ] = None
    show_weights: Tensors = False
    device: Devices = "auto"
    track: TrackOption = None
    seeds: Seeds = 1


def training_options(
    recipe: type[Recipe], names: str, shared: Any = TrainingOptions, *, shown: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Command], Command]:
    """Add to a command the options of `TrainingOptions`, and one for each of these fields of its recipe.

    The command receives a `TrainingOptions`, or a value of another such class, followed by its own options. Help lists
    the fields in the order of `names`; `shown` are the defaults of a command whose defaults are not the recipe's.
    """
    homes = {field.name: type(section) for section in _recipe_sections(recipe) for field in dataclasses.fields(section)}
    fields = names.split()

    def decorate(command: Command) -> Command:
        common = group_options(shared)
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        of_recipe = [command_option(name, _option_type(homes[name], name, shown.get(name)), None) for name in fields]

        @functools.wraps(command)
        def call(**arguments: Any) -> None:
            values = {name: value for name in fields if (value := arguments.pop(name)) is not None}
            options = group_class(shared)(**{one.name: arguments.pop(one.name) for one in common}, values=values)
            command(options, **arguments)

        return with_options(call, [*own, *common, *of_recipe])

    return decorate


def _recipe_sections(recipe: type[Recipe]) -> list[Any]:
    defaults = recipe()
    return [getattr(defaults, section.name) for section in dataclasses.fields(defaults)]


def _option_type(section: type, field: str, shown: str | None) -> Any:
    """The annotated type of a field's option: the field's type, or None if the option is absent."""
    type_ = get_type_hints(section)[field]
    if get_origin(type_) is tuple:
        raise ValueError(f"{field} is a list: only --set can give it")
    return Annotated[type_ | None, from_recipe(section, field, shown)]


def from_recipe(section: type, field: str, shown: str | None = None) -> Any:
    """The option for a field of a recipe, whose help and default are those of the field, unless one is to be shown.

    The parameter is None if the option is absent.
    """
    default = _field(section, field).default
    panel = re.sub("^(Ssd|Rcnn)", "", section.__name__)
    if shown is None:
        shown = toml(default) if isinstance(default, (bool, tuple)) else str(default)
    parser = batch_size if field == "batch" else None
    return typer.Option(help=help_of(section, field), show_default=shown, parser=parser, rich_help_panel=panel)


def help_of(section: type, field: str) -> str:
    """The help of a field as a sentence; a help that begins with literal values keeps its case."""
    text = str(_field(section, field).metadata["help"])
    is_sentence = re.match(r"[a-z]+ (?!\()", text)
    return f"{text[:1].upper()}{text[1:]}." if is_sentence else f"{text}."


def _field(section: Any, field: str) -> dataclasses.Field[Any]:
    for known in dataclasses.fields(section):
        if known.name == field:
            return known
    raise ValueError(f"{section.__name__} has no {field}")


def batch_size(text: str) -> int:
    """The value of --batch: a number, or auto, which is 0."""
    if text == AUTO:
        return 0
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a whole number nor {AUTO}") from None


def show_recipe(resolved: Resolved[Recipe]) -> None:
    """Print a recipe as TOML that can be saved and used again, with the origin of each value as a comment."""
    from vocdet.recipes.load import dump_recipe
    from vocdet.recipes.schema import TASKS

    (task,) = (name for name, recipe in TASKS.items() if type(resolved.recipe) is recipe)
    texts = {"default": "", "recipe": resolved.source, "settings": "--set"}
    notes = {
        key: texts.get(origin, f"--{key.partition('.')[2].replace('_', '-')}")
        for key, origin in resolved.origin.items()
    }
    text = dump_recipe(resolved.recipe, task, description=resolved.description, notes=notes)
    render.out.print(text, markup=False, soft_wrap=True, end="")
