"""A dataset's images, decoded once and held in memory at the size that training uses.

Every image has a slot of known place and size in one block of memory, and a checksum in the table before the slots.
The checksum is written after the pixels and verified before a process uses a slot for the first time, so that a slot
that another process is writing, or that a killed process left half written, counts as empty.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocdet.data.dataset import Dataset
from vocdet.inputs.images import Image, decode_as, resize
from vocdet.machine import memory

MEMORY_SHARE = 0.25  # of the memory, for decoded images
ALIGNED = 64  # bytes: where a slot may begin
CHECKSUM = 8  # bytes

Sizes = TypeVar("Sizes", int, NDArray[np.int64])


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """How many decoded images are cached, and for which processes."""

    budget: int | None = None  # bytes; None: `memory_budget()`; 0: nothing is cached
    shared: bool = False  # with spawned processes; forked ones share the memory in any case


class ImageCache:
    """A dataset's images by row, no larger than `at_most` (height, width), for all or for each; read-only arrays.

    Images beyond the budget are decoded every time. JPEGs that are far larger are shrunk in decoding, which is faster;
    not so if the pixels must be `exact`: those that result from decoding all of it. A cache can be pickled: another
    process shares its memory if it is shared, and decodes all images itself otherwise.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        at_most: tuple[int, int] | NDArray[np.int64],
        options: CacheOptions | None = None,
        exact: bool = False,
    ) -> None:
        options = options or CacheOptions()
        self._exact = exact
        images = dataset.images
        self._root, self._files = str(dataset.root), images.files
        self._upright, self._levels = images.upright, dataset.levels
        self._sizes = np.column_stack([images.heights, images.widths]).astype(np.int64)  # (N, 2) of the images
        self._windows = images.windows
        self._tiles: dict[str, list[int]] = {}  # rows of each file that is divided
        for tile in np.flatnonzero(images.windows[:, 2]).tolist():
            self._tiles.setdefault(images.files[tile], []).append(tile)
        self._cached_sizes = np.minimum(self._sizes, np.array(at_most))
        counts = 3 * self._cached_sizes.prod(axis=1)
        table = _aligned(CHECKSUM * len(images))
        self._starts = table + np.cumsum(_aligned(counts)) - _aligned(counts)
        self._ends = self._starts + counts
        budget = memory_budget() if options.budget is None else options.budget
        fitting = int(np.searchsorted(self._starts + _aligned(counts) - table, budget, "right"))
        self._memory = _allocate(int(self._ends[fitting - 1]), shared=options.shared) if fitting else None
        self._find_slots()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> Image:
        """Image `row`; one that cannot be decoded is an `ImageError`."""
        if row >= self._room:
            return self._decode(row)
        (height, width), start = self._cached_sizes[row].tolist(), int(self._starts[row])
        slot = self._bytes[start : start + 3 * height * width].reshape(height, width, 3)
        if not self._verified[row]:
            checksum = int(self._table[row])
            if not checksum or checksum != _image_checksum(slot):
                if self._files[row] in self._tiles:
                    self._fill_tiles(self._files[row])
                else:
                    self._fill(row, self._decode(row))
            self._verified[row] = True
        slot.setflags(write=False)
        return slot

    def _fill(self, row: int, image: Image) -> None:
        start = int(self._starts[row])
        self._bytes[start : start + image.size] = image.reshape(-1)
        self._table[row] = _image_checksum(image)

    def _fill_tiles(self, file: str) -> None:
        """Cache all tiles of a file, which is decoded once."""
        whole = self._decode_whole(self._tiles[file][0])
        for row in self._tiles[file]:
            if row < self._room and not self._verified[row]:
                self._fill(row, self._cut(row, whole))

    def path(self, row: int) -> Path:
        """The file of image `row`."""
        return Path(self._root, self._files[row])

    def _decode_whole(self, row: int) -> Image:
        """The image that tile `row` is cut from."""
        width, height = self._windows[row, 4:].tolist()
        upright = bool(self._upright[row])
        return decode_as(self.path(row), width, height, upright=upright, levels=self._levels)

    def _cut(self, row: int, whole: Image) -> Image:
        x0, y0, x1, y1 = self._windows[row, :4].tolist()
        height, width = self._cached_sizes[row].tolist()
        return np.ascontiguousarray(resize(whole[y0:y1, x0:x1], (height, width)))

    def _decode(self, row: int) -> Image:
        if self._files[row] in self._tiles:
            return self._cut(row, self._decode_whole(row))
        height, width = self._sizes[row].tolist()
        small = (int(self._cached_sizes[row, 0]), int(self._cached_sizes[row, 1]))
        image = decode_as(
            self.path(row), width, height, upright=bool(self._upright[row]), levels=self._levels,
            at_least=None if self._exact else small,
        )  # fmt: skip
        image = resize(image, small)
        image.setflags(write=False)
        return image

    def _find_slots(self) -> None:
        self._bytes = np.zeros(0, np.uint8) if self._memory is None else np.asarray(self._memory.numpy())
        self._room = int(np.searchsorted(self._ends, len(self._bytes), "right"))
        self._table = self._bytes[: CHECKSUM * self._room].view(np.uint64)  # (room,) checksum of each slot; 0: empty
        self._verified = np.zeros(len(self), np.bool_)  # by this process

    def __getstate__(self) -> dict[str, Any]:
        shared = self._memory is not None and self._memory.is_shared()  # type: ignore[no-untyped-call]
        derived = ("_bytes", "_room", "_table", "_verified")
        state = {name: value for name, value in self.__dict__.items() if name not in derived}
        return state | {"_memory": self._memory if shared else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._find_slots()


def memory_budget() -> int:
    """How many bytes of decoded images to cache: a quarter of the memory of the machine, or of its container.

    The processes that torchrun started on this machine share it.
    """
    processes = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(MEMORY_SHARE * memory().total) // max(1, int(processes) if processes.isdecimal() else 1)


def _allocate(size: int, *, shared: bool) -> Tensor | None:
    """Bytes (size,), all 0, that forked processes share, and with `shared` spawned ones, too; None if there are none.

    Only memory that is used counts, unless it is `shared`.
    """
    with suppress(OSError, ValueError, OverflowError, RuntimeError):
        if shared:
            tensor: Tensor = torch.zeros(size, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
            return tensor
        return torch.from_numpy(np.frombuffer(mmap.mmap(-1, size), np.uint8))
    return None


def _aligned(sizes: Sizes) -> Sizes:
    return -(-sizes // ALIGNED) * ALIGNED


def _image_checksum(image: Image) -> int:
    """The sum of the pixels as integers of 64 bits, never 0: it differs if pages of a slot are missing or old."""
    flat = np.ascontiguousarray(image).reshape(-1)
    whole = len(flat) // 8 * 8
    total: int = np.add.reduce(flat[:whole].view(np.uint64), dtype=np.uint64).item()
    rest: int = flat[whole:].sum(dtype=np.uint64).item()
    return (total + rest) % ((1 << 64) - 1) + 1
