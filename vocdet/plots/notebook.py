"""What a notebook shows: HTML fragments of headings, tables and pictures, for light and for dark pages.

Every text is escaped. Colors are those of the page, and there is no style sheet: notebooks remove it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import islice
from pathlib import Path

from vocdet.errors import VocdetError
from vocdet.files import read_limited
from vocdet.inputs.images import Image
from vocdet.plots.report_page import picture_uri
from vocdet.wording import and_more, reason

MOST_PICTURES = 12
MOST_ROWS = 20
MOST_BYTES = 900_000  # of all pictures together, as text
CELL, LARGE = 320, 960  # pixels of the longer side of one of several pictures, and of a single one
_CELL_STYLE = "padding:2px 10px;border-bottom:1px solid rgba(128,128,128,.35)"


def heading(text: str) -> str:
    """A line above a table or pictures."""
    return f"<p><b>{escape(text)}</b></p>"


def note(text: str) -> str:
    """A line of text."""
    return f"<p>{escape(text)}</p>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, most: int = MOST_ROWS) -> str:
    """A table whose first column names its rows; those after the first `most` are counted. Without rows: nothing."""
    every = list(rows)
    if not every:
        return ""
    head = "".join(_cell("th", name, left=isinstance(one, str)) for name, one in zip(columns, every[0], strict=True))
    body = "".join(f"<tr>{''.join(map(_value_cell, range(len(row)), row))}</tr>" for row in every[:most])
    more = note(and_more(len(every) - most).strip()) if len(every) > most else ""
    return f'<table style="border-collapse:collapse"><tr>{head}</tr>{body}</table>{more}'


def _cell(tag: str, text: str, *, left: bool) -> str:
    return f'<{tag} style="{_CELL_STYLE};text-align:{"left" if left else "right"}">{escape(text)}</{tag}>'


def _value_cell(column: int, value: object) -> str:
    text = "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
    return _cell("td" if column else "th", text, left=isinstance(value, str))


def gallery(items: Iterable[tuple[str, Callable[[], Image]]], *, most: int = MOST_PICTURES, side: int = CELL) -> str:
    """The first `most` pictures with captions, as far as they fit into a notebook; a text where one fails."""
    shown, left = [], MOST_BYTES
    for caption, draw in islice(items, most):
        try:
            uri = picture_uri(draw(), side)
        except (VocdetError, OSError) as error:
            problem = error.problem if isinstance(error, VocdetError) else reason(error)
            shown.append(_figure("", f"{caption}: no picture: {problem}", side))
            continue
        left -= len(uri)
        if left < 0:
            break
        shown.append(_figure(image(uri, side), caption, side))
    return f"<div>{''.join(shown)}</div>"


def _figure(content: str, caption: str, side: int) -> str:
    style = f"display:inline-block;vertical-align:top;margin:4px;max-width:{side}px"
    return f'<figure style="{style}">{content}<figcaption style="font-size:85%">{escape(caption)}</figcaption></figure>'


def image(uri: str, width: int, *, alt: str = "") -> str:
    """A picture from a data URI, at most `width` pixels wide."""
    return f'<img src="{uri}" alt="{escape(alt)}" style="max-width:min({width}px,100%)">'


def png(data: bytes, width: int, *, alt: str = "") -> str:
    """A PNG, at most `width` pixels wide."""
    return image(f"data:image/png;base64,{b64encode(data).decode()}", width, alt=alt)


def png_file(path: Path, width: int, *, alt: str = "") -> str:
    """A PNG that vocdet wrote; a text if it cannot be read, or is too large for a notebook."""
    try:
        data = read_limited(path, MOST_BYTES)
    except OSError as error:
        return note(f"{path.name}: no picture: {reason(error)}")
    return png(data, width, alt=alt) if data else note(f"{path.name}: no picture: it is empty")
