"""`vocdet fetch`: download and unpack public datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vocdet_cli import render
from vocdet_cli.hints import as_commands
from vocdet_cli.safe import escape

if TYPE_CHECKING:
    from vocdet.fetching.catalog import Collection
    from vocdet.workflows.fetch import FetchOptions, FetchResult

app = typer.Typer()


@app.command()
def fetch(
    dataset: Annotated[Literal["voc2007", "voc2012", "coco2017"], typer.Argument(help="Dataset to fetch.")],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Folder for the archives and their contents.",
            show_default="this folder; coco2017 for coco2017",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PART",
            help="Fetch only this part: trainval or test; for COCO annotations, val or train. Repeatable.",
        ),
    ] = None,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="Mirror that serves the archives under their names.")
    ] = "",
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep the archives after unpacking.")] = True,
) -> None:
    """Download VOC 2007, VOC 2012 or COCO 2017, verify the checksums, unpack, and count the files.

    Each verification prints PASSED, or FAILED with the problem; any FAILED exits with code 1.
    Interrupted downloads resume when you run the same command again. Existing files are verified, not fetched again.
    An archive that you downloaded by other means is used if it is in DIR.
    """
    from vocdet.fetching.catalog import COLLECTIONS
    from vocdet.workflows.fetch import FetchOptions

    collection = COLLECTIONS[dataset]
    fetch_into(collection, folder or Path(collection.folder), FetchOptions(only or (), url, keep))


def fetch_into(collection: Collection, folder: Path, options: FetchOptions) -> None:
    """Fetch a collection and print every verification."""
    from vocdet.fetching.download import size_text
    from vocdet.workflows.fetch import archive_bytes, fetch, partial_downloads

    failed = 0
    try:
        with _progress_bar() as progress:
            for result in fetch(collection, folder, options, progress=progress, note=render.note):
                _print(result)
                failed += not result.passed
    except KeyboardInterrupt:
        for part in partial_downloads(collection, folder):
            size = size_text(part.stat().st_size)
            render.note(f"{size} are saved in {part}: run the same command again to resume")
        raise
    if failed:
        raise typer.Exit(1)
    archives = archive_bytes(collection, folder, options.only)
    if archives:
        render.note(f"the archives take {size_text(archives)}: the same command with --no-keep deletes them")
    root = folder / collection.root
    render.done(f"{collection.name} is in {root}", then=render.command("check", str(root)))


def _print(result: FetchResult) -> None:
    mark = "[green]PASSED[/]" if result.passed else "[bold red]FAILED[/]"
    render.out.print(f"{mark}  {escape(result.archive)}: {escape(result.text)}", soft_wrap=True)
    if result.hint:
        render.out.print(f"  [dim]hint:[/] {escape(as_commands(result.hint))}", soft_wrap=True)


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar in bytes on standard error, for one step after another; silent unless it is a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=10),
        DownloadColumn(table_column=Column(no_wrap=True, min_width=14)),
        TransferSpeedColumn(table_column=Column(no_wrap=True, min_width=10)),
        TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
    )
    with Progress(*columns, console=render.screen(), transient=True, disable=not render.screen().is_terminal) as bar:
        shown = ""

        def show(what: str, done: int, total: int) -> None:
            nonlocal shown
            if what != shown:  # a new task, so that speed and remaining time start over
                for task in bar.task_ids:
                    bar.remove_task(task)
                bar.add_task(what, total=total or None, completed=done)
                shown = what
            else:
                bar.update(bar.task_ids[0], completed=done, total=total or None)

        yield show
