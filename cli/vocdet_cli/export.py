"""`vocdet export`: a trained model as files that run without vocdet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocdet_cli import render
from vocdet_cli.option_groups import Without, grouped
from vocdet_cli.options import DEFAULT_RUNS, ReadOptions, Runs
from vocdet_cli.safe import escape
from vocdet_cli.startup import load_torch

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.exporting.parity import Check, Difference
    from vocdet.workflows.export import ExportResult

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What an export is."""

    to: Annotated[
        str,
        typer.Option("--format", help="onnx, openvino, litert, executorch, coreml, ncnn, or web: a page for browsers."),
    ] = "onnx"
    size: Annotated[int | None, typer.Option(help="Side of the input in pixels.", show_default="as trained")] = None
    raw: Annotated[bool, typer.Option("--raw", help="Leave decoding out: the outputs of the network.")] = False
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="The network in 8 bits, calibrated on training images; openvino, litert and executorch."
        ),
    ] = False
    target: Annotated[
        str,
        typer.Option(
            "--for",
            help="tensorrt, tensorrt-nms (with NMS inside) or x-anylabeling; onnx only.",
            show_default=False,
        ),
    ] = ""
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Largest accepted change of AP, AP50 and scores.", show_default="0.01; of int8 0.03"
        ),
    ] = None


@app.command()
@grouped
def export(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder or checkpoint.", show_default="the newest detector in ./runs")
    ] = None,
    *,
    made: ModelOptions,
    out: Annotated[Path | None, typer.Option(help="Output folder.", show_default="exports/FORMAT in the run")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Dataset to check on.", show_default="the run's own, its val split")
    ] = None,
    read: Annotated[ReadOptions, Without("labels coordinates crowds")],
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Write a trained model as a file for other programs, with everything from pixels to boxes inside.

    Before the folder appears, the file is compared with the model, from image files to average precision. The folder
    also holds the labels, a model card and the result of the comparison.
    """
    load_torch()
    from vocdet.runs.facts import find_run
    from vocdet.runs.folders import newest_detector
    from vocdet.workflows.export import ExportOptions, export_run

    path = newest_detector(runs) if run is None else run if run.is_file() else find_run(run, runs)
    source = read.source(data) if data else None
    with render.progress("comparing") as progress:
        options = ExportOptions(made.to, made.size, made.raw, made.tolerance, made.int8, made.target)
        result = export_run(path, options, out=out, data=source, progress=progress)
    show(result)
    then = f"python3 -m http.server -d {result.folder}, and open http://localhost:8000" if made.to == "web" else ""
    saved = f"Exported {path} to {result.file}, {result.bytes / 1e6:.1f} MB, labels and model card beside it"
    render.done(saved, then=then)


def show(result: ExportResult) -> None:
    """Print how an export compares with its model."""
    for remark in result.remarks:
        render.warning(remark)
    if result.apart is not None:
        render.out.print(f"compared on 5 made images: the largest difference of an output is {result.apart:.2g}")
    if result.check:
        render.show(_table(result.check))
        if result.description.precision == "int8" and result.check.by_label:
            render.show(_label_table(result.check))
        for line in _difference_lines(result.check):
            render.out.print(line, soft_wrap=True)


def _table(check: Check) -> Table:
    from vocdet.wording import counted

    on = f"{counted(check.images, 'image')} of {check.split}, and 5 made ones" if check.images else "5 made images"
    table = render.table(f"compared on {on}", "", "AP50", "AP", "ms an image")
    rows = (
        ("model", check.model, check.model_ms), ("export", check.exported, check.exported_ms),
        ("export, whole images", check.alone, None),
    )  # fmt: skip
    for name, scores, milliseconds in rows:
        time = "" if milliseconds is None else f"{milliseconds:.1f}"
        table.add_row(name, render.metric(scores.ap50), render.metric(scores.ap), time)
    return table


def _label_table(check: Check) -> Table:
    table = render.table("AP50 of every label", "label", "model", "export", "change")
    for label, (before, after) in check.by_label.items():
        change = "" if before is None or after is None else f"{after - before:+.3f}".replace("-", "−")
        table.add_row(escape(label[:40]), render.metric(before), render.metric(after), change)
    return table


def _difference_lines(check: Check) -> list[str]:
    return [
        f"largest differences: {_difference_text(check.difference)}",
        f"with whole images, which the file resizes itself: {_difference_text(check.difference_alone)}",
    ]


def _difference_text(difference: Difference) -> str:
    from vocdet.wording import counted

    missing = f", {difference.missing} without a counterpart" if difference.missing else ""
    of = counted(difference.detections, "detection")
    return f"{difference.boxes:.2g} pixels, scores {difference.scores:.2g}, of {of}{missing}"
