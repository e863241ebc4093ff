"""`vocdet thresholds`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocdet_cli import render
from vocdet_cli.next_steps import same_dataset
from vocdet_cli.option_groups import Without, grouped
from vocdet_cli.options import ReadOptions, RunnerOptions
from vocdet_cli.safe import escape
from vocdet_cli.startup import load_torch

if TYPE_CHECKING:
    from vocdet.workflows.thresholds import ThresholdResult

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedOptions:
    """What a threshold must give."""

    min_precision: Annotated[
        float | None, typer.Option(help="The lowest threshold with at least this precision, 0 to 1.")
    ] = None
    min_recall: Annotated[
        float | None, typer.Option(help="The highest threshold with at least this recall, 0 to 1.")
    ] = None
    fixed: Annotated[
        list[str] | None, typer.Option("--set", metavar="LABEL=SCORE", help="The threshold of a label. Repeatable.")
    ] = None


@app.command()
@grouped
def thresholds(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder or checkpoint of a detector.", show_default="the newest in ./runs")
    ] = None,
    data: Annotated[Path, typer.Option(help="Dataset folder.", show_default="this folder")] = Path(),
    split: Annotated[
        str, typer.Option(help="Split to choose the thresholds on.", show_default="val, or else test")
    ] = "",
    *,
    wanted: WantedOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the thresholds, but do not store them.")] = False,
    read: ReadOptions,
    place: Annotated[RunnerOptions, Without("backend")],
) -> None:
    """Choose the score threshold of every label on a split, and store it in the checkpoint.

    Without an option, each label gets the threshold with the best F1. predict, live and exports use what is stored.
    """
    load_torch()
    from vocdet.evaluation.curves import Wanted
    from vocdet.runs.folders import newest_detector
    from vocdet.workflows.thresholds import ThresholdOptions, choose_thresholds

    run = run or newest_detector(place.runs)
    source = read.source(data)
    rule = Wanted(wanted.min_precision, wanted.min_recall)
    options = ThresholdOptions(rule, _given_scores(wanted.fixed or []), split, store=not dry_run)
    with render.progress("detecting") as progress:
        done = choose_thresholds(run, source, options, device=place.device, progress=progress)
    render.findings(done.warnings, render.command("check", *same_dataset(source)))
    _show_thresholds(done)
    stored = "Not stored: --dry-run" if dry_run else f"Saved in {done.checkpoint}"
    render.done(stored, then=render.command("predict", str(run), str(data)))


def _given_scores(texts: list[str]) -> dict[str, float]:
    scores = {}
    for text in texts:
        label, _, number = text.rpartition("=")
        try:
            scores[label] = float(number)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not LABEL=SCORE, as in cat=0.4", param_hint="--set") from None
    return scores


def _show_thresholds(done: ThresholdResult) -> None:
    from vocdet.wording import counted, listed

    rule = "best F1" if str(done.wanted) == "f1" else f"at least {done.wanted}"
    title = f"{rule} on {done.split}, {counted(done.images, 'image')}"
    table = render.table(title, "label", "before", "threshold", "objects", "precision", "recall")
    for row in done.labels:
        shares = map(render.metric, (row.precision, row.recall))
        table.add_row(escape(row.label[:40]), f"{row.before:.3f}", f"{row.threshold:.3f}", str(row.objects), *shares)
    render.show(table)
    if missing := [row.label for row in done.labels if not row.reached]:
        render.warning(f"no threshold brings that for {listed(missing, most=8)}: the best F1, or the one before")
    if done.split != "val":
        render.warning(f"chosen on {done.split}: precision and recall there are slightly higher than on new images")
    if done.calibration.error is not None:
        render.note(f"calibration: scores are off by {done.calibration.error:.3f} on average (0: read .8 as 80 %)")
