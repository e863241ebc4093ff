"""The `vocdet` command: its subcommands and exit codes."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from vocdet import __version__
from vocdet.errors import OutputError, VocdetError
from vocdet.wording import reason
from vocdet_cli import bench, check, convert, demo, evaluate, fetch, project, reshape, runs, split, stats, thresholds
from vocdet_cli import predict as watch
from vocdet_cli.training import commands as train
from vocdet_cli.training import launch
from vocdet_cli.training import train as whole

app = typer.Typer(
    name="vocdet",
    help="Train a small, fast object detector: train does all of it, or check, split, train-backbone, train-ssd, eval.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

for group in (
    demo.app,
    whole.app,
    project.app,
    fetch.app,
    convert.app,
    check.app,
    split.app,
    stats.app,
    reshape.app,
    train.app,
    evaluate.app,
    thresholds.app,
    watch.app,
    runs.app,
    bench.app,
):
    app.add_typer(group)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def vocdet(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options without a command."""


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 error, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # some consoles cannot print ≥
    try:
        app()
    except VocdetError as error:
        launch.failed(error)
        sys.exit(1)
    except OSError as error:  # such as a full disk behind standard output
        place = Path(error.filename) if isinstance(error.filename, str) else None
        launch.failed(OutputError(reason(error), place=place))
        sys.exit(1)
