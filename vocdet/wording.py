"""How values are said in messages: counts, boxes, nearest names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def counted(count: int, noun: str, nouns: str = "") -> str:
    """A number of things in words: 1 image, 2 images; `nouns` where an s does not make it several."""
    return f"{count} {noun}" if count == 1 else f"{count} {nouns or f'{noun}s'}"


def box_text(box: NDArray[np.float64] | Sequence[float]) -> str:
    """A box as people write it: xmin ymin xmax ymax, without needless decimals."""
    return " ".join(f"{float(value):.10g}" for value in box)


def nearest(word: str, choices: Iterable[str]) -> str:
    """The choice most like `word`, or "" when none is like it."""
    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""
