"""A column of byte strings, most of them empty, in three arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from msgspec import Raw
from numpy.typing import ArrayLike, NDArray

from vocdet.data.columns import frozen


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """`texts[i]` is the byte string of row i. Empty texts take no memory."""

    count: int  # rows
    rows: NDArray[np.int64]  # (K,) rows with nonempty texts, in ascending order
    ends: NDArray[np.int64]  # (K,) where each of their texts ends in `data`
    data: NDArray[np.uint8]  # (bytes,) the concatenated texts

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", frozen(self.rows, np.int64))
        object.__setattr__(self, "ends", frozen(self.ends, np.int64))
        object.__setattr__(self, "data", frozen(self.data, np.uint8))
        if len(self.rows) != len(self.ends):
            raise ValueError(f"{len(self.rows)} rows and {len(self.ends)} ends")
        rising = (self.rows[1:] > self.rows[:-1]).all()
        if len(self.rows) and not (rising and self.rows[0] >= 0 and self.rows[-1] < self.count):
            raise ValueError(f"the rows of texts do not rise from 0 to {self.count - 1}")
        if (np.diff(self.ends, prepend=0) < 0).any() or (self.ends[-1] if len(self.ends) else 0) != len(self.data):
            raise ValueError("the texts do not fill their bytes")

    @classmethod
    def empty(cls, count: int) -> Texts:
        """Rows of empty texts."""
        none = np.empty(0, np.int64)
        return cls(count, none, none, np.empty(0, np.uint8))

    @classmethod
    def of(cls, texts: Sequence[bytes | Raw]) -> Texts:
        """A column of these texts."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        data = np.frombuffer(b"".join(texts), np.uint8)
        return cls(len(texts), np.flatnonzero(lengths), np.cumsum(lengths)[lengths > 0], data)

    @classmethod
    def sparse(cls, count: int, texts: dict[int, bytes]) -> Texts:
        """A column with these texts in these rows, in ascending order, and empty texts in all others."""
        kept = [(row, text) for row, text in texts.items() if text]
        rows = np.fromiter((row for row, _ in kept), np.int64, len(kept))
        ends = np.fromiter(accumulate(len(text) for _, text in kept), np.int64, len(kept))
        return cls(count, rows, ends, np.frombuffer(b"".join(text for _, text in kept), np.uint8))

    @classmethod
    def join(cls, columns: Iterable[Texts]) -> Texts:
        """The concatenation of columns."""
        pieces = list(columns)
        if len(pieces) == 1:
            return pieces[0]
        firsts = list(accumulate((piece.count for piece in pieces), initial=0))
        bytes_before = list(accumulate((len(piece.data) for piece in pieces), initial=0))
        if not pieces:
            return cls.empty(0)
        return cls(
            firsts[-1],
            np.concatenate([piece.rows + first for piece, first in zip(pieces, firsts, strict=False)]),
            np.concatenate([piece.ends + before for piece, before in zip(pieces, bytes_before, strict=False)]),
            np.concatenate([piece.data for piece in pieces]),
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int | np.integer) -> bytes:
        if not 0 <= row < self.count:
            raise IndexError(row)
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            return b""
        return self.data[self.ends[place - 1] if place else 0 : self.ends[place]].tobytes()

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Row and text of the nonempty texts, in order."""
        data, first = self.data.data, 0
        for row, end in zip(self.rows.tolist(), self.ends.tolist(), strict=True):
            yield row, bytes(data[first:end])
            first = end

    def values(self) -> list[bytes]:
        """The nonempty texts, in order."""
        data, ends = self.data.data, self.ends.tolist()
        return [bytes(data[first:end]) for first, end in zip([0, *ends], ends, strict=False)]

    def take(self, rows: ArrayLike) -> Texts:
        """The texts of these rows (indices or a mask), in this order."""
        wanted = np.asarray(rows)
        wanted = np.flatnonzero(wanted) if wanted.dtype == np.bool_ else wanted.astype(np.int64)
        wanted = np.where(wanted < 0, wanted + self.count, wanted)  # from the end, as arrays have it
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < self.count):
            raise IndexError(f"a row beyond the {self.count} of a column of texts")
        if not len(self.rows):
            return Texts.empty(len(wanted))
        if len(wanted) and (np.diff(wanted) == 1).all():
            a, b = (int(np.searchsorted(self.rows, edge)) for edge in (wanted[0], wanted[-1] + 1))
            begin, end = (int(self.ends[edge - 1]) if edge else 0 for edge in (a, b))
            return Texts(len(wanted), self.rows[a:b] - wanted[0], self.ends[a:b] - begin, self.data[begin:end])
        place = np.minimum(np.searchsorted(self.rows, wanted), len(self.rows) - 1)
        new_rows = np.flatnonzero(self.rows[place] == wanted)
        place = place[new_rows]
        first = np.concatenate([[0], self.ends[:-1]])[place]  # (K,) in the old bytes
        last = self.ends[place]
        old = self.data.data
        data = b"".join([old[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)])
        return Texts(len(wanted), new_rows, np.cumsum(last - first), np.frombuffer(data, np.uint8))
