"""What the command line prints: results to standard output, notes and errors to standard error."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vocdet.errors import ManyErrors, VocdetError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

MOST_ERRORS = 20  # of one kind of failure; the rest are counted


def error(problem: VocdetError) -> None:
    """Print an error, or as many of several as fit a screen."""
    many = problem.errors if isinstance(problem, ManyErrors) else (problem,)
    for one in many[:MOST_ERRORS]:
        where = f"{escape(str(one.place))}: " if one.place else ""
        err.print(f"[bold red]error:[/] {where}{escape(one.problem)}", soft_wrap=True)
        if one.hint:
            err.print(f"  [dim]hint:[/] {escape(one.hint)}", soft_wrap=True)
    if len(many) > MOST_ERRORS:
        err.print(f"[bold red]error:[/] and {len(many) - MOST_ERRORS} more")


def warning(text: str) -> None:
    """Something the user should know, that stops nothing."""
    err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)


def note(text: str) -> None:
    """A line about what is going on."""
    err.print(f"[dim]{escape(text)}[/]", soft_wrap=True)


def done(wrote: str, *, then: str = "") -> None:
    """How every command ends: what it wrote, and what to do next."""
    out.print(f"[green]{escape(wrote)}[/]", soft_wrap=True)
    if then:
        out.print(f"next: [bold]{escape(then)}[/]", soft_wrap=True)


def table(title: str, *columns: str) -> Table:
    """An empty table whose first column is text and whose others are numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i else "left", no_wrap=i > 0)
    return made


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for work that reports how many of how many are done; silent where nobody looks."""
    from rich.progress import Progress

    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def command(name: str, *arguments: str) -> str:
    """A command of vocdet as the user would type it."""
    return shlex.join(["vocdet", name, *arguments])


def given(path: Path, option: str = "", default: Path = Path()) -> list[str]:
    """The words that say a path on the command line: none where it is the default."""
    return [] if path == default else [option, str(path)] if option else [str(path)]
