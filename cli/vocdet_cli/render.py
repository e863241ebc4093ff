"""Output of the command line: results on standard output, notes and errors on standard error."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table

from vocdet.errors import ManyErrors, VocdetError
from vocdet.wording import and_more, counted
from vocdet_cli.hints import as_commands
from vocdet_cli.safe import SafeConsole, escape

if TYPE_CHECKING:  # imports NumPy
    from vocdet.data.findings import Finding

out = SafeConsole(highlight=False)
err = SafeConsole(stderr=True, highlight=False)

MOST_ERRORS = 20  # different errors; others are counted
MOST_PLACES = 3  # of the same error
WIDEST_LINE = 1000  # columns of a table


def screen() -> Console:
    """The console for progress bars, notes and errors: standard error.

    If both are terminals, it is the console of standard output, because only the console that draws a progress bar can
    print beside it.
    """
    return out if _is_terminal(sys.stdout) and _is_terminal(sys.stderr) else err


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()  # None: it is closed


def error(problem: VocdetError) -> None:
    """Print an error, or the first of several, and last the remedy for all of them.

    The same error in several places is printed once, and so is a hint that errors share.
    """
    many = problem.errors if isinstance(problem, ManyErrors) else (problem,)
    hints: dict[str, dict[str, list[VocdetError]]] = {}
    for one in many:
        hints.setdefault(one.hint, {}).setdefault(one.problem, []).append(one)
    groups = [(text, hint, same) for hint, texts in hints.items() for text, same in texts.items()]
    shown = groups[:MOST_ERRORS]
    for i, (text, hint, (first, *others)) in enumerate(shown, 1):
        where = f"{escape(str(first.place))}: " if first.place else ""
        screen().print(f"[bold red]error:[/] {where}{escape(as_commands(text))}", soft_wrap=True)
        if others:
            places = ", ".join(escape(str(one.place)) for one in others[:MOST_PLACES] if one.place)
            screen().print(f"  also in {places}{and_more(len(others) - MOST_PLACES, 'place')}", soft_wrap=True)
        if hint and (i == len(shown) or shown[i][1] != hint):
            screen().print(f"  [dim]hint:[/] {escape(as_commands(hint))}", soft_wrap=True)
    rest = sum(len(same) for *_, same in groups[MOST_ERRORS:])
    if rest:
        screen().print(f"[bold red]error:[/] and {rest} more")
    if problem.remedy:
        again = shlex.join(["vocdet", *sys.argv[1:], "--skip-bad"])
        screen().print(f"{escape(as_commands(problem.remedy))}: [bold]{escape(again)}[/]", soft_wrap=True)


def warning(text: str) -> None:
    """Print a warning."""
    screen().print(f"[yellow]warning:[/] {escape(as_commands(text))}", soft_wrap=True)


def note(text: str) -> None:
    """Print a remark."""
    screen().print(f"[dim]{escape(as_commands(text))}[/]", soft_wrap=True)


def findings(found: Sequence[Finding], check: str) -> None:
    """Print the decisions among the findings of a dataset, and the number of all; `check` shows them."""
    from vocdet.data.findings import DECISIONS

    for finding in found:
        if finding.code in DECISIONS:
            warning(finding.problem)
    if found:
        note(f"{counted(len(found), 'finding')} in the data: see {check}")


def done(wrote: str, *, then: str = "") -> None:
    """Print the result of a command, and the next step."""
    out.print(f"[green]{escape(wrote)}[/]", soft_wrap=True)
    if then:
        out.print(f"next: [bold]{escape(then)}[/]", soft_wrap=True)


def table(title: str, *columns: str) -> Table:
    """An empty table whose first column is text and whose others are numbers; title and columns are plain text."""
    made = Table(title=escape(title), header_style="dim", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(escape(column), justify="right" if i else "left", no_wrap=True)
    return made


def show(made: Table) -> None:
    """Print a table under its title; lines wider than the terminal wrap."""
    title, made.title = made.title, None
    out.print(f"[bold]{title}[/]", soft_wrap=True)
    made.width = out.measure(made, options=out.options.update(max_width=WIDEST_LINE)).maximum
    out.print(made, crop=False)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; silent unless it is a terminal."""
    if not screen().is_terminal:  # an invisible bar costs time
        yield lambda *_: None
        return
    from rich.progress import Progress

    with Progress(console=screen(), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def command(name: str, *arguments: str) -> str:
    """A command of vocdet as the user would type it."""
    return shlex.join(["vocdet", name, *arguments])


def given(value: object, option: str = "", default: object = Path()) -> list[str]:
    """The words of an option on the command line; empty for its default."""
    return [] if value == default else [option, str(value)] if option else [str(value)]


def metric(value: float | None) -> str:
    """A metric in a table, with three decimals; a dash without one."""
    return "–" if value is None else f"{value:.3f}"
