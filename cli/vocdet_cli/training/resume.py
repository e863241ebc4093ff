"""`--resume`, with or without a run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from vocdet.errors import ArgumentError
from vocdet.recipes.schema import Recipe
from vocdet_cli.training.options import TrainingOptions

if TYPE_CHECKING:
    from vocdet.formats.scan import Source
    from vocdet.recipes.load import Resolved

LAST_RUN = "last"


class ResumableCommand(TyperCommand):
    """A command whose --resume needs no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """A --resume without a value means the last run."""
        words = []
        for i, word in enumerate(args):
            words.append(word)
            if word == "--resume" and (i + 1 == len(args) or args[i + 1].startswith("-")):
                words.append(LAST_RUN)
        return super().parse_args(ctx, words)


def given_words(context: typer.Context) -> dict[str, str]:
    """The parameters on the command line by name, with the words for them: `--skip-bad`, `DATA`."""
    return {
        str(one.name): one.opts[0] if one.opts[0].startswith("-") else str(one.name).upper()
        for one in context.command.params
        if (source := context.get_parameter_source(str(one.name))) and source.name == "COMMANDLINE"
    }


@dataclass(frozen=True, slots=True)
class Request:
    """A training with all its inputs: those of the options, or those of the run to resume."""

    task: str
    recipe: Resolved[Any]
    source: Source
    folder: bool
    run: Path | None  # to resume
    given: frozenset[str] = frozenset()  # those of `CHOICES` that the user chose
    planned: bool = False  # whether a plan chose what to validate on


def resolve_request(task: str, options: TrainingOptions, *, folder: bool = False) -> Request:
    """The recipe with all options applied, and the dataset."""
    from vocdet.formats.scan import Source
    from vocdet.recipes.load import load_recipe

    settings = options.settings or ()
    from vocdet.runs.resume import LENGTHS, dataset_arguments, find_unfinished

    given = chosen(options.values, settings)
    if options.resume is None:
        resolved: Resolved[Recipe] = load_recipe(task, options.recipe, settings=settings, values=options.values)
        source = options.source(options.data or Path())
        return Request(task, resolved, source, folder, None, given)
    if options.recipe is not None:
        raise ArgumentError("--recipe and --resume exclude each other", hint="a run continues with its own recipe")
    run = find_unfinished(options.runs, task, options.resume, finished=not given.isdisjoint(LENGTHS))
    arguments = dataset_arguments(run)
    recorded = Source.from_record(arguments)
    resolved = load_recipe(task, str(run), settings=settings, values=options.values)
    source = Source(
        options.data or recorded.path,
        format=recorded.format if options.format == "auto" else options.format,
        labels=options.labels or recorded.labels,
        coordinates=recorded.coordinates if options.coordinates == "auto" else options.coordinates,
        crowds=recorded.crowds if options.crowds == "ignore" else options.crowds,
        skip_bad=recorded.skip_bad or options.skip_bad,
    )
    return Request(task, resolved, source, folder or bool(arguments.get("folder")), run, given)


def chosen(values: Collection[str], settings: Sequence[str]) -> frozenset[str]:
    """Those of `CHOICES` that options or KEY=VALUE settings set."""
    from vocdet.runs.resume import CHOICES

    return frozenset(name for name in CHOICES if name in values or _is_set(f"train.{name}", settings))


def _is_set(key: str, settings: Sequence[str]) -> bool:
    """Whether one of the KEY=VALUE settings sets this key."""
    return any(setting.partition("=")[0].strip() == key for setting in settings)
