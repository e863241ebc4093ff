"""The `vocdet` command: its sub-commands, and what becomes of an error."""

from __future__ import annotations

import sys

import typer

from vocdet.errors import VocdetError
from vocdet_cli import dataset, demo, evaluate, render, train, watch

app = typer.Typer(
    name="vocdet",
    help="Train a small, fast object detector of your own: check, split, train-backbone, train-ssd, eval, predict.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

for group in (demo.app, dataset.app, train.app, evaluate.app, watch.app):
    app.add_typer(group)


def main() -> None:
    """Run the command line: 0 done, 1 something given is wrong, 2 wrong usage, 130 interrupted."""
    try:
        app()
    except VocdetError as error:
        render.error(error)
        sys.exit(1)
