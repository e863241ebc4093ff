"""Many compressed RLEs at once: their runs are counted as columns, without drawing a mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data.texts import Texts
from vocdet.masks import LARGEST_SIDE, MOST_CHARACTERS, MOST_PIXELS

_BLOCK = 1 << 16  # characters that are counted at a time: their arrays fit in the cache of a processor
_SIGNED = (np.arange(64, dtype=np.int64) & 15) - (np.arange(64) & 16)  # of the last character of a number


class _Compressed(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str


_DECODER = msgspec.json.Decoder(list[_Compressed])


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """The RLEs of a column of masks that has any."""

    sizes: NDArray[np.int64]  # (K, 2) height, width
    counts: list[bytes]  # their text forms

    def boxes(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, 4) x, y, width and height around the valid masks of these rows, as pycocotools has them."""
        from pycocotools import mask as coco

        sizes = self.sizes.tolist()
        rles = [{"size": sizes[row], "counts": self.counts[row]} for row in rows.tolist()]
        return np.asarray(coco.toBbox(rles), np.float64).reshape(-1, 4) if rles else np.zeros((0, 4))


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRuns:
    """Whether RLEs are valid: runs that are not negative, with a sum of height × width. Then, their areas."""

    valid: NDArray[np.bool_]  # (K,)
    area: NDArray[np.float64]  # (K,) pixels; 0 if invalid


def runs_of(column: Texts) -> Runs | None:
    """The RLEs in the rows of a column that are not empty; None if one of them is not a compressed RLE."""
    texts = b",".join(column.values())
    try:
        entries = _DECODER.decode(b"[" + texts + b"]")
        counts = [entry.counts.encode("ascii") for entry in entries]
        sizes = np.fromiter(chain.from_iterable(entry.size for entry in entries), np.int64).reshape(-1, 2)
    except (ValueError, RecursionError, OverflowError):  # msgspec.DecodeError and UnicodeEncodeError are ValueErrors
        return None
    return Runs(sizes, counts) if len(counts) == len(column.rows) else None


def measured_runs(runs: Runs) -> MeasuredRuns:
    """Add up the runs of every RLE."""
    count = len(runs.counts)
    total, area, valid = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.bool_)
    lengths = np.fromiter(map(len, runs.counts), np.int64, count)
    for first, last in _blocks(lengths):
        some = slice(first, last)
        valid[some], total[some], area[some] = _block_sums(b"".join(runs.counts[some]), lengths[some])
    height, width = runs.sizes.T
    valid &= (height > 0) & (width > 0) & (height <= LARGEST_SIDE) & (width <= LARGEST_SIDE)
    valid &= (total == height * width) & (total <= MOST_PIXELS)
    return MeasuredRuns(valid, np.where(valid, area, 0).astype(np.float64))


def _blocks(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _BLOCK, "right")))
        yield first, last
        first = last


def _block_sums(
    text: bytes, lengths: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Whether the texts (K,) are runs, and the sums of all their runs and of every second one."""
    bits = np.frombuffer(text, np.uint8) - np.uint8(48)  # characters below 48 wrap around
    ends = np.cumsum(lengths)
    good = lengths > 0
    if bits.max(initial=0) > 63:
        good[np.searchsorted(ends, np.flatnonzero(bits > 63), "right")] = False
    good[good] = bits[ends[good] - 1] < 32  # the last number is complete
    total, area = (np.zeros(len(lengths), np.int64) for _ in range(2))
    if len(rows := np.flatnonzero(good)):  # without those that would run into the next one
        bits = bits if len(rows) == len(good) else bits[np.repeat(good, lengths)]
        good[rows], total[rows], area[rows] = _number_sums(bits, np.cumsum(lengths[rows]))
    return good, total, area


def _number_sums(
    bits: NDArray[np.uint8], ends: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """The same for texts of complete numbers that end at these characters.

    From the fourth number of a text on, each is the difference from the number two places before. The numbers of even
    and of odd places are two columns, in which every text has a part, whose sums undo the differences.
    """
    last = np.flatnonzero(bits < 32)  # the last character of every number
    values = _numbers(bits, last)
    stop = np.searchsorted(last, ends)  # numbers up to the end of every text
    count = np.diff(stop, prepend=0)
    if (alone := count == 1).any():  # a run of no length, so that each text is in both columns
        values = np.insert(values, stop[alone], 0)
        stop = stop + np.cumsum(alone)
    start = np.concatenate([[0], stop[:-1]])
    third = start[count > 2] + 2
    values[third] -= values[third - 2]  # it is no difference
    fine = np.ones(len(ends), np.bool_)
    _discard(np.abs(values) > 2 * MOST_PIXELS, values, stop, fine)
    totals = np.empty((2, len(ends)), np.int64)
    for side in (0, 1):
        column, firsts = values[side::2], (start + 1 - side) // 2
        before = np.add.reduceat(column, firsts)[:-1]
        column[firsts[1:]] -= before
        np.cumsum(column, out=column)
        _discard((column < 0) | (column > MOST_PIXELS), column, firsts[1:], fine)
        totals[side] = np.add.reduceat(column, firsts)
    odd = 1 - start % 2  # the column of the runs of 1
    return fine, totals.sum(axis=0), totals[odd, np.arange(len(ends))]


def _numbers(bits: NDArray[np.uint8], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers with these last characters: five bits in each, low bits first, the highest bit is the sign.

    One with too many characters is too large.
    """
    values = _SIGNED[bits[last]]
    size = np.diff(last, prepend=-1)
    longer = np.flatnonzero(size > 1)
    first, size = last[longer] + 1 - size[longer], size[longer]
    value = values[longer] << (5 * np.minimum(size, MOST_CHARACTERS) - 5)
    for place in range(min(int(size.max(initial=0)), MOST_CHARACTERS) - 1):
        some = np.flatnonzero(size > place + 1)
        value[some] += (bits[first[some] + place] & np.int64(31)) << (5 * place)
    value[size > MOST_CHARACTERS] = 4 * MOST_PIXELS
    values[longer] = value
    return values


def _discard(
    bad: NDArray[np.bool_], values: NDArray[np.int64], stops: NDArray[np.int64], fine: NDArray[np.bool_]
) -> None:
    """Mark the texts with bad values, which become 0, so that no sum overflows."""
    if bad.any():
        fine[np.searchsorted(stops, np.flatnonzero(bad), "right")] = False
        values[bad] = 0
