"""`vocdet learning-curve`: what twice the images would bring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocdet.recipes.schema import SsdRecipe
from vocdet_cli import render
from vocdet_cli.audit import OF_RECIPE, SubsetOptions, trainings
from vocdet_cli.option_groups import Without
from vocdet_cli.options import Seed
from vocdet_cli.startup import load_torch
from vocdet_cli.tables import fitted
from vocdet_cli.training.options import training_options

if TYPE_CHECKING:
    from vocdet.workflows.learning_curve import LearningCurve

app = typer.Typer()


@app.command("learning-curve")
@training_options(
    SsdRecipe, "minutes net weights size batch epochs", shared=Annotated[SubsetOptions, Without("runs")],
    shown=OF_RECIPE,
)  # fmt: skip
def learning_curve(
    options: SubsetOptions,
    split: Annotated[str, typer.Option(help="Split to evaluate on.", show_default="test, or else val")] = "",
    out: Annotated[Path, typer.Option(help="Folder of the results and of the trainings.")] = Path("learning-curve"),
    seed: Seed = 0,
) -> None:
    """Train on 1/8, 1/4, 1/2 and all of the images, and estimate what twice as many would bring to each label.

    A power law is fitted to the error, with an interval that stands for the choice of test images and for what one
    training differs from another. Trainings that are finished are not repeated.
    """
    load_torch()
    from vocdet.workflows.learning_curve import CurveOptions
    from vocdet.workflows.learning_curve import learning_curve as measure

    source = options.source(options.data or Path())
    with render.progress("detecting") as progress:
        result = measure(
            source, CurveOptions(out, split=split, seed=seed, device=options.device), trainings(options),
            note=render.note, progress=progress,
        )  # fmt: skip
    _show(result)
    render.done(f"Saved {result.result} and {result.picture}")


def _show(result: LearningCurve) -> None:
    rows = []
    for one in (*result.labels, result.overall):
        known = one.fit if not one.unknown else None
        doubled = f"{known.doubled:.3f} ({known.low:.3f} to {known.high:.3f})" if known else "–"
        values = ["–" if value is None else f"{value:.3f}" for value in one.ap50]
        rows.append((one.label, [*values, doubled, one.doubling()]))
    columns = [*map(str, result.sizes), f"{2 * result.sizes[-1]} (estimated)", "gain"]
    render.show(fitted(f"AP50 on {result.split} by training images", columns, rows))
