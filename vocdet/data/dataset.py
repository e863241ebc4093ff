"""A dataset as columns: labels, a table of images, a table of objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vocdet.boxes import Boxes


def _column(values: ArrayLike, dtype: type[np.generic]) -> NDArray[np.generic]:
    array = np.array(values, dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Row i of every column is image i."""

    stems: tuple[str, ...]  # the name an ImageSets file uses
    files: tuple[str, ...]  # image path relative to the dataset's root, with forward slashes
    widths: NDArray[np.int32]  # (N,) pixels
    heights: NDArray[np.int32]  # (N,)
    sources: tuple[str, ...]  # annotation file relative to the root; "" where there is none

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", _column(self.widths, np.int32))
        object.__setattr__(self, "heights", _column(self.heights, np.int32))
        n = len(self.stems)
        lengths = {len(self.files), len(self.widths), len(self.heights), len(self.sources)}
        if lengths != {n}:
            raise ValueError(f"columns of {sorted(lengths | {n})} rows in one image table")
        if len(set(self.stems)) != n:
            raise ValueError("two images have the same stem")

    def __len__(self) -> int:
        return len(self.stems)


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Row i of every column is object i; rows are in image order."""

    image: NDArray[np.int32]  # (M,) row of the image table, never decreasing
    label: NDArray[np.int32]  # (M,) index into the labels
    box: Boxes  # (M, 4) xmin, ymin, xmax, ymax; 0-based, half-open
    difficult: NDArray[np.bool_]  # (M,)
    truncated: NDArray[np.bool_]
    occluded: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    line: NDArray[np.int32]  # (M,) line of the object in its annotation file, from 1; 0: not known

    def __post_init__(self) -> None:
        for name in ("image", "label", "line"):
            object.__setattr__(self, name, _column(getattr(self, name), np.int32))
        for name in ("difficult", "truncated", "occluded", "crowd"):
            object.__setattr__(self, name, _column(getattr(self, name), np.bool_))
        object.__setattr__(self, "box", _column(np.reshape(self.box, (-1, 4)), np.float64))
        lengths = {len(getattr(self, name)) for name in self.__slots__}
        if len(lengths) != 1:
            raise ValueError(f"columns of {sorted(lengths)} rows in one object table")
        if not np.isfinite(self.box).all():
            raise ValueError("a box is not finite")
        if (np.diff(self.image) < 0).any():
            raise ValueError("objects are not in image order")

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: ArrayLike, image: ArrayLike | None = None) -> Objects:
        """The objects of these rows (indices or a mask), with `image` as their new image column."""
        columns = {name: getattr(self, name)[np.asarray(rows)] for name in self.__slots__}
        if image is not None:
            columns["image"] = np.asarray(image)
        return Objects(**columns)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One image of a dataset with its objects: a read-only view."""

    path: Path
    stem: str
    width: int
    height: int
    objects: Objects


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Annotated images: columns, checked when made and read-only after.

    `dataset[i]` is a `Scene`, `dataset.subset(rows)` the dataset of these images with all labels kept.
    """

    root: Path
    labels: tuple[str, ...]
    images: Images
    objects: Objects

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label stands twice in the list")
        for column, count in ((self.objects.image, len(self.images)), (self.objects.label, len(self.labels))):
            if len(column) and not (int(column.min()) >= 0 and int(column.max()) < count):
                raise ValueError(f"an index of {int(column.max())} in a table of {count} rows")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Scene:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        first, last = np.searchsorted(self.objects.image, (row, row + 1))
        return Scene(
            self.root / self.images.files[row],
            self.images.stems[row],
            int(self.images.widths[row]),
            int(self.images.heights[row]),
            self.objects.take(np.arange(first, last)),
        )

    def __iter__(self) -> Iterator[Scene]:
        return (self[row] for row in range(len(self)))

    def subset(self, rows: Sequence[int] | NDArray[np.int64]) -> Dataset:
        """The images of these rows, in this order, with all labels kept."""
        keep = np.asarray(rows, np.int64)
        images = Images(
            tuple(self.images.stems[i] for i in keep),
            tuple(self.images.files[i] for i in keep),
            self.images.widths[keep],
            self.images.heights[keep],
            tuple(self.images.sources[i] for i in keep),
        )
        first = np.searchsorted(self.objects.image, keep, "left")
        counts = np.searchsorted(self.objects.image, keep, "right") - first
        row = np.repeat(np.arange(len(keep)), counts)  # (objects,) new image row
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its image
        return replace(self, images=images, objects=self.objects.take(first[row] + place, row))

    def select_objects(self, rows: ArrayLike) -> Dataset:
        """The same images with only the objects of these rows (indices in order, or a mask)."""
        return replace(self, objects=self.objects.take(rows))

    def row_of(self) -> dict[str, int]:
        """The row of every stem."""
        return {stem: i for i, stem in enumerate(self.images.stems)}

    def fingerprint(self) -> str:
        """A hash of labels, file names, sizes and objects: the same exactly when the dataset is."""
        digest = hashlib.sha256()
        for names in (self.labels, self.images.stems, self.images.files):
            digest.update("\0".join(names).encode() + b"\1")
        for column in (self.images.widths, self.images.heights, self.objects.image, self.objects.label,
                       self.objects.box, self.objects.difficult, self.objects.crowd):  # fmt: skip
            digest.update(np.ascontiguousarray(column).tobytes() + b"\1")
        return digest.hexdigest()
