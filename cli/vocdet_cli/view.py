"""`vocdet view`: a dataset and the detections of a run in the browser."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from vocdet_cli import render
from vocdet_cli.option_groups import grouped
from vocdet_cli.options import Data, Device, ReadOptions

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownOptions:
    """What is shown beside the dataset, and where."""

    run: Annotated[
        Path | None,
        typer.Option(help="Show the detections of a run, a checkpoint, or a file or folder of detections."),
    ] = None
    split: Annotated[
        str, typer.Option(help="Split of the detections.", show_default="all that the run was evaluated on, or test")
    ] = ""
    notes: Annotated[
        Path | None, typer.Option(help="CSV file for the notes.", show_default="<name of the dataset>-notes.csv")
    ] = None
    host: Annotated[str, typer.Option(help="Address of the page.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: a free one.")] = 8766
    token: Annotated[
        str, typer.Option(help="Token in the address.", envvar="VOCDET_TOKEN", show_default="a new one")
    ] = ""


@app.command()
@grouped
def view(
    data: Data = Path(),
    *,
    shown: ShownOptions,
    device: Device = "auto",
    read: ReadOptions,
) -> None:
    """Show a dataset in the browser: filter, zoom, note what is wrong; with --run also the detections and their errors.

    The page is for whoever has its address, which contains the token. Needs Starlette and uvicorn, the extra serve.
    """
    from vocdet.workflows.view import ViewOptions
    from vocdet.workflows.view import view as show

    if shown.run is not None and not list(shown.run.glob("metrics-*.json")):
        from vocdet_cli.startup import load_torch

        load_torch()

    def started(url: str, file: Path) -> None:
        render.done(f"Showing {data} at {url}; Ctrl-C stops. Notes go to {file}")

    with render.progress("reading") as progress:
        show(read.source(data), ViewOptions(**asdict(shown)), device=device, progress=progress, started=started)
