"""`vocdet bench`: trained detectors side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vocdet.wording import counted
from vocdet_cli import render
from vocdet_cli.option_groups import Without, grouped
from vocdet_cli.options import ReadOptions, RunnerOptions
from vocdet_cli.safe import escape
from vocdet_cli.startup import load_torch

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.inference.bench import Latency
    from vocdet.workflows.bench import Bench, Details, Measurement

app = typer.Typer()

COSTS: dict[str, tuple[str, Callable[[Measurement], str]]] = {
    "median": ("ms an image, median", lambda one: f"{one.latency.median:.1f}"),
    "p90": ("ms an image, 90 %", lambda one: f"{one.latency.p90:.1f}"),
    "bytes": ("MB on disk", lambda one: f"{one.bytes / 1e6:.1f}"),
    "parameters": ("M parameters", lambda one: f"{one.work.parameters / 1e6:.2f}" if one.work else "–"),
    "macs": ("G multiply-adds", lambda one: f"{one.work.macs / 1e9:.2f}" if one.work else "–"),
}
DETAILS: dict[str, Callable[[Details], str]] = {
    "ms from a file": lambda one: _spread(one.file),
    "ms, network alone": lambda one: _spread(one.network),
    "ms, 1 thread": lambda one: _spread(one.one_thread),
    "ms, batches of 8": lambda one: _spread(one.batch),
    "MB of memory": lambda one: f"{one.memory / 1e6:.0f}" if one.memory else "–",
}
SCORE_TITLES = {"ap": "AP", "ap50": "AP50", "mask_ap": "mask AP", "mask_ap50": "mask AP50"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is measured."""

    split: Annotated[str, typer.Option(help="Split of --data.")] = "test"
    images: Annotated[int, typer.Option(min=1, help="Images that each detector is timed on.")] = 30
    backend: Annotated[
        Literal["torch", "onnx", "openvino", "all"],
        typer.Option(help="Library that runs each run; all: torch, and every export in the run."),
    ] = "torch"
    torchvision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also a model of torchvision, such as ssdlite320_mobilenet_v3_large. Repeatable.",
            show_default=False,
        ),
    ] = None
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Also from image files, without pre- and post-processing, in one thread, in batches of 8, and memory.",
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFiles:
    """Files of the results."""

    plot: Annotated[Path | None, typer.Option(help="Draw AP over latency into this PNG.")] = None
    json: Annotated[Path | None, typer.Option(help="Also write the results to this file.")] = None


@app.command(no_args_is_help=True)
@grouped
def bench(
    names: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN", help="Run folders, checkpoints, exports, or names in --runs.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Dataset to time and evaluate on.", show_default="noise, with the metrics of earlier evaluations"
        ),
    ] = None,
    *,
    measured: Measured,
    table: Annotated[
        Literal["mobilenet"] | None,
        typer.Option(help="Instead of runs: MobileNetV1's grid of widths and resolutions.", show_default=False),
    ] = None,
    files: ResultFiles,
    read: Annotated[ReadOptions, Without("labels coordinates crowds")],
    run: Annotated[RunnerOptions, Without("backend")],
) -> None:
    """Compare trained detectors: milliseconds an image, size on disk, parameters, multiply-adds and average precision.

    They are timed in rotation, one image at a time, from an image in memory to its detections. The second and later
    ones also show their cost as a multiple of the first. With --data each is evaluated on the split unless it already
    was. torchvision's models have random weights, and the AP on COCO that torchvision publishes.
    """
    load_torch()
    if table:
        if names or data or files.json or files.plot or measured.torchvision or measured.full:
            raise typer.BadParameter("cannot be combined with runs, --data, --json, --plot, --torchvision and --full",
                                     param_hint="--table")  # fmt: skip
        _grid(measured.images)
        return
    from vocdet.runs.facts import find_run
    from vocdet.runtimes.description import is_exported
    from vocdet.workflows.bench import BenchOptions, bench_runs

    chosen = [name if name.is_file() or is_exported(name) else find_run(name, run.runs) for name in names or ()]
    how = BenchOptions(
        measured.split, measured.images, run.device, measured.backend, tuple(measured.torchvision or ()), measured.full
    )
    with render.progress("measuring") as progress:
        source = read.source(data) if data else None
        result = bench_runs(chosen, how, data=source, json=files.json, plot=files.plot, progress=progress)
    render.show(_table(result))
    if not result.same_images:
        hint = "" if data else ": use --data to evaluate them on the same images"
        render.warning(f"the detectors were evaluated on different images, so their AP is not comparable{hint}")
    if not data:
        render.note("timed on noise; use --data to time on images, where the number of detections varies")
    written = [str(path) for path in (files.json, files.plot) if path]
    render.done(f"Saved {' and '.join(written)}" if written else f"Timed {counted(len(result.runs), 'detector')}")


def _table(result: Bench) -> Table:
    first = result.runs[0]
    threads = result.environment.get("threads", "?")
    title = f"{result.rounds} images each in rotation ({result.pictures}) on {result.device}, {threads} threads"
    table = render.table(title, "", *(one.name or Path(one.run).name for one in result.runs))
    table.add_row("detector", *(escape(f"{one.task} {one.net}") for one in result.runs))
    if any(one.backend != "torch" for one in result.runs):
        table.add_row("backend", *(one.backend for one in result.runs))
    table.add_row("input", *(f"{one.size[0]}×{one.size[1]}" for one in result.runs))
    for name, (title, text) in COSTS.items():
        table.add_row(title, *(_cost(one, first, name, text) for one in result.runs))
    for title, show in DETAILS.items() if first.details else ():
        table.add_row(title, *(show(one.details) if one.details else "–" for one in result.runs))
    for name, title in SCORE_TITLES.items():
        if any(name in one.scores.metrics for one in result.runs):
            table.add_row(title, *(_score(one, first, name) for one in result.runs))
    if any(one.scores.split for one in result.runs):
        table.add_row("evaluated on", *(_evaluated_on(one) for one in result.runs))
    return table


def _spread(latency: Latency | None) -> str:
    return f"{latency.median:.1f} (90 %: {latency.p90:.1f})" if latency else "–"


def _grid(rounds: int) -> None:
    """Print MobileNetV1's grid."""
    from vocdet.workflows.mobilenet_grid import mobilenet_grid

    with render.progress("measuring") as progress:
        cells = mobilenet_grid(rounds=rounds, progress=progress)
    table = render.table("MobileNetV1, 1000 labels", "width", "input", "M multiply-adds", "M parameters", "ms", "90 %")
    for one in cells:
        costs = (f"{one.macs / 1e6:.0f}", f"{one.parameters / 1e6:.2f}")
        times = (f"{one.latency.median:.1f}", f"{one.latency.p90:.1f}") if one.latency else ("–", "–")
        table.add_row(f"{one.width:g}", f"{one.side}×{one.side}", *costs, *times)
    render.show(table)
    render.done(f"Timed {counted(len(cells), 'classifier')} on random weights, {counted(rounds, 'image')} each")


def _cost(one: Measurement, first: Measurement, name: str, text: Callable[[Measurement], str]) -> str:
    from vocdet.workflows.bench import ratios

    if one is first:
        return text(one)
    ratio = ratios(one, first).get(name)
    return text(one) if ratio is None else f"{text(one)} (×{ratio:.2f})"


def _score(one: Measurement, first: Measurement, name: str) -> str:
    mine, other = one.scores.metrics.get(name), first.scores.metrics.get(name)
    if mine is None:
        return "–"
    if one is first or other is None:
        return f"{mine:.3f}"
    return f"{mine:.3f} ({mine - other:+.3f})".replace("-", "−")


def _evaluated_on(one: Measurement) -> str:

    if not one.scores.split:
        return "–"
    return f"{one.scores.split}: {counted(one.scores.images, 'image')}" if one.scores.images else one.scores.split
