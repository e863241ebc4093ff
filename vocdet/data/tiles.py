"""Tiles of large images: overlapping windows in which small objects are large enough to be detected."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.boxes import Boxes, area
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.seams import Windows, tile_views
from vocdet.data.texts import Texts
from vocdet.errors import ArgumentError

SMALLEST, LARGEST = 64, 8192  # pixels of a tile's side
LEARNED = 0.5  # share of an object that a tile must show for it to be learned there; with less it is ignored
SEEN = 0.05  # share from which a truncated object is not background either


@dataclass(frozen=True, slots=True)
class Tiles:
    """How images are divided: square tiles that overlap; and whether the whole image is used, too."""

    size: int  # pixels of the image
    overlap: float = 0.2  # of two neighbors, as a share of the size; at least this much
    whole: bool = True  # one more pass over the whole image, for objects that are larger than a tile

    def __post_init__(self) -> None:
        if not SMALLEST <= self.size <= LARGEST:
            hint = f"give a number of pixels from {SMALLEST} to {LARGEST}: `tile=640`"
            raise ArgumentError(f"tile is {self.size}", hint=hint)
        if not 0 <= self.overlap <= 0.8:
            raise ArgumentError(f"overlap is {self.overlap:g}", hint="give a share from 0 to 0.8: `overlap=0.2`")

    def windows(self, width: int, height: int) -> Windows:
        """The tiles of an image, row by row; a single one that is the whole image if it is no larger than a tile."""
        return tile_views(width, height, self.size, self.overlap)

    def views(self, width: int, height: int) -> Windows:
        """All that a detector sees of an image: its tiles, and with `whole` last the image, if it is divided."""
        return tile_views(width, height, self.size, self.overlap, self.whole)


def tiled(dataset: Dataset, tiles: Tiles, *, every: bool = False) -> Dataset:
    """The dataset of all tiles, as images of their own: `images.windows` says where they are.

    An object of which a tile shows less than half is a crowd there: neither an object nor background. With `whole`,
    an image that is divided is an image, too, with the objects that a tile may truncate; the others are crowds there.
    Tiles without objects are as many as those with objects at most, evenly chosen, unless `every` tile is needed.
    """
    parts = [_tile_image(dataset, row, tiles) for row in range(len(dataset))]
    rows = np.repeat(np.arange(len(dataset)), [len(windows) for windows, _ in parts])
    windows = np.concatenate([windows for windows, _ in parts]) if parts else np.zeros((0, 4), np.int64)
    firsts = np.cumsum([0, *(len(one) for one, _ in parts)])
    objects = [(table, table.image + first) for (_, table), first in zip(parts, firsts.tolist(), strict=False)]
    made = _tile_images(dataset.images, rows, windows)
    whole = replace(dataset, images=made, objects=_joined_objects(objects), splits={})
    return whole if every else whole.subset(_chosen_tiles(whole))


def _chosen_tiles(dataset: Dataset) -> NDArray[np.int64]:
    """The tiles with objects to learn, and at most as many of the others."""
    counts = np.bincount(dataset.objects.image[~dataset.objects.crowd], minlength=len(dataset))
    empty = np.flatnonzero(counts == 0)
    count = min(len(empty), max(1, len(dataset) - len(empty)))
    some = empty[np.linspace(0, len(empty) - 1, count).astype(np.int64)] if count else empty
    return np.union1d(np.flatnonzero(counts), some)


def _tile_images(images: Images, rows: NDArray[np.int64], windows: Windows) -> Images:
    taken = [images.stems[row] for row in rows]
    stems = tuple(f"{stem}@{x0},{y0},{x1},{y1}" for stem, (x0, y0, x1, y1) in zip(taken, windows.tolist(), strict=True))
    sizes = np.column_stack([images.widths[rows], images.heights[rows]])
    return Images(
        stems, tuple(images.files[row] for row in rows), windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1],
        tuple(images.sources[row] for row in rows), images.extra.take(rows), images.exif[rows], images.upright[rows],
        np.concatenate([windows, sizes], axis=1),
    )  # fmt: skip


def _joined_objects(parts: list[tuple[Objects, NDArray[np.int64]]]) -> Objects:
    def column(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(table, name) for table, _ in parts])

    names = ("label", "box", "difficult", "truncated", "occluded", "crowd", "line", "pose", "area")
    return Objects(
        image=np.concatenate([image for _, image in parts]),
        **{name: column(name) for name in names},  # type: ignore[arg-type]
        segmentation=Texts.join(table.segmentation for table, _ in parts),
        extra=Texts.join(table.extra for table, _ in parts),
    )


def _tile_image(dataset: Dataset, row: int, tiles: Tiles) -> tuple[Windows, Objects]:
    """The windows of an image, and the objects in them; `image` of an object is the row of its window."""
    image = dataset[row]
    windows = tiles.views(image.width, image.height)
    boxes = image.objects.box
    low = np.maximum(boxes[None, :, :2], windows[:, None, :2])  # (W, N, 2)
    high = np.minimum(boxes[None, :, 2:], windows[:, None, 2:])
    shown = np.clip(high - low, 0, None).prod(axis=2) / np.maximum(area(boxes), 1e-9)  # (W, N)
    small = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) <= tiles.overlap * tiles.size
    learned = shown >= LEARNED
    if tiles.whole and len(windows) > 1:
        learned[-1] &= ~small
    where, which = np.nonzero(shown > SEEN)
    table = image.objects.take(which, where)
    origin = np.tile(windows[where, :2], 2)
    cut = np.concatenate([low[where, which], high[where, which]], axis=1)
    segmentation = _cut_masks(table, windows[where], (image.height, image.width))
    crowd = table.crowd | ~learned[where, which]
    return windows, replace(
        table, box=cut - origin, crowd=crowd, truncated=table.truncated | (shown[where, which] < 1),
        area=np.full(len(table), np.nan), segmentation=segmentation,
    )  # fmt: skip


def _cut_masks(objects: Objects, windows: Windows, size: tuple[int, int]) -> Texts:
    """The masks of objects inside their windows."""
    cut: dict[int, bytes] = {}
    for row, text in objects.segmentation.items():
        counts = masks.counts_of(text, *size)
        if counts is not None:
            x0, y0, x1, y1 = windows[row].tolist()
            cut[row] = masks.rle_json(masks.window(counts, size[0], (x0, y0, x1, y1)))
    return Texts.sparse(len(objects), cut)


def training_tiles(size: int, overlap: float, boxes: Boxes) -> Tiles | None:
    """Tiles of `size` pixels for a training, None for 0; with the whole image if a box (N, 4) is larger than a tile."""
    return Tiles(size, overlap, bool(((boxes[:, 2:] - boxes[:, :2]) > size).any())) if size else None
