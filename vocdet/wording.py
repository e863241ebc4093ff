"""The wording of values in messages: counts, lists, boxes, nearest matches, reasons of the system."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COMPARED = 100  # characters of a word; matching takes quadratic time
_MOST_CHOICES = 2000  # compared with it, those of the most similar length
_LONGEST_QUOTE = 80  # characters


def counted(count: float, noun: str, plural: str = "") -> str:
    """A count with its noun: 1 image, 2 images, 0.5 minutes. `plural` is for nouns that take more than an s."""
    return f"{count:.15g} {noun}" if count == 1 else f"{count:.15g} {plural or f'{noun}s'}"


def listed(items: Iterable[object], *, most: int | None = None, conjunction: str = "") -> str:
    """Items in one line: a, b, c. Those after the first `most` are counted: a, b and 3 more.

    A `conjunction` stands before the last item of a complete list: a, b or c.
    """
    texts = [str(item) for item in items]
    if most is not None and len(texts) > most:
        return ", ".join(texts[:most]) + and_more(len(texts) - most)
    if conjunction and len(texts) > 1:
        return f"{', '.join(texts[:-1])} {conjunction} {texts[-1]}"
    return ", ".join(texts)


def and_more(count: int, noun: str = "") -> str:
    """The end of a list that leaves out `count` items: " and 3 more", " and 1 more file", or "" for none."""
    if count <= 0:
        return ""
    return f" and {counted(count, f'more {noun}')}" if noun else f" and {count} more"


def quoted(text: str) -> str:
    """A text from a file in quotes, on one line, with escapes for control characters; a long one is cut."""
    return repr(text) if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]!r}..."


def bounds_text(bounds: tuple[float, float] | None, digits: int = 3) -> str:
    """An interval as low–high; a dash for none."""
    return "–" if bounds is None else f"{bounds[0]:.{digits}f}–{bounds[1]:.{digits}f}"


def box_text(box: NDArray[np.float64] | Sequence[float]) -> str:
    """A box as xmin ymin xmax ymax, without trailing zeros."""
    return " ".join(f"{float(value):.10g}" for value in box)


def nearest(word: str, choices: Iterable[str]) -> str:
    """The choice most similar to `word`, or "" where none is close. Case and the kind of dash do not count."""
    word = _folded(word[:_COMPARED])
    folded = {_folded(choice): choice for choice in choices}
    if word in folded:
        return folded[word]
    near = (
        folded
        if len(folded) <= _MOST_CHOICES
        else nsmallest(_MOST_CHOICES, folded, lambda one: abs(len(one) - len(word)))
    )
    close = difflib.get_close_matches(word, near, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint that names the nearest match, or "" where none is close."""
    close = nearest(word, choices)
    return f"did you mean {close!r}?" if close else ""


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    r"""A text of one line with escapes for what a terminal obeys rather than shows: \x1b, \n, \u202e.

    These are control characters, line ends, the controls of writing direction, and halves of surrogate pairs.
    """
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def _folded(word: str) -> str:
    return word.casefold().replace("-", "_")


def reason(error: OSError) -> str:
    """Why the system refused something, in lower case: no such file or directory."""
    return (error.strerror or str(error)).lower()


_TYPE_NAMES = {
    "array": "a list", "object": "an object", "str": "a text", "int": "a whole number", "float": "a number",
    "bool": "true or false", "null": "null",
}  # fmt: skip
_EXPECTED = re.compile(r"Expected `([^`]+)`( [^,]+?)?(?:, got `(\w+)`)?(?: - at `\$\.?([^`]*)`)?$")
_FIELD = re.compile(r"Object (missing required|contains unknown) field `([^`]*)`(?: - at `\$\.?([^`]*)`)?")
_MALFORMED = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_OTHER = {
    "Input data was truncated": "it ends too early",
    "Number out of range": "a number is too large",
    "Exceeds the limit": "a number has too many digits",
    "Invalid enum value": "it has a value that is not allowed",
    "Invalid UTF-8": "it is not UTF-8 text",
}


def json_reason(error: Exception) -> str:
    """Why a JSON text cannot be used, from the error that decoding it raised: counts[2] is a text, not a number."""
    if isinstance(error, OSError):
        return reason(error)
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error)
    if type(error) is ValueError and not text.startswith("Exceeds the limit"):
        return text  # of vocdet
    if found := _EXPECTED.match(text):
        wanted = " or ".join(_TYPE_NAMES.get(name, name) for name in found[1].split(" | "))
        where, limit = found[4] or "it", found[2] or ""
        return (
            f"{where} is {_TYPE_NAMES[found[3]]}, not {wanted}"
            if found[3] in _TYPE_NAMES
            else f"{where} must be {wanted}{limit}"
        )
    if found := _FIELD.match(text):
        where = found[3] or "it"
        return f"{where} has {'no' if found[1].startswith('missing') else 'the unknown key'} {found[2]!r}"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]} in line {error.lineno}"
    if found := _MALFORMED.match(text):
        return f"it is not JSON: {found[1]} at byte {found[2]}"
    return next((meaning for begin, meaning in _OTHER.items() if text.startswith(begin)), "it is invalid")
