"""`vocdet view`: a dataset and the detections of a run in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vocdet_cli import render
from vocdet_cli.options import Coordinates, Crowds, Data, Device, Format, Labels, SkipBad

app = typer.Typer()


@app.command()
def view(
    data: Data = Path(),
    run: Annotated[
        Path | None,
        typer.Option(help="Show the detections of a run, a checkpoint, or a file or folder of detections."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of the detections.", show_default="all that the run was evaluated on, or test")
    ] = "",
    notes: Annotated[
        Path | None, typer.Option(help="CSV file for the notes.", show_default="<name of the dataset>-notes.csv")
    ] = None,
    host: Annotated[str, typer.Option(help="Address of the page.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: a free one.")] = 8766,
    token: Annotated[
        str, typer.Option(help="Token in the address.", envvar="VOCDET_TOKEN", show_default="a new one")
    ] = "",
    format: Format = "auto",
    labels: Labels = None,
    coordinates: Coordinates = "auto",
    crowds: Crowds = "ignore",
    skip_bad: SkipBad = False,
    device: Device = "auto",
) -> None:
    """Show a dataset in the browser: filter, zoom, note what is wrong; with --run also the detections and their errors.

    The page is for whoever has its address, which contains the token. Needs the extra serve: pip install vocdet[serve].
    """
    from vocdet.formats.scan import Source
    from vocdet.workflows.view import ViewOptions
    from vocdet.workflows.view import view as show

    if run is not None and not list(run.glob("metrics-*.json")):
        from vocdet_cli.startup import load_torch

        load_torch()

    def started(url: str, file: Path) -> None:
        render.done(f"Showing {data} at {url}; Ctrl-C stops. Notes go to {file}")

    source = Source(data, format, labels, coordinates, crowds, skip_bad)
    options = ViewOptions(run, split, notes, host, port, token)
    with render.progress("reading") as progress:
        show(source, options, device=device, progress=progress, started=started)
