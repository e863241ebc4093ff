"""`vocdet audit`: likely mistakes of annotations, and a review that corrects those that a person accepts."""

from __future__ import annotations

import dataclasses
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocdet.recipes.schema import SsdRecipe
from vocdet_cli import render
from vocdet_cli.check import MOST_DIFF_LINES, print_plan
from vocdet_cli.next_steps import same_options
from vocdet_cli.option_groups import Without
from vocdet_cli.options import Device
from vocdet_cli.safe import escape
from vocdet_cli.startup import load_torch
from vocdet_cli.training.options import RECIPE_HELP, LearningOptions, training_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vocdet.workflows.audit import AuditResult, Proposal
    from vocdet.workflows.trainings import Trainings

app = typer.Typer()

SHOWN = 10  # proposals
DEFAULT_RECIPE = "ssdlite-mb3-small"
OF_RECIPE = {"net": "mb3-small"}  # what its defaults are, where they differ from those of an SSD-lite


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SubsetOptions(LearningOptions):
    """How detectors on splits of a dataset are trained."""

    recipe: Annotated[str, typer.Option("--recipe", metavar="NAME|FILE", help=RECIPE_HELP)] = DEFAULT_RECIPE
    device: Device = "auto"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions(SubsetOptions):
    """The detectors that judge, and how much is listed."""

    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="Judge with this run, on the images that it was not trained on; repeatable.",
            show_default="trained folds",
        ),
    ] = None
    folds: Annotated[int, typer.Option(min=2, max=20, help="Detectors to train, each on the images of the others.")] = 3
    most: Annotated[int, typer.Option(min=1, help="Most suspicions that are listed.")] = 200


@app.command()
@training_options(
    SsdRecipe, "minutes net weights size batch epochs", shared=Annotated[JudgeOptions, Without("runs")],
    shown=OF_RECIPE,
)  # fmt: skip
def audit(
    options: JudgeOptions,
    out: Annotated[Path, typer.Option(help="Folder of the results and of the folds.")] = Path("audit"),
    review: Annotated[
        bool, typer.Option("--review", help="Go through the list of --out, and correct what you accept.")
    ] = False,
    accept: Annotated[
        list[int] | None, typer.Option(help="Accept this number of the list; repeatable.", metavar="N")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --accept: skip the confirmation.")] = False,
) -> None:
    """List likely mistakes of the annotations: missing objects, wrong labels, boxes that do not fit.

    Detectors judge images that they were not trained on. Nothing in the dataset is changed, except by --review and
    --accept, which show the changes first, and save the original files in .vocdet-backup.
    """
    source = options.source(options.data or Path())
    if review or accept:
        _correct(source, out, accept or (), yes=yes)
        return
    load_torch()
    from vocdet.workflows.audit import audit as find
    from vocdet.workflows.audit_judges import AuditOptions

    wanted = AuditOptions(out, tuple(options.run or ()), options.folds, options.most, device=options.device)
    with render.progress("detecting") as progress:
        result = find(source, wanted, trainings(options), note=render.note, progress=progress)
    _show(result)
    words = [*render.given(options.data or Path()), *same_options(source), *render.given(out, "--out", Path("audit"))]
    render.done(f"Listed {len(result.proposals)} in {result.page} and {result.images}",
                then=render.command("audit", *words, "--review") if result.proposals else "")  # fmt: skip


def trainings(options: SubsetOptions) -> Trainings:
    """Trains with the options, and shows it."""
    from vocdet.recipes.load import load_recipe, task_of
    from vocdet.runs.setup import RunOptions
    from vocdet.workflows.trainings import Trainings
    from vocdet_cli.training.progress import show_events, shown_downloads, training_bar
    from vocdet_cli.training.resume import chosen

    name = options.recipe or DEFAULT_RECIPE
    recipe: Any = load_recipe(task_of(name), name, settings=options.settings or (), values=options.values).recipe
    stop = threading.Event()
    given = chosen(options.values, options.settings or ())

    def watch(events: Any) -> Any:
        with training_bar(True) as bar:
            return show_events(events, stop, lambda _: None, bar)

    with training_bar(False) as hidden:
        downloads = shown_downloads(hidden)
    return Trainings(
        recipe, RunOptions(device=options.device, given=given, stop=stop.is_set, downloads=downloads), watch
    )


def _show(result: AuditResult) -> None:
    for one in result.proposals[:SHOWN]:
        render.out.print(escape(str(one)), soft_wrap=True)
    if len(result.proposals) > SHOWN:
        render.note(f"and {len(result.proposals) - SHOWN} more in {result.page}")
    if result.trained_on:
        render.warning(f"{result.trained_on} images were judged by a detector that was trained on them")


def _correct(source: Any, out: Path, numbers: Sequence[int], *, yes: bool) -> None:
    """Correct the accepted proposals, after showing the changes."""
    from vocdet.workflows.audit import chosen, plan_corrections, read_proposals
    from vocdet.workflows.fix import apply_fixes

    proposals = read_proposals(out)
    interactive = sys.stdin is not None and sys.stdin.isatty()
    if not numbers and not interactive:
        render.warning("a review needs a terminal: accept proposals by their numbers, as in --accept 1")
        return
    plan = plan_corrections(source, chosen(proposals, numbers) if numbers else _ask(proposals))
    print_plan(plan, MOST_DIFF_LINES)
    if not plan:
        return
    if yes or (interactive and typer.confirm("make these changes?", err=True)):
        render.done(f"corrected; the original files are in {apply_fixes(plan)}")
    else:
        render.warning("nothing was changed without confirmation: add --yes")


def _ask(proposals: Sequence[Proposal]) -> list[Proposal]:
    """The proposals that a person accepts, one by one."""
    accepted = []
    for one in proposals:
        render.out.print(escape(str(one)), soft_wrap=True)
        answer = typer.prompt("accept? [y]es, [n]o, [q]uit", default="n", show_default=False, err=True).strip().lower()
        if answer.startswith("q"):
            break
        if answer.startswith("y"):
            accepted.append(one)
    return accepted
