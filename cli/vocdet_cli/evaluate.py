"""`vocdet eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vocdet_cli import render
from vocdet_cli.options import Coordinates, Device, Labels, Part, Runs, Seed
from vocdet_cli.startup import load_torch

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.evaluation.report import EvalReport, Figures
    from vocdet.workflows.evaluate import Evaluated

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
    subset: Annotated[
        int | None, typer.Option(min=1, help="Look at so many images of the part only, chosen at random with --seed.")
    ] = None,
    interval: Annotated[
        bool,
        typer.Option(
            "--interval", help="Say how far AP and AR may be from those of other such images; so it is with --subset."
        ),
    ] = False,
    seed: Seed = 0,
    picture: Annotated[
        Path | None, typer.Option(help="Write a few images, annotated beside found, to this .jpg or .png.")
    ] = None,
    labels: Labels = None,
    coordinates: Coordinates = "auto",
    runs: Runs = Path("runs"),
    device: Device = "auto",
) -> None:
    """Average precision, precision, recall and F1 of every label, as VOC and COCO count them.

    A detector with masks gets the average precision of its masks beside that of its boxes; precision, recall, F1 and
    what is correct, wrong and missed are told by the boxes.
    """
    load_torch()
    from vocdet.formats.source import Source
    from vocdet.runs.folders import newest_detector
    from vocdet.wording import counted
    from vocdet.workflows.evaluate import evaluate_run

    run = run or newest_detector(runs)
    with render.progress("detecting") as progress:
        done = evaluate_run(
            run, Source(data, labels=labels, coordinates=coordinates), split=split, device=device,
            own_thresholds=own_thresholds, subset=subset, interval=interval, seed=seed, picture=picture,
            progress=progress,
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
    _note_masks(done)
    images = counted(done.report.images, "image")
    of = f" of {done.available}, chosen with seed {seed}" if done.report.images < done.available else ""
    render.out.print(f"[bold]{escape(str(run))} on {split}: {images}{of}[/]", soft_wrap=True)
    render.show(_precision_table(done.report))
    render.show(_found_table(done.report))
    for line in _summary(done.report):
        render.out.print(line, soft_wrap=True)
    pictured = f", and the picture {picture}" if picture else ""
    then = render.command("predict", str(run), str(data))
    render.done(f"wrote {done.metrics} and {done.detections}{pictured}", then=then)


def _note_masks(done: Evaluated) -> None:
    from vocdet.wording import counted

    if done.boxes_only:
        render.note("these images are annotated with boxes alone: the detector's masks are not evaluated")
    masks = done.report.masks
    if masks and masks.unreadable:
        unreadable = counted(masks.unreadable, "mask")
        render.warning(f"{unreadable} cannot be read or not of the image's size: for masks, their objects do not count")
    if masks and masks.without > masks.unreadable:
        without = counted(masks.without - masks.unreadable, "object")
        render.note(f"{without} without a mask: for masks they do not count, neither as missed nor as found")


def _precision_table(report: EvalReport) -> Table:
    title = "average precision: AP50 as VOC 2007 (11 points), VOC 2010 and COCO count it; AP as COCO"
    columns = ["objects", "VOC07", "VOC", "AP50", "AP"]
    masks = [*report.masks.labels, report.masks.overall] if report.masks else []
    table = render.table(title, "label", *columns, *(("mask AP50", "mask AP") if masks else ()))
    for i, (row, name) in enumerate(_rows(report)):
        shares = [row.ap_voc07, row.ap_voc, row.ap50, row.ap, *((masks[i].ap50, masks[i].ap) if masks else ())]
        table.add_row(name, str(row.objects), *map(_share, shares))
    return table


def _found_table(report: EvalReport) -> Table:
    from vocdet.evaluation.report import LabelFigures

    columns = ("label", "threshold", "precision", "recall", "F1", "correct", "wrong", "missed", "false")
    at = "at the score threshold, by boxes" if report.masks else "at the score threshold"
    table = render.table(f"{at}: objects found, mistaken and missed; false detections", *columns)
    for row, name in _rows(report):
        threshold = _share(row.threshold) if isinstance(row, LabelFigures) else ""
        counts = (row.correct, row.wrong, row.missed, row.false)
        table.add_row(name, threshold, *map(_share, (row.precision, row.recall, row.f1)), *map(str, counts))
    return table


def _rows(report: EvalReport) -> list[tuple[Figures, str]]:
    """Every label's figures and its name, then those of all."""
    return [*((row, escape(row.label[:40])) for row in report.labels), (report.overall, "[bold]all[/]")]


def _summary(report: EvalReport) -> list[str]:
    """COCO's figures of boxes and of masks, and under each its interval."""
    lines = []
    for name, block in (("COCO", report), ("COCO, masks", report.masks)):
        if block:
            lines.append(f"{name}: " + "  ".join(f"{name} {_share(value)}" for name, value in block.coco.items()))
        if block and block.interval:
            bounds = (f"{name} {_bounds(value)}" for name, value in block.interval.bounds.items())
            within = f"{block.interval.share:.0%} of {block.interval.resamples} resamples of the images"
            lines.append(f"  {within}: " + "  ".join(bounds))
    return lines


def _bounds(value: tuple[float, float] | None) -> str:
    return "–" if value is None else f"{value[0]:.3f}–{value[1]:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
