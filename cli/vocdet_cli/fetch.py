"""`vocdet fetch`: the public datasets, from their archives to a folder that can be trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from vocdet_cli import render

if TYPE_CHECKING:
    from vocdet.fetching.catalog import Collection
    from vocdet.workflows.fetch import Outcome

app = typer.Typer()


@app.command()
def fetch(
    dataset: Annotated[Literal["voc2007", "voc2012", "coco2017"], typer.Argument(help="Which dataset.")],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="Folder for the archives and what is in them.",
            show_default="this folder; for coco2017 the folder coco2017 in it",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PART",
            help="Fetch this part alone: trainval, test; of COCO annotations, val, train. Can be given again.",
        ),
    ] = None,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="Mirror: where the archives are, by their own names.")
    ] = "",
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep the archives when they are unpacked.")] = True,
) -> None:
    """Download VOC 2007, VOC 2012 or COCO 2017, prove the checksums, unpack, and count what is there.

    Every archive has its lines: PASSED, or FAILED and what is wrong; FAILED ends with code 1.
    Interrupted, the same command goes on from there. What is there already is verified and not fetched again.
    An archive fetched by other means is used when it lies in DIR.
    """
    from vocdet.fetching.catalog import COLLECTIONS

    collection = COLLECTIONS[dataset]
    fetch_into(collection, folder or Path(collection.folder), only=only or [], mirror=url, keep=keep)


def fetch_into(collection: Collection, folder: Path, *, only: list[str], mirror: str, keep: bool) -> None:
    """Fetch a collection and print what came of it."""
    from vocdet.fetching.download import size_text
    from vocdet.workflows.fetch import archives_in, fetch, partial_downloads

    failed = 0
    try:
        with _bar() as progress:
            for outcome in fetch(
                collection, folder, only=only, mirror=mirror, keep=keep, progress=progress, note=render.note
            ):
                _print(outcome)
                failed += not outcome.passed
    except KeyboardInterrupt:
        for part in partial_downloads(collection, folder):
            kept = size_text(part.stat().st_size)
            render.note(f"{kept} are kept in {part}: the same command goes on from there")
        raise
    if failed:
        raise typer.Exit(1)
    archives = archives_in(collection, folder, only)
    if archives:
        render.note(f"the archives take {size_text(archives)}: with --no-keep the same command deletes them")
    root = folder / collection.root
    render.done(f"{collection.name} is in {root}", then=render.command("check", str(root)))


def _print(outcome: Outcome) -> None:
    mark = "[green]PASSED[/]" if outcome.passed else "[bold red]FAILED[/]"
    render.out.print(f"{mark}  {escape(outcome.item)}: {escape(outcome.text)}", soft_wrap=True)
    if outcome.hint:
        render.out.print(f"  [dim]hint:[/] {escape(outcome.hint)}", soft_wrap=True)


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar in bytes on standard error, for one thing after another; silent where nobody looks."""
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
            if what != shown:  # a task of its own: speed and time left begin anew
                for task in bar.task_ids:
                    bar.remove_task(task)
                bar.add_task(what, total=total or None, completed=done)
                shown = what
            else:
                bar.update(bar.task_ids[0], completed=done, total=total or None)

        yield show
