"""`vocdet eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vocdet_cli import render
from vocdet_cli.options import Coordinates, Device, Labels, Runs

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
    split: Annotated[str, typer.Option(help="Part to evaluate on: test, val, train or trainval.")] = "test",
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
    from vocdet.cpu import prepare_cpu

    prepare_cpu()
    from vocdet.workflows.evaluate import evaluate_run
    from vocdet.workflows.runs import newest_run

    run = run or newest_run(runs, "ssd")
    with render.progress("detecting") as progress:
        done = evaluate_run(
            run, data, split=split, labels=labels, coordinates=coordinates, device=device,
            own_thresholds=own_thresholds, picture=picture, progress=progress,
        )  # fmt: skip
    if done.warnings:
        render.note(f"{len(done.warnings)} warnings about the data: see vocdet check")
    if done.unknown:
        render.warning(f"the detector never learned {', '.join(done.unknown)}: their objects count as missed")
    render.out.print(_table(done.report, f"{run} on {split}: {done.report.images} images"))
    render.out.print(_summary(done.report), soft_wrap=True)
    pictured = f", and the picture {picture}" if picture else ""
    render.done(f"wrote {done.metrics} and {done.detections}{pictured}", then=f"vocdet predict {run} IMAGES")


def _table(report: EvalReport, title: str) -> Table:
    table = render.table(
        title, "label", "objects", "AP50 VOC07", "AP50 VOC", "AP50", "AP", "threshold", "precision", "recall", "F1",
        "correct", "wrong", "missed",
    )  # fmt: skip
    for row in report.labels:
        table.add_row(escape(row.label[:40]), *_cells(row, _share(row.threshold)))
    table.add_section()
    table.add_row("all", *_cells(report.overall, ""), style="bold")
    return table


def _cells(row: Figures, threshold: str) -> list[str]:
    shares = [_share(value) for value in (row.ap_voc07, row.ap_voc, row.ap50, row.ap)]
    point = [_share(value) for value in (row.precision, row.recall, row.f1)]
    return [str(row.objects), *shares, threshold, *point, str(row.correct), str(row.wrong), str(row.missed)]


def _summary(report: EvalReport) -> str:
    return "COCO: " + "  ".join(f"{name} {_share(value)}" for name, value in report.coco.items())


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
