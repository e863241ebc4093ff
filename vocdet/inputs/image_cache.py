"""A dataset's images, decoded once and kept as training uses them: in memory, or in a file that later runs find again.

Every image has a slot of known place and size in one file, and a word pair in the table before the slots: which file
the pixels are from, and their sum. The pair is written after the pixels and checked before their first use, so that a
slot that was half written, by a process that was killed or by a machine that lost its power, counts as empty. Several
processes may use one file: each writes the same bytes. The files on the disk may be deleted at any time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.inputs.image_memory import Memory, disk_memory, free_bytes, memory_budget, shared_memory
from vocdet.inputs.images import Image, decode_as, resize

Where = Literal["ram", "disk", "off"]

VERSION = 1  # of the files: of how images are decoded and shrunk, and of the slots
ALIGNED = 64  # bytes: where a slot may begin
PAIR = 16  # bytes of the table for an image
DISK_SHARE = 0.5  # of what is free on the disk, for one file


@dataclass(frozen=True, slots=True)
class Keep:
    """Where decoded images are kept, and how many of them."""

    where: Where = "ram"
    folder: Path | None = None  # of the files on the disk; without one, "disk" is "off"
    budget: int | None = None  # bytes; None: a quarter of the memory, half of what is free on the disk
    shared: bool = False  # "ram" is for workers, too; Linux shares it anyway


class ImageStore:
    """A dataset's images by row, no larger than `at_most` (height, width), for all or for each; read-only arrays.

    What does not fit is decoded every time, as is everything where nothing can be kept: that is never an error. JPEGs
    that are far larger are shrunk in decoding, which is faster; not so where the pixels must be `exact`: those that
    come of decoding all of it. A store may be pickled to another process, which then reads and writes the same memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        at_most: tuple[int, int] | NDArray[np.int64],
        keep: Keep | None = None,
        exact: bool = False,
    ) -> None:
        keep = keep or Keep()
        self._exact = exact
        images = dataset.images
        self._root, self._files = str(dataset.root), images.files
        self._sizes = np.column_stack([images.heights, images.widths]).astype(np.int64)  # (N, 2) of the files
        self._kept_sizes = np.minimum(self._sizes, np.array(at_most))
        counts = 3 * self._kept_sizes.prod(axis=1)
        ends = -(-PAIR * len(images) // ALIGNED) * ALIGNED + np.cumsum(-(-counts // ALIGNED) * ALIGNED)
        self._starts = ends - -(-counts // ALIGNED) * ALIGNED
        self._stamped = keep.where == "disk"  # images in memory are as they were at first
        self._memory = self._open(ends, keep) if len(images) else None
        self._find_slots()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> Image:
        """Image `row`; one that cannot be decoded is an `ImageError`."""
        if self._usable[row]:
            return self._pixels(row)
        path = self.path(row)
        if row >= self._room or self._memory is None:
            return self._decode(row, path)
        stamp = self._stamp(path)
        if stamp and int(self._table[row, 0]) == stamp:
            pixels = self._pixels(row)
            if int(self._table[row, 1]) == _sum(pixels):
                self._usable[row] = True
                return pixels
        image = self._decode(row, path)
        if stamp:
            self._keep(row, image, stamp)
        return image

    @property
    def room(self) -> int:
        """How many images can be kept; the others are decoded every time."""
        return self._room

    def path(self, row: int) -> Path:
        """The file of image `row`."""
        return Path(self._root, self._files[row])

    def _open(self, ends: NDArray[np.int64], keep: Keep) -> Memory | None:
        table = int(self._starts[0])

        def fitting(budget: int) -> int:
            return int(ends[fit - 1]) if (fit := int(np.searchsorted(ends - table, budget, "right"))) else 0

        if keep.where == "ram":
            return shared_memory(fitting(memory_budget() if keep.budget is None else keep.budget), shared=keep.shared)
        if keep.where == "disk" and keep.folder is not None:

            def size(used: int) -> int:
                assert keep.folder is not None
                free = used + int(DISK_SHARE * free_bytes(keep.folder))
                return fitting(free if keep.budget is None else keep.budget)

            return disk_memory(keep.folder, self._key(), size)
        return None

    def _key(self) -> str:
        """Of the slots: the same exactly when all images have the same places in a file."""
        digest = blake2b(
            repr((VERSION, self._exact, os.path.realpath(self._root), self._files)).encode(), digest_size=16
        )
        digest.update(self._sizes.tobytes() + self._kept_sizes.tobytes())
        return digest.hexdigest()

    def _find_slots(self) -> None:
        size = 0 if self._memory is None else self._memory.size
        ends = self._starts + 3 * self._kept_sizes.prod(axis=1)
        self._room = int(np.searchsorted(ends, size, "right"))
        self._usable = np.zeros(len(self), np.bool_)  # looked at by this process
        if self._memory is not None and self._room:
            table = self._memory.view[: PAIR * len(self)]
            self._table = table.view(np.uint64).reshape(-1, 2)  # (N, 2) stamp of the file, sum of the pixels

    def _pixels(self, row: int) -> Image:
        assert self._memory is not None
        (height, width), start = self._kept_sizes[row].tolist(), int(self._starts[row])
        return self._memory.view[start : start + 3 * height * width].reshape(height, width, 3)

    def _decode(self, row: int, path: Path) -> Image:
        height, width = self._sizes[row].tolist()
        small = (int(self._kept_sizes[row, 0]), int(self._kept_sizes[row, 1]))
        image = resize(decode_as(path, width, height, at_least=None if self._exact else small), small)
        image.setflags(write=False)
        return image

    def _keep(self, row: int, image: Image, stamp: int) -> None:
        assert self._memory is not None
        pair = np.array([stamp, _sum(image)], np.uint64)
        if self._memory.write(int(self._starts[row]), image) and self._memory.write(PAIR * row, pair):
            self._usable[row] = True

    def _stamp(self, path: Path) -> int:
        """Of a file as it is now, never 0; 0 where there is none."""
        if not self._stamped:
            return 1
        try:
            facts = path.stat()
        except OSError:
            return 0
        text = repr((facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)).encode()
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") | 1

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_table", "_usable", "_room")
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._find_slots()


def _sum(image: Image) -> int:
    """Of the pixels taken as whole numbers of 64 bits: not the same where pages of a slot are missing or old."""
    flat = np.ascontiguousarray(image).reshape(-1)
    whole = len(flat) // 8 * 8
    total: int = np.add.reduce(flat[:whole].view(np.uint64), dtype=np.uint64).item()
    rest: int = flat[whole:].sum(dtype=np.uint64).item()
    return (total + rest + 1) % (1 << 64)
