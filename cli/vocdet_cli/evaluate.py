"""`vocdet eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vocdet_cli import render
from vocdet_cli.options import Coordinates, Device, Labels, Part, Runs
from vocdet_cli.startup import load_torch

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.evaluation.report import EvalReport, Figures

app = typer.Typer()


@app.command("eval")
def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder or checkpoint of a detector.", show_default="the newest in ./runs")
    ] = None,
    data: Annotated[Path, typer.Option(help="Dataset folder.", show_default="this folder")] = Path(),
    split: Annotated[Part, typer.Option(help="Part to evaluate on.")] = "test",
    own_thresholds: Annotated[
        bool,
        typer.Option(
            "--own-thresholds", help="Precision and recall at the checkpoint's thresholds, not the best here."
        ),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Write a few images, annotated beside found, to this .jpg or .png.")
    ] = None,
    labels: Labels = None,
    coordinates: Coordinates = "auto",
    runs: Runs = Path("runs"),
    device: Device = "auto",
) -> None:
    """Average precision, precision, recall and F1 of every label, as VOC and COCO count them."""
    load_torch()
    from vocdet.data.checks import counted
    from vocdet.workflows.evaluate import evaluate_run
    from vocdet.workflows.runs import newest_run

    run = run or newest_run(runs, "ssd")
    with render.progress("detecting") as progress:
        done = evaluate_run(
            run, data, split=split, labels=labels, coordinates=coordinates, device=device,
            own_thresholds=own_thresholds, picture=picture, progress=progress,
        )  # fmt: skip
    if done.warnings:
        see = render.command(
            "check", *render.given(data), *render.given(labels, "--labels", None),
            *render.given(coordinates, "--coordinates", "auto"),
        )  # fmt: skip
        render.note(f"{counted(len(done.warnings), 'warning')} about the data: see {see}")
    if done.unknown:
        render.warning(f"the detector never learned {', '.join(done.unknown)}: their objects count as missed")
    if not done.report.overall.objects:
        render.warning(f"no object in {split} counts, as none is annotated or all are difficult: nothing can be found")
    images = counted(done.report.images, "image")
    render.out.print(f"[bold]{escape(str(run))} on {split}: {images}[/]", soft_wrap=True)
    render.show(_precision_table(done.report))
    render.show(_found_table(done.report))
    render.out.print(_summary(done.report), soft_wrap=True)
    pictured = f", and the picture {picture}" if picture else ""
    then = render.command("predict", str(run), str(data))
    render.done(f"wrote {done.metrics} and {done.detections}{pictured}", then=then)


def _precision_table(report: EvalReport) -> Table:
    title = "average precision: AP50 as VOC 2007 (11 points), VOC 2010 and COCO count it; AP as COCO"
    table = render.table(title, "label", "objects", "VOC07", "VOC", "AP50", "AP")
    for row, name in _rows(report):
        shares = (row.ap_voc07, row.ap_voc, row.ap50, row.ap)
        table.add_row(name, str(row.objects), *map(_share, shares))
    return table


def _found_table(report: EvalReport) -> Table:
    from vocdet.evaluation.report import LabelFigures

    columns = ("label", "threshold", "precision", "recall", "F1", "correct", "wrong", "missed", "false")
    table = render.table("at the score threshold: objects found, mistaken and missed; false detections", *columns)
    for row, name in _rows(report):
        threshold = _share(row.threshold) if isinstance(row, LabelFigures) else ""
        counts = (row.correct, row.wrong, row.missed, row.false)
        table.add_row(name, threshold, *map(_share, (row.precision, row.recall, row.f1)), *map(str, counts))
    return table


def _rows(report: EvalReport) -> list[tuple[Figures, str]]:
    """Every label's figures and its name, then those of all."""
    return [*((row, escape(row.label[:40])) for row in report.labels), (report.overall, "[bold]all[/]")]


def _summary(report: EvalReport) -> str:
    return "COCO: " + "  ".join(f"{name} {_share(value)}" for name, value in report.coco.items())


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
