"""Tables with a row per label that fit a terminal, even for long or many labels."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.table import Table

from vocdet_cli import render
from vocdet_cli.safe import escape

NARROWEST = 80  # columns, where the terminal has no width
LABEL_COLUMNS = 12  # columns of a label, even if the table becomes too wide
MOST, RAREST = 24, 8  # rows of labels, and how many of them are the last ones

_MOST_MEASURED = 1000  # characters of a label

Row = tuple[str, Sequence[object]]  # a label and its values


def fitted(title: str, columns: Sequence[str], rows: Sequence[Row], *, first: Sequence[Row] = ()) -> Table:
    """A table of labels and their values; labels that make it too wide are shortened in the middle.

    Rows of `first` come before the others, and their names are never shortened.
    """
    made = render.table(title, "", *columns)
    cells = [[str(value) for value in values] for _, values in (*first, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    room = max(render.out.width, NARROWEST) - sum(widths) - 2 * len(columns)
    for (name, _), values in zip((*first, *rows), cells, strict=True):
        made.add_row(escape(shortened(name, max(room, LABEL_COLUMNS))), *values)
    return made


def both_ends(rows: Sequence[Row], columns: int, *, every: bool = False) -> list[Row]:
    """The first and last rows, with a row between them that counts the hidden ones."""
    if every or len(rows) <= MOST:
        return list(rows)
    hidden = len(rows) - MOST + 1
    between = f"… {hidden} more: --all"
    return [*rows[: MOST - RAREST - 1], (between, [""] * columns), *rows[-RAREST:]]


def shortened(text: str, room: int) -> str:
    """A text cut to a number of terminal columns, in the middle, because names often differ only at their ends."""
    if len(text) <= _MOST_MEASURED and cell_len(text) <= room:
        return text
    tail = (room - 1) // 3
    start, end = text[:_MOST_MEASURED], text[-min(tail, _MOST_MEASURED) :] if tail else ""
    while cell_len(end) > tail:
        end = end[1:]
    return f"{set_cell_size(start, room - 1 - cell_len(end)).rstrip()}…{end}"
