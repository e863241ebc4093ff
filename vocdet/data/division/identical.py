"""Identical images: files with the same pixels or bytes."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

from vocdet.data.dataset import Dataset
from vocdet.data.image_files import file_status
from vocdet.errors import ImageError
from vocdet.files import READ_BLOCK

_LARGEST = 1 << 30  # bytes; larger files are not images


def identical_images(dataset: Dataset) -> list[list[int]]:
    """Rows of byte-identical images, in groups of two or more; unreadable files are in no group."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for row, file in enumerate(dataset.images.files):
        try:
            by_size[(dataset.root / file).stat().st_size].append(row)
        except OSError:
            continue
    groups: dict[bytes, list[int]] = defaultdict(list)
    for rows in by_size.values():
        for row in rows if len(rows) > 1 else ():
            groups[_digest(dataset.root / dataset.images.files[row])].append(row)
    groups.pop(b"", None)
    return sorted(group for group in groups.values() if len(group) > 1)


def _digest(path: Path) -> bytes:
    try:
        if file_status(path).st_size > _LARGEST:
            return b""
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(READ_BLOCK):
                digest.update(chunk)
            return digest.digest()
    except (OSError, ImageError):
        return b""
