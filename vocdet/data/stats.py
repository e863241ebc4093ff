"""Statistics of a dataset: its objects, their sizes, shapes and positions, and which labels share images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import area
from vocdet.data.columns import frozen
from vocdet.data.dataset import Dataset

Counts = NDArray[np.int64]
Figures = NDArray[np.float64]

SMALL, MEDIUM = 32.0**2, 96.0**2  # square pixels: COCO's bounds of small and medium objects
GRID = 32  # cells of the histogram of centers, each way
BINS_PER_OCTAVE = 3
MOST_TOGETHER = 200  # labels of an image whose pairs count
WIDEST = 16.0  # width / height; the last bins include everything beyond 16 and 1/16
INPUTS = (160, 224, 256, 320, 416, 512, 640)  # common sides of a detector's square input, in pixels
CELL = 16  # pixels of an input: the stride of the finest feature map of SSD-lite


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """The number of values from each edge up to the next; the last bin includes its right edge."""

    edges: Figures  # (B + 1,) rising
    counts: Counts  # (B,)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Labels that appear in the same image, most frequent pair first; pairs that never do are left out."""

    first: Counts  # (K,) index of the rarer label of a pair: the one in fewer images
    second: Counts  # (K,) index of the other
    images: Counts  # (K,) images with both
    share: Figures  # (K,) share of the images of the first label that also show the second
    lift: Figures  # (K,) frequency relative to independent labels; 1: independent

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True, eq=False)
class Stats:
    """Statistics of a dataset. Row i of an (L, ...) array is label i; in (L + 1, ...) the last row is all labels.

    A size is the square root of a box's area. Quartiles are at 25, 50 and 75 %, and NaN for labels without objects.
    """

    labels: tuple[str, ...]
    images: int
    objects: Counts  # (L,)
    images_with: Counts  # (L,) images that show the label
    splits: Mapping[str, tuple[int, Counts]]  # images of each split, and its objects of every label (L,)
    in_no_split: tuple[int, Counts]  # the same for images in no split
    objects_per_image: Counts  # (K,) images with 0, 1, 2, ... objects
    pixels: Figures  # (L + 1, 3) quartiles of size in pixels
    shares: Figures  # (L + 1, 3) quartiles of size / square root of the image's area, in [0, 1]
    aspects: Figures  # (L + 1, 3) quartiles of width / height
    groups: Counts  # (L + 1, 3) COCO's small, medium and large, by the area the source gives, else the box's
    flags: Mapping[str, int]  # objects that are difficult, truncated, occluded, crowd, or have a mask
    image_sizes: tuple[tuple[int, int, int], ...]  # width, height and images of that size, most frequent first
    sizes: Histogram  # of size in pixels
    shapes: Histogram  # of width / height
    centers: Counts  # (GRID, GRID) objects by the position of their center: row from the top, column from the left
    pairs: Pairs
    below_cell: Mapping[int, float]  # for each of `INPUTS`, the share of objects smaller than `CELL` at that input

    def order(self) -> Counts:
        """(L,) label ids, most objects first; ties are in label order."""
        return np.argsort(-self.objects, kind="stable")

    def min_median_max(self) -> tuple[int, int, int]:
        """Minimum, median and maximum of the objects per image; the lower one of two medians."""
        some = np.flatnonzero(self.objects_per_image)
        half = np.searchsorted(np.cumsum(self.objects_per_image), (self.images + 1) // 2)
        return int(some[0]), int(half), int(some[-1])

    def enough_input(self, most: float = 0.05) -> int | None:
        """The smallest of `INPUTS` at which at most this share of objects is below a cell; None if none is enough."""
        return next((side for side, share in self.below_cell.items() if share <= most), None)


def stats(dataset: Dataset, splits: Mapping[str, NDArray[np.int64]] | None = None) -> Stats:
    """Statistics of a dataset with objects, whose boxes have an area and lie inside their images.

    vocdet stretches images to a square input, where the size of an object is its share of the input's side.
    """
    objects, images = dataset.objects, dataset.images
    n = len(dataset.labels)
    if not len(dataset) or not len(objects):
        raise ValueError("statistics of a dataset without objects")
    wide, high = (objects.box[:, 2:] - objects.box[:, :2]).T  # (M,)
    width, height = images.widths[objects.image], images.heights[objects.image]  # (M,)
    size = np.sqrt(area(objects.box))
    share = size / np.sqrt(width.astype(np.float64) * height)
    aspect = wide / high
    center = (objects.box[:, :2] + objects.box[:, 2:]) / 2 / np.stack([width, height], axis=1)  # (M, 2) x, y
    cells = np.clip((center * GRID).astype(np.int64), 0, GRID - 1)
    shown = shown_labels(dataset)
    images_with = np.bincount(shown[:, 1], minlength=n)
    an_image = np.bincount(objects.image, minlength=len(dataset))
    outside = np.setdiff1d(np.arange(len(dataset)), np.concatenate([np.empty(0, np.int64), *(splits or {}).values()]))
    return Stats(
        labels=dataset.labels,
        images=len(dataset),
        objects=_counts(np.bincount(objects.label, minlength=n)),
        images_with=_counts(images_with),
        splits={name: _split_counts(dataset, rows) for name, rows in (splits or {}).items()},
        in_no_split=_split_counts(dataset, outside),
        objects_per_image=_counts(np.bincount(an_image)),
        pixels=_quartiles(size, objects.label, n),
        shares=_quartiles(share, objects.label, n),
        aspects=_quartiles(aspect, objects.label, n),
        groups=_size_groups(dataset),
        flags=_flags(dataset),
        image_sizes=_image_sizes(dataset),
        sizes=_log_histogram(size, float(size.min()), float(size.max())),
        shapes=_log_histogram(np.clip(aspect, 1 / WIDEST, WIDEST), 1 / WIDEST, WIDEST),
        centers=_counts(np.bincount(cells[:, 1] * GRID + cells[:, 0], minlength=GRID * GRID).reshape(GRID, GRID)),
        pairs=_pairs(shown, images_with, len(dataset)),
        below_cell={side: float((share * side < CELL).mean()) for side in INPUTS},
    )


def _counts(values: NDArray[np.integer]) -> Counts:
    return frozen(values, np.int64)


def _split_counts(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[int, Counts]:
    inside = np.zeros(len(dataset), np.bool_)
    inside[rows] = True
    objects = dataset.objects
    return len(rows), _counts(np.bincount(objects.label[inside[objects.image]], minlength=len(dataset.labels)))


def shown_labels(dataset: Dataset) -> NDArray[np.int64]:
    """(K, 2) distinct pairs of image row and label, in image order."""
    n = max(len(dataset.labels), 1)
    keys = np.sort(dataset.objects.image.astype(np.int64) * n + dataset.objects.label)  # np.unique hashes: far slower
    keys = keys[np.diff(keys, prepend=-1) > 0]
    return np.stack([keys // n, keys % n], axis=1)


def _quartiles(values: Figures, label: NDArray[np.int32], labels: int) -> Figures:
    """(L + 1, 3) quartiles of the values of every label, and of all values."""
    quartiles = np.full((labels + 1, 3), np.nan)
    order = np.lexsort((values, label))
    ends = np.searchsorted(label[order], np.arange(labels + 1))
    rising = values[order]
    some = np.flatnonzero(ends[1:] > ends[:-1])  # labels with objects
    place = ends[some, None] + (ends[some + 1] - ends[some] - 1)[:, None] * np.array([0.25, 0.5, 0.75])
    low = np.floor(place).astype(np.int64)
    low_value, high_value, part = rising[low], rising[np.minimum(low + 1, len(rising) - 1)], place - low
    quartiles[some] = np.where(part > 0, low_value + (high_value - low_value) * part, low_value)
    quartiles[labels] = np.percentile(values, (25, 50, 75))
    return frozen(quartiles, np.float64)


def _size_groups(dataset: Dataset) -> Counts:
    objects, n = dataset.objects, len(dataset.labels)
    areas = np.where(np.isnan(objects.area), area(objects.box), objects.area)
    group = np.digitize(areas, (SMALL, MEDIUM))  # (M,) 0, 1 or 2
    of_labels = np.bincount(objects.label * 3 + group, minlength=3 * n).reshape(n, 3)
    return _counts(np.concatenate([of_labels, of_labels.sum(axis=0, keepdims=True)]))


def _flags(dataset: Dataset) -> dict[str, int]:
    objects = dataset.objects
    flags = {name: int(getattr(objects, name).sum()) for name in ("difficult", "truncated", "occluded", "crowd")}
    return flags | {"mask": len(objects.segmentation.rows)}


def _image_sizes(dataset: Dataset) -> tuple[tuple[int, int, int], ...]:
    both = np.stack([dataset.images.widths, dataset.images.heights], axis=1)
    sizes, counts = np.unique(both, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return tuple((int(sizes[i, 0]), int(sizes[i, 1]), int(counts[i])) for i in order)


def _log_histogram(values: Figures, low: float, high: float) -> Histogram:
    """Bins of a third of an octave, aligned to whole octaves, that cover the values from low to high."""
    first = np.floor(np.log2(low) * BINS_PER_OCTAVE)
    last = max(np.ceil(np.log2(high) * BINS_PER_OCTAVE), first + 1)
    edges = 2.0 ** (np.arange(first, last + 1) / BINS_PER_OCTAVE)
    place = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
    return Histogram(frozen(edges, np.float64), _counts(np.bincount(place, minlength=len(edges) - 1)))


def _pairs(shown: NDArray[np.int64], images_with: NDArray[np.int64], images: int) -> Pairs:
    """Every two labels that share an image. `shown` is in image order, so partners are a few rows apart.

    Images with more than `MOST_TOGETHER` labels do not count: their pairs say nothing, and are too many.
    """
    together = np.bincount(shown[:, 0])
    image, label = shown[together[shown[:, 0]] <= MOST_TOGETHER].T
    labels = len(images_with)
    keys, both = np.empty(0, np.int64), np.empty(0, np.int64)
    for apart in count(1):
        same = image[apart:] == image[:-apart]
        if not same.any():
            break
        new, times = np.unique(label[:-apart][same] * labels + label[apart:][same], return_counts=True)
        keys, place = np.unique(np.concatenate([keys, new]), return_inverse=True)
        both = np.bincount(place, np.concatenate([both, times])).astype(np.int64)
    one, other = np.divmod(keys, max(labels, 1))
    swap = images_with[other] < images_with[one]
    first, second = np.where(swap, other, one), np.where(swap, one, other)
    order = np.argsort(-both, kind="stable")
    first, second, both = first[order], second[order], both[order]
    alone = images_with[first].astype(np.float64)
    return Pairs(
        _counts(first), _counts(second), _counts(both),
        frozen(both / alone, np.float64), frozen(both * images / (alone * images_with[second]), np.float64),
    )  # fmt: skip
