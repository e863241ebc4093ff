"""`--resume`, with or without a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from typer.core import TyperCommand

from vocdet.errors import VocdetError
from vocdet.recipes.schema import Recipe

if TYPE_CHECKING:
    from vocdet.formats.coordinates import Asked as AskedCoordinates
    from vocdet.recipes.load import Resolved

LAST = "last"

Resume = Annotated[
    str | None,
    typer.Option(
        metavar="[RUN]",
        help="Go on with an interrupted run, the last one where none is named; recipe and data are the run's.",
        show_default="a new run",
    ),
]


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
    data: Path
    labels: Path | None
    coordinates: AskedCoordinates
    folder: bool
    run: Path | None  # to go on with


def asked_for(
    task: Literal["ssd", "backbone"],
    *,
    data: Path | None,
    labels: Path | None,
    coordinates: AskedCoordinates,
    folder: bool = False,
    runs: Path,
    resume: str | None,
    recipe: str | None,
    sets: Sequence[str] | None,
    flags: Mapping[str, object],
) -> Asked:
    """The recipe with all that was given on top of it, and where the data is."""
    from vocdet.recipes.load import load_recipe

    if resume is None:
        resolved: Resolved[Recipe] = load_recipe(task, recipe, sets=sets or (), flags=flags)
        return Asked(resolved, data or Path(), labels, coordinates, folder, None)
    if recipe is not None:
        raise VocdetError("--recipe and --resume are both given", hint="a run goes on with its own recipe")
    from vocdet.workflows.resume import find_unfinished, told

    run = find_unfinished(runs, task, resume)
    _, given = told(run)
    resolved = load_recipe(task, str(run), sets=sets or (), flags=flags)
    return Asked(
        resolved,
        data or Path(given["root"]),
        labels or (Path(given["labels"]) if given["labels"] else None),
        cast("AskedCoordinates", given["coordinates"] if coordinates == "auto" else coordinates),
        folder or bool(given.get("folder")),
        run,
    )
