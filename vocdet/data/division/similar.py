"""Near-identical images: copies saved again, resized or brightened, and frames of a film where hardly anything moved.

Each image is decoded small, as 32 by 32 greys. A perceptual hash of 63 bits (the signs of its low frequencies) finds
the pairs worth a second look; that look compares the greys, as a whole and window by window, so that two different
things before the same background stay two images. What links are found make groups; an image in a group need not be
like every other one in it, as the first frame of a slow film is not like the last.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vocdet.data import image_files
from vocdet.data.dataset import Dataset
from vocdet.data.division.groups import Groups, groups_of, join
from vocdet.data.division.identical import identical_images
from vocdet.data.splits import Rows

Pictures = NDArray[np.uint8]  # (N, 32, 32) greys
Greys = NDArray[np.int32]  # (P, 32, 32), to calculate with

# Measured on 3,100 photographs and film frames. Saving again at quality 30, in a quarter to 1.7 times the size,
# stretched, in grey, darker or brighter changes up to 4 bits, keeps a correlation of .987, and windows stay below .6
# (.12 but where white is cut off). Of the 190 pairs of film frames within the three limits all show the same thing; of
# those with the correlation alone two in three do not.
MOST_BITS = 8  # of 63 that differ
LEAST_LIKENESS = 0.975  # correlation of the greys
MOST_ODD = 0.6  # of the window that differs most: 0 the same, 1 nothing in common
PLAIN = 4.0  # greys: pictures with a lower standard deviation have nothing to be known by

_SIDE = 32
_DECODED = 128  # pixels at least before it is made small: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size
_LOW = 8  # frequencies of a hash, each way
_BANDS, _BAND_BITS = 9, 7  # two hashes that differ in 8 of 63 bits share one band of 7 at least
_NOISE = 4.0  # greys: what differs less in a window is not seen
_AT_ONCE = 4096  # pairs looked at in one go
_MOST_LOOKS = 200  # at one picture in vain: bounds the time where all pictures are nearly alike, and yet are not


@dataclass(frozen=True, slots=True, eq=False)
class Similar:
    """Which images of a dataset are near-identical, and the small pictures by which that was found."""

    groups: Groups  # of two or more
    pictures: Pictures  # of every image; black where it could not be decoded

    def nearest(self, row: int, others: Sequence[int]) -> tuple[int, float]:
        """Which of `others` is most like an image, and how like: 1 the same picture, as measured by correlation.

        -1 and 0 where none of them is near-identical to it.
        """
        among = np.setdiff1d(np.asarray(others, np.int64), row)
        bits = _differing_bits(perceptual_hashes(self.pictures[among]), perceptual_hashes(self.pictures[[row]]))
        among = among[bits <= MOST_BITS]
        chunks = [among[i : i + _AT_ONCE] for i in range(0, len(among), _AT_ONCE)]
        seen = [_likeness(self.pictures, np.full(len(chunk), row), chunk) for chunk in chunks]
        likeness = np.concatenate([np.zeros(0), *seen])
        best = int(np.argmax(likeness)) if len(among) else -1
        return (int(among[best]), float(likeness[best])) if best >= 0 and likeness[best] > 0 else (-1, 0.0)


def similar_images(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Groups:
    """Rows of images that are near-identical, as groups of two or more; identical ones are among them.

    Plain pictures are in a group with pixel-identical ones alone, unreadable files in none. Every image is decoded,
    small; `progress` counts them.
    """
    return find_similar(dataset, progress).groups


def find_similar(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Similar:
    """As `similar_images`, with what is needed to say how like two images are."""
    pictures, readable = _read_all(dataset, progress)
    plain = _plain(pictures)
    root = np.arange(len(pictures))
    for same in (identical_images(dataset), _same_pixels(dataset, pictures, np.flatnonzero(readable & plain))):
        for group in same:
            join(root, [(group[0], row) for row in group[1:] if readable[row] and readable[group[0]]])
    _join_alike(root, pictures, np.flatnonzero(readable & ~plain))
    return Similar(groups_of(root), pictures)


def perceptual_hashes(pictures: Pictures) -> NDArray[np.uint64]:
    """(N,) hashes of 63 bits: which of the lowest frequencies, but for the mean, are above their median."""
    hashes = np.empty(len(pictures), np.uint64)
    for first in range(0, len(pictures), _AT_ONCE):
        low = _cosines() @ pictures[first : first + _AT_ONCE] @ _cosines().T  # (n, 8, 8)
        values = np.round(low.reshape(len(low), -1)[:, 1:], 6)  # rounded: the same on any machine
        bits = values > np.median(values, axis=1, keepdims=True)  # (n, 63)
        powers = np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)
        hashes[first : first + _AT_ONCE] = (bits * powers).sum(axis=1, dtype=np.uint64)
    return hashes


def read_picture(path: Path) -> NDArray[np.uint8] | None:
    """(32, 32) greys of an image as it is to be seen (EXIF turns it); None where it cannot be decoded."""
    try:
        with Image.open(path, formats=tuple(image_files.SUFFIXES)) as image:
            drafted = image.draft("L", (_DECODED, _DECODED))
            if image.mode.startswith("I;16"):
                grey = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            else:
                grey = image.convert("L")
            box = drafted[1] if drafted else None  # the last pixels of a reduced JPEG are not whole ones
            small = grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
            small.info = image.info
    except Exception:  # Pillow's decoders raise many kinds on broken files
        return None
    with suppress(Exception):  # EXIF that cannot be read turns nothing
        small = ImageOps.exif_transpose(small)
    return np.asarray(small)


def _read_all(dataset: Dataset, progress: Callable[[int, int], None] | None) -> tuple[Pictures, NDArray[np.bool_]]:
    paths = [dataset.root / file for file in dataset.images.files]
    pictures = np.zeros((len(paths), _SIDE, _SIDE), np.uint8)
    readable = np.zeros(len(paths), np.bool_)
    with image_files.quiet_decoder(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for row, picture in enumerate(pool.map(read_picture, paths)):
            if picture is not None:
                pictures[row], readable[row] = picture, True
            if progress is not None:
                progress(row + 1, len(paths))
    return pictures, readable


def _same_pixels(dataset: Dataset, pictures: Pictures, rows: Rows) -> Groups:
    """Those of these rows that are the same pixel by pixel, whatever their files are."""
    alike: dict[tuple[bytes, int, int], list[int]] = defaultdict(list)
    for row in rows.tolist():
        size = int(dataset.images.widths[row]), int(dataset.images.heights[row])
        alike[(pictures[row].tobytes(), *size)].append(row)
    same: dict[bytes, list[int]] = defaultdict(list)
    for group in alike.values():
        for row in group if len(group) > 1 else ():
            with suppress(Exception), Image.open(dataset.root / dataset.images.files[row]) as image:
                same[hashlib.sha256(image.convert("RGB").tobytes()).digest()].append(row)
    return [group for group in same.values() if len(group) > 1]


def _plain(pictures: Pictures) -> NDArray[np.bool_]:
    parts = [_variance(pictures[i : i + _AT_ONCE].astype(np.int32)) for i in range(0, len(pictures), _AT_ONCE)]
    return np.concatenate([np.zeros(0), *parts]) < PLAIN**2


def _join_alike(root: Rows, pictures: Pictures, rows: Rows) -> None:
    """Join the groups of near-identical pictures among these rows, in place."""
    vain = np.zeros(len(root), np.int64)  # looks at every row
    waiting: list[Rows] = []
    for pairs in _candidates(perceptual_hashes(pictures[rows]), rows, root, vain):
        waiting.append(pairs)
        if sum(map(len, waiting)) >= _AT_ONCE:
            _look(root, pictures, np.concatenate(waiting), vain)
            waiting = []
    if waiting:
        _look(root, pictures, np.concatenate(waiting), vain)


def _look(root: Rows, pictures: Pictures, pairs: Rows, vain: Rows) -> None:
    for first in range(0, len(pairs), _AT_ONCE):
        some = pairs[first : first + _AT_ONCE]
        some = some[root[some[:, 0]] != root[some[:, 1]]]
        alike = _likeness(pictures, some[:, 0], some[:, 1]) > 0
        join(root, some[alike].tolist())
        vain += np.bincount(some[~alike].ravel(), minlength=len(vain))


def _candidates(hashes: NDArray[np.uint64], rows: Rows, root: Rows, vain: Rows) -> Iterator[Rows]:
    """(P, 2) pairs of rows that are in no group together yet and whose hashes differ in few bits."""
    for band in range(_BANDS):
        key = (hashes >> np.uint64(band * _BAND_BITS)) & np.uint64((1 << _BAND_BITS) - 1)
        order = np.lexsort((hashes, key))  # equal hashes lie side by side: the first step joins most of a film
        key, near_hashes, near_rows = key[order], hashes[order], rows[order]
        at = np.arange(len(rows))
        for step in range(1, len(rows)):
            if step & (step - 1) == 0:  # at every power of two
                at = at[(_undecided(key, root[near_rows]) & (vain[near_rows] < _MOST_LOOKS))[at]]
            at = at[: np.searchsorted(at, len(rows) - step)]
            at = at[key[at] == key[at + step]]
            if not len(at):
                break
            new = at[root[near_rows[at]] != root[near_rows[at + step]]]
            near = new[_differing_bits(near_hashes[new], near_hashes[new + step]) <= MOST_BITS]
            if len(near):
                yield np.stack([near_rows[near], near_rows[near + step]], axis=1)


def _undecided(key: NDArray[np.uint64], root: Rows) -> NDArray[np.bool_]:
    """(N,) whether there is more than one group among those of the same key, which lie side by side."""
    if not len(key):
        return np.zeros(0, np.bool_)
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    several = np.minimum.reduceat(root, first) != np.maximum.reduceat(root, first)
    return np.repeat(several, np.diff(first, append=len(key)))


def _differing_bits(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint8]:
    parts = (a ^ b).view(np.uint16).reshape(-1, 4)
    bits = _bits()
    return bits[parts[:, 0]] + bits[parts[:, 1]] + bits[parts[:, 2]] + bits[parts[:, 3]]


def _likeness(pictures: Pictures, first: Rows, second: Rows) -> NDArray[np.float64]:
    """(P,) the correlation of each pair of pictures that is near-identical, 0 for the others.

    All sums are of whole numbers, so that every machine comes to the same result.
    """
    a, b = pictures[first].astype(np.int32), pictures[second].astype(np.int32)
    variances = _variance(a), _variance(b)
    covariance = (a * b).mean(axis=(1, 2)) - a.mean(axis=(1, 2)) * b.mean(axis=(1, 2))
    likeness = covariance / np.sqrt(np.maximum(variances[0] * variances[1], 1e-9))
    near = np.flatnonzero(likeness >= LEAST_LIKENESS)
    odd = _oddest_window(a[near], b[near], variances[0][near], variances[1][near])
    found = np.zeros(len(first))
    found[near[odd <= MOST_ODD]] = likeness[near[odd <= MOST_ODD]]
    return found


def _oddest_window(a: Greys, b: Greys, of_a: NDArray[np.float64], of_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) the largest share of what a window shows that is not in both pictures.

    `of_a` and `of_b` are the variances of the pictures: both are given the contrast of the stronger one. A shift in
    the brightness of a window does not count.
    """
    mean_a, mean_b = _window_means(a), _window_means(b)
    strongest = np.maximum(of_a, of_b)
    gain_a, gain_b = (np.sqrt(strongest / of)[:, None, None] for of in (of_a, of_b))
    shown_a = (_window_means(a * a) - mean_a**2) * gain_a**2
    shown_b = (_window_means(b * b) - mean_b**2) * gain_b**2
    shared = (_window_means(a * b) - mean_a * mean_b) * gain_a * gain_b
    odd: NDArray[np.float64] = (shown_a + shown_b - 2 * shared) / (shown_a + shown_b + 2 * _NOISE**2)
    return np.asarray(odd.max(axis=(1, 2), initial=0))


def _window_means(values: Greys) -> NDArray[np.float64]:
    """(P, 15, 15) the mean of every window of 4 by 4 pixels, two pixels apart."""
    quads = values[:, ::2] + values[:, 1::2]
    quads = quads[:, :, ::2] + quads[:, :, 1::2]  # (P, 16, 16)
    rows = quads[:, 1:] + quads[:, :-1]
    means: NDArray[np.float64] = (rows[:, :, 1:] + rows[:, :, :-1]) / 16
    return means


def _variance(values: Greys) -> NDArray[np.float64]:
    """(P,) the variance of each picture."""
    return np.asarray((values * values).mean(axis=(1, 2)) - values.mean(axis=(1, 2)) ** 2)


@cache
def _bits() -> NDArray[np.uint8]:
    """How many bits are set in every number of 16 bits."""
    pairs = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    return np.asarray(np.unpackbits(pairs, axis=1).sum(axis=1, dtype=np.uint8))


@cache
def _cosines() -> NDArray[np.float64]:
    """(8, 32) the lowest frequencies of the discrete cosine transform."""
    frequency, at = np.arange(_LOW)[:, None], np.arange(_SIDE)[None]
    return np.asarray(np.cos(np.pi * frequency * (2 * at + 1) / (2 * _SIDE)))
