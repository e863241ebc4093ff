"""`--resume`, with or without a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from vocdet.errors import VocdetError
from vocdet.recipes.schema import Recipe
from vocdet_cli.training.options import Told

if TYPE_CHECKING:
    from vocdet.formats.source import Source
    from vocdet.recipes.load import Resolved

LAST = "last"


class ResumingCommand(TyperCommand):
    """A command whose --resume may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """A --resume with nothing after it, or with another option, means the last run."""
        told = []
        for i, word in enumerate(args):
            told.append(word)
            if word == "--resume" and (i + 1 == len(args) or args[i + 1].startswith("-")):
                told.append(LAST)
        return super().parse_args(ctx, told)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a training is asked for, by its options or by the run that it goes on with."""

    recipe: Resolved[Any]
    source: Source
    folder: bool
    run: Path | None  # to go on with


def asked_for(task: str, told: Told, *, folder: bool = False) -> Asked:
    """The recipe with all that was given on top of it, and where the data is."""
    from vocdet.formats.source import Source
    from vocdet.recipes.load import load_recipe

    sets = told.sets or ()
    if told.resume is None:
        resolved: Resolved[Recipe] = load_recipe(task, told.recipe, sets=sets, flags=told.flags)
        return Asked(
            resolved, Source(told.data or Path(), labels=told.labels, coordinates=told.coordinates), folder, None
        )
    if told.recipe is not None:
        raise VocdetError("--recipe and --resume are both given", hint="a run goes on with its own recipe")
    from vocdet.runs.resume import find_unfinished, was_given

    run = find_unfinished(told.runs, task, told.resume)
    given = was_given(run)
    resolved = load_recipe(task, str(run), sets=sets, flags=told.flags)
    return Asked(
        resolved,
        Source(
            told.data or Path(given["root"]),
            labels=told.labels or (Path(given["labels"]) if given["labels"] else None),
            coordinates=given["coordinates"] if told.coordinates == "auto" else told.coordinates,
        ),
        folder or bool(given.get("folder")),
        run,
    )
