"""Many compressed RLEs at once: their runs are counted as columns, without drawing a mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data.texts import Texts
from vocdet.masks import LARGEST_SIDE, MOST_PIXELS

_MOST_CHARACTERS = 8  # of a number: 40 bits, more than the pixels of any image
_BLOCK = 1 << 21  # characters that are counted at a time


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
    texts = b",".join(text for _, text in column.items())
    try:
        entries = _DECODER.decode(b"[" + texts + b"]")
        counts = [entry.counts.encode("ascii") for entry in entries]
        sizes = np.array([entry.size for entry in entries], np.int64).reshape(-1, 2)
    except (ValueError, RecursionError, OverflowError):  # msgspec.DecodeError and UnicodeEncodeError are ValueErrors
        return None
    return Runs(sizes, counts) if len(counts) == len(column.rows) else None


def measured_runs(runs: Runs) -> MeasuredRuns:
    """Add up the runs of every RLE."""
    count = len(runs.counts)
    total, area, valid = np.zeros(count, np.int64), np.zeros(count), np.zeros(count, np.bool_)
    lengths = np.fromiter(map(len, runs.counts), np.int64, count)
    for first, last in _blocks(lengths):
        some = slice(first, last)
        valid[some], total[some], area[some] = _block_sums(b"".join(runs.counts[some]), lengths[some])
    height, width = runs.sizes.T
    valid &= (height > 0) & (width > 0) & (height <= LARGEST_SIDE) & (width <= LARGEST_SIDE)
    valid &= (total == height * width) & (total <= MOST_PIXELS)
    area[~valid] = 0
    return MeasuredRuns(valid, area)


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
    bad = np.flatnonzero(bits > 63)
    good[np.searchsorted(ends, bad, "right")] = False
    good[good] = bits[ends[good] - 1] < 32  # the last number is complete
    if not good.all():  # without those that would run into the next one
        keep = np.repeat(good, lengths)
        total, area = (np.zeros(len(lengths), np.int64) for _ in range(2))
        if len(rows := np.flatnonzero(good)):
            good[rows], total[rows], area[rows] = _number_sums(bits[keep], np.cumsum(lengths[rows]))
        return good, total, area
    return _number_sums(bits, ends)


def _number_sums(
    bits: NDArray[np.uint8], ends: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """The same for texts of complete numbers that end at these characters.

    A number has five bits in a character, low bits first; the sixth is set if more follow. From the fourth number on,
    each is the difference from the number two places before.
    """
    last = np.flatnonzero(bits < 32)  # the last character of every number
    size = np.diff(last, prepend=-1)
    values = (bits[last - size + 1] & 31).astype(np.int64)
    for place in range(1, min(int(size.max()), _MOST_CHARACTERS)):
        longer = np.flatnonzero(size > place)
        values[longer] += (bits[last[longer] - size[longer] + 1 + place] & 31).astype(np.int64) << (5 * place)
    values -= np.where(bits[last] & 16, np.int64(1) << (5 * np.minimum(size, _MOST_CHARACTERS)), 0)  # the sign
    stop = np.searchsorted(last, ends)  # numbers up to the end of every text
    start = np.concatenate([[0], stop[:-1]])
    place = np.arange(len(values)) - np.repeat(start, stop - start)
    runs = _undo_differences(values, place, start)
    total = np.add.reduceat(runs, start)
    area = np.add.reduceat(np.where(place % 2 == 1, runs, 0), start)
    fine = np.minimum.reduceat(runs, start) >= 0
    fine &= np.maximum.reduceat(size, start) <= _MOST_CHARACTERS
    return fine, total, area


def _undo_differences(
    values: NDArray[np.int64], place: NDArray[np.int64], start: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Sums over every second number of a text, from its second and from its third number on."""
    counts = np.diff(np.append(start, len(values)))
    pairs = counts // 2  # of the numbers after the first, padded to an even count
    first = np.cumsum(pairs) - pairs
    at = 2 * np.repeat(first, counts) + place - 1
    later = place > 0
    table = np.zeros((int(pairs.sum()), 2), np.int64)
    table.reshape(-1)[at[later]] = values[later]
    sums = np.cumsum(table, axis=0)
    before = np.zeros((len(start), 2), np.int64)
    before[1:] = sums[first[1:] - 1] if len(sums) else 0
    before[first == 0] = 0
    sums -= np.repeat(before, pairs, axis=0)
    runs = values.copy()
    runs[later] = sums.reshape(-1)[at[later]]
    return runs
