"""Near-identical images: resaved, resized or brightened copies, and video frames with hardly any motion.

Each image is decoded to 32 by 32 gray values. A perceptual hash of 63 bits (the signs of its low frequencies) finds
candidate pairs, which are compared as a whole and window by window, so that different objects on the same background
stay apart. Linked pairs form groups; not all images of a group are similar: the first frame of a slow video differs
from the last.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vocdet.data import image_files
from vocdet.data.dataset import Dataset
from vocdet.data.division.groups import Groups, groups_of, join
from vocdet.data.division.identical import identical_images
from vocdet.data.embedded import on_disk
from vocdet.data.levels import Levels
from vocdet.data.splits import Rows
from vocdet.errors import ImageError

Pictures = NDArray[np.uint8]  # (N, 32, 32) gray values
Grays = NDArray[np.int32]  # (P, 32, 32) gray values for arithmetic

# Measured on 3,100 photographs and video frames. Resaved at quality 30, scaled by 0.25 to 1.7, stretched, in gray,
# darker or brighter, an image changes up to 4 bits, keeps a correlation of .987, and windows stay below .6 (.12 without
# clipped highlights). All 190 pairs of video frames within the three limits show the same thing; of the pairs within
# the correlation limit alone, two in three do not.
MOST_BITS = 8  # of 63 that differ
LEAST_LIKENESS = 0.975  # correlation of the gray values
MOST_ODD = 0.6  # difference of the least similar window: 0 identical, 1 nothing in common
PLAIN = 4.0  # gray levels: pictures with a lower standard deviation have no features to compare

_HASHED_SIDE = 32
_DECODED = 128  # minimum side in pixels before scaling down: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size
_LOW = 8  # frequencies of a hash along each axis
_BANDS, _BAND_BITS = 9, 7  # hashes that differ in at most 8 of 63 bits share at least one band of 7
_NOISE = 4.0  # gray levels: smaller differences in a window are ignored
_AT_ONCE = 4096  # pairs compared at once
_MOST_LOOKS = 200  # failed comparisons per picture: bounds the time where all pictures are almost similar enough


@dataclass(frozen=True, slots=True, eq=False)
class Similar:
    """The near-identical images of a dataset, and the small pictures that were compared."""

    groups: Groups  # of two or more
    pictures: Pictures  # of every image; black if it cannot be decoded

    def nearest(self, row: int, others: Sequence[int]) -> tuple[int, float]:
        """The one of `others` that is most similar to an image, and their correlation.

        -1 and 0 if none of them is near-identical to it.
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
    """Rows of near-identical (or identical) images, in groups of two or more.

    Plain pictures are grouped only if pixel-identical, unreadable files never. Every image is decoded at a small
    size; `progress` counts them.
    """
    return find_similar(dataset, progress).groups


def find_similar(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Similar:
    """Like `similar_images`, with the pictures to measure the similarity of two images."""
    pictures, readable = _read_all(dataset, progress)
    plain = _is_plain(pictures)
    root = np.arange(len(pictures))
    for same in (identical_images(dataset), _same_pixels(dataset, pictures, np.flatnonzero(readable & plain))):
        for group in same:
            join(root, [(group[0], row) for row in group[1:] if readable[row] and readable[group[0]]])
    _join_alike(root, pictures, np.flatnonzero(readable & ~plain))
    return Similar(groups_of(root), pictures)


def perceptual_hashes(pictures: Pictures) -> NDArray[np.uint64]:
    """(N,) hashes of 63 bits: whether each of the lowest frequencies, without the mean, is above their median."""
    hashes = np.empty(len(pictures), np.uint64)
    for first in range(0, len(pictures), _AT_ONCE):
        low = _cosines() @ pictures[first : first + _AT_ONCE] @ _cosines().T  # (n, 8, 8)
        values = np.round(low.reshape(len(low), -1)[:, 1:], 6)  # rounded: the same on any machine
        bits = values > np.median(values, axis=1, keepdims=True)  # (n, 63)
        powers = np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)
        hashes[first : first + _AT_ONCE] = (bits * powers).sum(axis=1, dtype=np.uint64)
    return hashes


def read_picture(path: Path, levels: Levels | None = None) -> NDArray[np.uint8] | None:
    """(32, 32) gray values of an image in its EXIF orientation; None if it cannot be decoded.

    `levels` are for images with more than 8 bits a sample.
    """
    try:
        path = Path(on_disk(path))
        if image_files.read_header(path).deep:
            gray = Image.fromarray(_decoded_image(path, levels)).convert("L")
            return np.asarray(gray.resize((_HASHED_SIDE, _HASHED_SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0))
        with image_files.open_image(path) as image:
            drafted = image.draft("L", (_DECODED, _DECODED))
            gray = image.convert("L")
            box = drafted[1] if drafted else None  # the last pixels of a reduced JPEG are fractions
            small = gray.resize((_HASHED_SIDE, _HASHED_SIDE), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
            small.info = image.info
    except Exception:  # Pillow's decoders raise many kinds on broken files
        return None
    with suppress(Exception):  # unreadable EXIF is ignored
        small = ImageOps.exif_transpose(small)
    return np.asarray(small)


def _decoded_image(path: Path, levels: Levels | None) -> NDArray[np.uint8]:
    from vocdet.data.decoding import decode  # loads OpenCV

    return decode(path, oriented=True, levels=levels)


def _read_all(dataset: Dataset, progress: Callable[[int, int], None] | None) -> tuple[Pictures, NDArray[np.bool_]]:
    from concurrent.futures import ThreadPoolExecutor  # loads logging

    paths = [dataset.root / file for file in dataset.images.files]
    pictures = np.zeros((len(paths), _HASHED_SIDE, _HASHED_SIDE), np.uint8)
    readable = np.zeros(len(paths), np.bool_)
    with image_files.quiet_decoder(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for row, picture in enumerate(pool.map(partial(read_picture, levels=dataset.levels), paths)):
            if picture is not None:
                pictures[row], readable[row] = picture, True
            if progress is not None:
                progress(row + 1, len(paths))
    return pictures, readable


def _same_pixels(dataset: Dataset, pictures: Pictures, rows: Rows) -> Groups:
    """Groups of these rows whose decoded pixels are identical."""
    alike: dict[tuple[bytes, int, int], list[int]] = defaultdict(list)
    for row in rows.tolist():
        size = int(dataset.images.widths[row]), int(dataset.images.heights[row])
        alike[(pictures[row].tobytes(), *size)].append(row)
    same: dict[bytes, list[int]] = defaultdict(list)
    for group in alike.values():
        for row in group if len(group) > 1 else ():
            with suppress(ImageError):
                pixels = _decoded_image(dataset.root / dataset.images.files[row], dataset.levels)
                same[hashlib.sha256(pixels.tobytes()).digest()].append(row)
    return [group for group in same.values() if len(group) > 1]


def _is_plain(pictures: Pictures) -> NDArray[np.bool_]:
    parts = [_variance(pictures[i : i + _AT_ONCE].astype(np.int32)) for i in range(0, len(pictures), _AT_ONCE)]
    return np.concatenate([np.zeros(0), *parts]) < PLAIN**2


def _join_alike(root: Rows, pictures: Pictures, rows: Rows) -> None:
    """Join the groups of near-identical pictures among these rows, in place."""
    failures = np.zeros(len(root), np.int64)  # looks at every row
    waiting: list[Rows] = []
    for pairs in _close_pairs(perceptual_hashes(pictures[rows]), rows, root, failures):
        waiting.append(pairs)
        if sum(map(len, waiting)) >= _AT_ONCE:
            _look(root, pictures, np.concatenate(waiting), failures)
            waiting = []
    if waiting:
        _look(root, pictures, np.concatenate(waiting), failures)


def _look(root: Rows, pictures: Pictures, pairs: Rows, failures: Rows) -> None:
    for first in range(0, len(pairs), _AT_ONCE):
        some = pairs[first : first + _AT_ONCE]
        some = some[root[some[:, 0]] != root[some[:, 1]]]
        alike = _likeness(pictures, some[:, 0], some[:, 1]) > 0
        join(root, some[alike].tolist())
        failures += np.bincount(some[~alike].ravel(), minlength=len(failures))


def _close_pairs(hashes: NDArray[np.uint64], rows: Rows, root: Rows, failures: Rows) -> Iterator[Rows]:
    """(P, 2) pairs of rows that are not in one group yet and whose hashes differ in few bits."""
    for band in range(_BANDS):
        key = (hashes >> np.uint64(band * _BAND_BITS)) & np.uint64((1 << _BAND_BITS) - 1)
        order = np.lexsort((hashes, key))  # equal hashes are adjacent: the first step joins most of a video
        key, near_hashes, near_rows = key[order], hashes[order], rows[order]
        at = np.arange(len(rows))
        for step in range(1, len(rows)):
            if step & (step - 1) == 0:  # at every power of two
                at = at[(_undecided(key, root[near_rows]) & (failures[near_rows] < _MOST_LOOKS))[at]]
            at = at[: np.searchsorted(at, len(rows) - step)]
            at = at[key[at] == key[at + step]]
            if not len(at):
                break
            new = at[root[near_rows[at]] != root[near_rows[at + step]]]
            near = new[_differing_bits(near_hashes[new], near_hashes[new + step]) <= MOST_BITS]
            if len(near):
                yield np.stack([near_rows[near], near_rows[near + step]], axis=1)


def _undecided(key: NDArray[np.uint64], root: Rows) -> NDArray[np.bool_]:
    """(N,) whether the rows of a key, which are adjacent, are in more than one group."""
    if not len(key):
        return np.zeros(0, np.bool_)
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    several = np.minimum.reduceat(root, first) != np.maximum.reduceat(root, first)
    return np.repeat(several, np.diff(first, append=len(key)))


def _differing_bits(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint8]:
    words = (a ^ b).view(np.uint16).reshape(-1, 4)
    bits = _bits()
    return bits[words[:, 0]] + bits[words[:, 1]] + bits[words[:, 2]] + bits[words[:, 3]]


def _likeness(pictures: Pictures, first: Rows, second: Rows) -> NDArray[np.float64]:
    """(P,) the correlation of each near-identical pair of pictures, 0 for the others.

    All sums are of integers, so that every machine computes the same result.
    """
    a, b = pictures[first].astype(np.int32), pictures[second].astype(np.int32)
    variances = _variance(a), _variance(b)
    covariance = (a * b).mean(axis=(1, 2)) - a.mean(axis=(1, 2)) * b.mean(axis=(1, 2))
    likeness = covariance / np.sqrt(np.maximum(variances[0] * variances[1], 1e-9))
    near = np.flatnonzero(likeness >= LEAST_LIKENESS)
    odd = _oddest_window(a[near], b[near], variances[0][near], variances[1][near])
    result = np.zeros(len(first))
    result[near[odd <= MOST_ODD]] = likeness[near[odd <= MOST_ODD]]
    return result


def _oddest_window(a: Grays, b: Grays, of_a: NDArray[np.float64], of_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) the largest difference of a window, relative to its content in both pictures.

    `of_a` and `of_b` are the variances of the pictures, which are scaled to the stronger contrast of the two. A shift
    of the brightness of a window does not count.
    """
    mean_a, mean_b = _window_means(a), _window_means(b)
    strongest = np.maximum(of_a, of_b)
    gain_a, gain_b = (np.sqrt(strongest / of)[:, None, None] for of in (of_a, of_b))
    shown_a = (_window_means(a * a) - mean_a**2) * gain_a**2
    shown_b = (_window_means(b * b) - mean_b**2) * gain_b**2
    shared = (_window_means(a * b) - mean_a * mean_b) * gain_a * gain_b
    odd: NDArray[np.float64] = (shown_a + shown_b - 2 * shared) / (shown_a + shown_b + 2 * _NOISE**2)
    return np.asarray(odd.max(axis=(1, 2), initial=0))


def _window_means(values: Grays) -> NDArray[np.float64]:
    """(P, 15, 15) the mean of every window of 4 by 4 pixels, two pixels apart."""
    quads = values[:, ::2] + values[:, 1::2]
    quads = quads[:, :, ::2] + quads[:, :, 1::2]  # (P, 16, 16)
    rows = quads[:, 1:] + quads[:, :-1]
    means: NDArray[np.float64] = (rows[:, :, 1:] + rows[:, :, :-1]) / 16
    return means


def _variance(values: Grays) -> NDArray[np.float64]:
    """(P,) the variance of each picture."""
    return np.asarray((values * values).mean(axis=(1, 2)) - values.mean(axis=(1, 2)) ** 2)


@cache
def _bits() -> NDArray[np.uint8]:
    """The number of set bits of every 16-bit integer."""
    pairs = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    return np.asarray(np.unpackbits(pairs, axis=1).sum(axis=1, dtype=np.uint8))


@cache
def _cosines() -> NDArray[np.float64]:
    """(8, 32) the lowest frequencies of the discrete cosine transform."""
    frequency, at = np.arange(_LOW)[:, None], np.arange(_HASHED_SIDE)[None]
    return np.asarray(np.cos(np.pi * frequency * (2 * at + 1) / (2 * _HASHED_SIDE)))
