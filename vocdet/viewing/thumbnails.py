"""Pictures for the browser: thumbnails, cached on disk, and images of a size for a screen."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.embedded import on_disk
from vocdet.files import hasher, read_limited, write_bytes
from vocdet.formats import cache
from vocdet.inputs.images import decode_as, resize

SIDE = 240  # pixels of the longer side of a thumbnail
LARGE = 2400  # of an image
MOST_BYTES = 512 << 20  # of all thumbnails on disk; those that were made first go first
_LARGEST = 1 << 20  # bytes of one
_SWEPT = 2000  # thumbnails that are made until the folder is swept again


class Pictures:
    """JPEGs of the images of a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        location = cache.location()
        self._dataset, self._made = dataset, 0
        self._folder = location / "thumbnails" if location else None

    def thumbnail(self, row: int) -> bytes:
        """A small JPEG, from the cache if the file has not changed; an `ImageError` if it cannot be decoded."""
        path = self._cached(row)
        if path is not None:
            with suppress(OSError):
                return read_limited(path, _LARGEST)
        data = self.jpeg(row, SIDE, 75)
        if path is not None:
            with suppress(Exception):  # a full disk, or one that is read-only: the thumbnail is shown nevertheless
                write_bytes(path, data, sync=False, private=True)
                self._made += 1
                if self._made % _SWEPT == 1:
                    cache.delete_oldest(path.parents[1].glob("*/*.jpg"), MOST_BYTES)
        return data

    def jpeg(self, row: int, side: int = LARGE, quality: int = 85) -> bytes:
        """A JPEG whose longer side has `side` pixels at most, as the boxes refer to it."""
        images = self._dataset.images
        width, height = int(images.widths[row]), int(images.heights[row])
        scale = min(1.0, side / max(width, height, 1))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        path, upright = self._dataset.root / images.files[row], bool(images.upright[row])
        pixels = decode_as(path, width, height, upright=upright, levels=self._dataset.levels, at_least=size)
        small = np.ascontiguousarray(resize(pixels, size)[..., ::-1])
        return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())

    def _cached(self, row: int) -> Path | None:
        """The file of a thumbnail, named by the identity of its image; None without a cache."""
        if self._folder is None:
            return None
        path = self._dataset.root / self._dataset.images.files[row]
        try:
            facts = os.stat(on_disk(path))  # noqa: PTH116 Path.stat does not take what `on_disk` returns
        except OSError:
            return None
        known = (os.path.realpath(path), facts.st_size, facts.st_mtime_ns, facts.st_ino, SIDE,
                 bool(self._dataset.images.upright[row]), str(self._dataset.levels))  # fmt: skip
        name = hasher(repr(known).encode(errors="surrogateescape"), size=16).hexdigest()
        return self._folder / name[:2] / f"{name}.jpg"
