"""A dataset as columns: labels, a table of images, a table of objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vocdet.boxes import Boxes
from vocdet.data.columns import frozen
from vocdet.data.levels import Levels
from vocdet.data.splits import SPLIT_AGAIN, SPLIT_ORDER, FrozenSplits, Rows, Splits, within
from vocdet.data.texts import Texts
from vocdet.errors import SplitError
from vocdet.wording import counted, did_you_mean, listed

DIVIDE_TRAINVAL = "`vocdet.write_splits(vocdet.split(dataset, keep_test=True), force=True)`"  # test is unchanged
_NOT_GIVEN: Any = None  # a column that is filled with its default when the table is made


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Row i of every column is image i."""

    stems: tuple[str, ...]  # the name an ImageSets file uses
    files: tuple[str, ...]  # image path relative to the dataset's root, with forward slashes
    widths: NDArray[np.int32]  # (N,) pixels
    heights: NDArray[np.int32]  # (N,)
    sources: tuple[str, ...]  # annotation file relative to the root; "" for an image without one
    extra: Texts = _NOT_GIVEN  # JSON object of the extras of the image; empty without extras
    exif: NDArray[np.uint8] = _NOT_GIVEN  # (N,) EXIF orientation of the file, 1 to 8; 1 also if it is unknown
    upright: NDArray[np.bool_] = _NOT_GIVEN  # (N,) whether size and boxes are of the image with that applied
    # (N, 6) x0, y0, x1, y1 of a tile, and width and height of its whole image; all 0: it is the whole image
    windows: NDArray[np.int32] = _NOT_GIVEN

    def __post_init__(self) -> None:
        n = len(self.stems)
        object.__setattr__(self, "widths", frozen(self.widths, np.int32))
        object.__setattr__(self, "heights", frozen(self.heights, np.int32))
        object.__setattr__(self, "extra", Texts.empty(n) if self.extra is None else self.extra)
        object.__setattr__(self, "exif", frozen(np.ones(n) if self.exif is None else self.exif, np.uint8))
        object.__setattr__(self, "upright", frozen(np.zeros(n) if self.upright is None else self.upright, np.bool_))
        windows = np.zeros((n, 6)) if self.windows is None else self.windows
        object.__setattr__(self, "windows", frozen(windows, np.int32))
        lengths = {len(getattr(self, name)) for name in self.__slots__}
        if lengths != {n}:
            raise ValueError(f"columns of {sorted(lengths | {n})} rows in one image table")
        if len(set(self.stems)) != n:
            raise ValueError("two images have the same stem")

    def __len__(self) -> int:
        return len(self.stems)

    def __repr__(self) -> str:
        return f"<table of {counted(len(self), 'image')}: {', '.join(self.__slots__)}>"

    def take(self, rows: NDArray[np.int64]) -> Images:
        """The images of these rows, in this order."""
        return Images(
            tuple(self.stems[i] for i in rows),
            tuple(self.files[i] for i in rows),
            self.widths[rows],
            self.heights[rows],
            tuple(self.sources[i] for i in rows),
            self.extra.take(rows),
            self.exif[rows],
            self.upright[rows],
            self.windows[rows],
        )


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
    line: NDArray[np.int32]  # (M,) position in its source, from 1 (see `Dataset.entries`); 0: unknown
    pose: NDArray[np.int16] = _NOT_GIVEN  # (M,) index into the poses; 0: unspecified
    area: NDArray[np.float64] = _NOT_GIVEN  # (M,) square pixels as the source states; NaN: not stated
    segmentation: Texts = _NOT_GIVEN  # JSON of COCO polygons or RLE; empty: no mask
    extra: Texts = _NOT_GIVEN  # JSON object of the extras of the object; empty: no extras

    def __post_init__(self) -> None:
        n = len(self.image)
        if self.pose is None:
            object.__setattr__(self, "pose", np.zeros(n, np.int16))
        if self.area is None:
            object.__setattr__(self, "area", np.full(n, np.nan))
        for name in ("segmentation", "extra"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, Texts.empty(n))
        for name, dtype in OBJECT_TYPES.items():
            object.__setattr__(self, name, frozen(getattr(self, name), dtype))
        if self.box.ndim != 2:
            object.__setattr__(self, "box", self.box.reshape(-1, 4))
        lengths = {len(getattr(self, name)) for name in self.__slots__}
        if len(lengths) != 1:
            raise ValueError(f"columns of {sorted(lengths)} rows in one object table")
        if not np.isfinite(self.box).all():
            raise ValueError("a box is not finite")
        if (self.image[1:] < self.image[:-1]).any():
            raise ValueError("objects are not in image order")

    def __len__(self) -> int:
        return len(self.image)

    def __repr__(self) -> str:
        return f"<table of {counted(len(self), 'object')}: {', '.join(self.__slots__)}>"

    def take(self, rows: ArrayLike, image: ArrayLike | None = None) -> Objects:
        """The objects of these rows (indices or a mask), with `image` as their new image column."""
        chosen = np.asarray(rows)
        if not len(chosen):
            chosen = chosen.astype(np.int64)  # NumPy makes an empty list float64
        columns: dict[str, Any] = {name: getattr(self, name)[chosen] for name in OBJECT_TYPES}
        for column in columns.values():
            column.setflags(write=False)  # a copy, so freezing it affects no one else
        if image is not None:
            columns["image"] = np.asarray(image)
        return Objects(**columns, segmentation=self.segmentation.take(chosen), extra=self.extra.take(chosen))


OBJECT_TYPES: dict[str, type[np.generic]] = {
    "image": np.int32,
    "label": np.int32,
    "box": np.float64,
    "difficult": np.bool_,
    "truncated": np.bool_,
    "occluded": np.bool_,
    "crowd": np.bool_,
    "line": np.int32,
    "pose": np.int16,
    "area": np.float64,
}


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedImage:
    """One image of a dataset with its objects: a read-only view."""

    path: Path
    stem: str
    width: int
    height: int
    objects: Objects
    upright: bool = False  # whether size and boxes are of the image with its EXIF orientation applied
    levels: Levels | None = None  # of images with more than 8 bits a sample


D = TypeVar("D", bound="Dataset")


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Annotated images: columns, checked on construction and read-only.

    `dataset[i]` is an `AnnotatedImage`; `dataset.subset(rows)` is the dataset of these images, with all labels.
    """

    root: Path
    labels: tuple[str, ...]
    images: Images
    objects: Objects
    poses: tuple[str, ...] = ("",)  # what `Objects.pose` indexes; the first one is "unspecified"
    extra: bytes = b""  # JSON object of the extras of the dataset; b"": no extras
    entries: str = ""  # the list of a JSON source that `Objects.line` indexes, as in annotations; "", <tag>: lines
    splits: Splits = field(default_factory=FrozenSplits)  # image rows in file order; an image may be in several splits
    levels: Levels | None = None  # of images with more than 8 bits a sample; None: there are none

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label is repeated in the list")
        objects = self.objects
        for column, count in ((objects.image, len(self.images)), (objects.label, len(self.labels)),
                              (objects.pose, len(self.poses))):  # fmt: skip
            if len(column) and not (int(column.min()) >= 0 and int(column.max()) < count):
                raise ValueError(f"an index of {int(column.max())} in a table of {count} rows")
        if not isinstance(self.splits, FrozenSplits):
            object.__setattr__(self, "splits", FrozenSplits(self.splits))
        for name, rows in self.splits.items():
            if len(rows) and not (rows.min() >= 0 and rows.max() < len(self.images)):
                raise ValueError(f"split {name!r} has rows outside the table of {len(self.images)} images")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        sizes = f"{counted(len(self), 'image')}, {counted(len(self.objects), 'object')}"
        labels = f"{counted(len(self.labels), 'label')} ({listed(self.labels, most=5)})"
        names = [*(name for name in SPLIT_ORDER if name in self.splits), *sorted(self.splits.keys() - set(SPLIT_ORDER))]
        splits = ", ".join(f"{name} {len(self.splits[name])}" for name in names) or "no splits"
        return f"<dataset {self.root}: {sizes}, {labels}; {splits}>"

    def __getitem__(self, row: int) -> AnnotatedImage:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        first, last = np.searchsorted(self.objects.image, (row, row + 1))
        return AnnotatedImage(
            self.root / self.images.files[row],
            self.images.stems[row],
            int(self.images.widths[row]),
            int(self.images.heights[row]),
            self.objects.take(np.arange(first, last)),
            bool(self.images.upright[row]),
            self.levels,
        )

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return (self[row] for row in range(len(self)))

    def subset(self: D, rows: Sequence[int] | NDArray[np.int64]) -> D:
        """The images of these rows, in this order, with all labels, and with the splits of these images."""
        keep = np.asarray(rows, np.int64)
        first = np.searchsorted(self.objects.image, keep, "left")
        counts = np.searchsorted(self.objects.image, keep, "right") - first
        row = np.repeat(np.arange(len(keep)), counts)  # (objects,) new image row
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its image
        return replace(
            self,
            images=self.images.take(keep),
            objects=self.objects.take(first[row] + place, row),
            splits=within(self.splits, keep, len(self)),
        )

    def rows(self, split: str) -> Rows:
        """The rows of a split, at least one. An unlisted `trainval` is train and val together.

        A split that is missing or has no images is a `SplitError`.
        """
        rows = self.splits.get(split)
        if rows is None and split == "trainval" and {"train", "val"} <= self.splits.keys():
            rows = np.union1d(self.splits["train"], self.splits["val"])
        if rows is None:
            raise SplitError(f"no split {split!r}", place=self.root, hint=self._missing_split_hint(split))
        if not len(rows):
            hint = f"split again with other shares: {self._again(split)}{self._other_splits(split)}"
            raise SplitError(f"split {split!r} has no images", place=self.root, hint=hint)
        return rows

    def _missing_split_hint(self, split: str) -> str:
        if not self.splits:
            return "create splits: `vocdet.split(dataset)`"
        close = did_you_mean(split, self.splits) if split not in SPLIT_ORDER else ""
        return close or f"split again: {self._again(split)}{self._other_splits(split)}"

    def _again(self, split: str) -> str:
        """The call that makes a split of these names; images of test stay there, unless test is what is missing."""
        keep_test = split in ("train", "val") and self.splits.keys() & {"trainval", "test"}
        return DIVIDE_TRAINVAL if keep_test else SPLIT_AGAIN

    def _other_splits(self, split: str) -> str:
        others = [name for name, rows in self.splits.items() if name != split and len(rows)]
        return f", or use another split: {listed(others, most=8)}" if others and split != "train" else ""

    def select_objects(self: D, rows: ArrayLike) -> D:
        """All images, with only the objects of these rows (indices in order, or a mask)."""
        return replace(self, objects=self.objects.take(rows))

    def row_of(self) -> dict[str, int]:
        """The row of every stem."""
        return {stem: i for i, stem in enumerate(self.images.stems)}

    def fingerprint(self) -> str:
        """A hash of labels, file names, sizes and objects: equal exactly for equal datasets."""
        import hashlib  # loads OpenSSL, which most commands do not need

        digest = hashlib.sha256()
        for names in (self.labels, self.images.stems, self.images.files):
            digest.update("\0".join(names).encode() + b"\1")
        for column in (self.images.widths, self.images.heights, self.objects.image, self.objects.label,
                       self.objects.box, self.objects.difficult, self.objects.crowd):  # fmt: skip
            digest.update(np.ascontiguousarray(column).tobytes() + b"\1")
        for array in (self.objects.segmentation.rows, self.objects.segmentation.data):
            digest.update(array.tobytes() + b"\1")
        if self.images.upright.any():
            digest.update(np.where(self.images.upright, self.images.exif, 1).astype(np.uint8).tobytes() + b"\1")
        if self.levels is not None:
            digest.update(f"{self.levels}\1".encode())
        return digest.hexdigest()
