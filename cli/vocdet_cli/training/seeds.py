"""`--seeds N`: the same training with several seeds, each in a run of its own, and the spread of their metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vocdet_cli import render
from vocdet_cli.safe import escape
from vocdet_cli.training import launch
from vocdet_cli.training.options import TrainingOptions
from vocdet_cli.training.progress import PrintStart, follow, print_end
from vocdet_cli.training.resume import Request, resolve_request

if TYPE_CHECKING:
    from vocdet.runs.seeds import SeedRuns


def train_seeds(task: str, options: TrainingOptions, print_start: PrintStart, *, folder: bool = False) -> None:
    """Train once for each of `options.seeds` seeds; finished runs of the same request are skipped, others resumed."""
    if options.resume is not None or len(launch.devices(options.device)) > 1:
        hint = "the same command resumes; give one device"
        raise typer.BadParameter(f"it excludes --resume and several devices: {hint}", param_hint="--seeds")
    from vocdet.runs.seeds import SeedRuns, spreads

    request = resolve_request(task, options, folder=folder)
    first = request.recipe.recipe.train.seed
    known = SeedRuns.of(options.runs, task, request.recipe.recipe, request.source)
    found: list[Path] = []
    for seed in range(first, first + options.seeds):
        run = known.run(seed)
        if run and known.is_finished(seed):
            render.note(f"seed {seed}: {run} is finished")
            found.append(run)
            continue
        again = dataclasses.replace(options, values={**options.values, "seed": seed})
        if run:
            again = dataclasses.replace(options, resume=str(run), recipe=None, settings=None, values={})
        render.out.print(f"\n[bold]seed {seed}[/]")
        outcome = follow(task, again, _Recording(print_start, known, seed), folder=folder)
        if outcome is None:
            return  # --show-recipe
        found.append(outcome[1].run)
        known = known.with_run(seed, outcome[1].run)
        print_end(outcome[1], "", "the same command")
    table = render.table(f"{len(found)} seeds: metrics on val", "", "mean", "deviation", "lowest", "highest")
    for one in spreads(found):
        numbers = (one.mean, one.deviation, min(one.values), max(one.values))
        table.add_row(escape(one.name), *(f"{number:.3f}" for number in numbers))
    render.show(table)
    render.done(f"Trained {len(found)} seeds", then=render.command("compare", *map(str, found)))


class _Recording:
    """Prints the start of a training after recording it."""

    def __init__(self, print_start: PrintStart, known: SeedRuns, seed: int) -> None:
        self._print, self._known, self._seed = print_start, known, seed

    def __call__(self, event: Any, request: Request, *, show_weights: bool) -> None:
        self._known.with_run(self._seed, event.run)
        self._print(event, request, show_weights=show_weights)
