"""What the ids in COCO results mean in a dataset: those of its COCO files, or else positions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from vocdet.data.dataset import Dataset
from vocdet.formats.coco.ids import Id
from vocdet.formats.coco.layout import find_layout
from vocdet.formats.shared.values import clean_label

_Ids = tuple[Mapping[Id, int], Mapping[Id, int]]


class _Image(msgspec.Struct, gc=False):
    id: int | str
    file_name: str


class _Category(msgspec.Struct, gc=False):
    id: int | str
    name: str


class _File(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]


def file_ids(path: Path, dataset: Dataset, split: str) -> _Ids | None:
    """The rows and labels of the ids in the COCO files of a dataset; None if they cannot be read that simply.

    Of several files, those of the split, if there are any: each file has its own ids.
    """
    files = find_layout(path).files
    files = [file for file in files if file.split == split] or files
    rows = _rows_by_name(dataset)
    label_ids: dict[Id, int] = {label: i for i, label in enumerate(dataset.labels)}
    images: dict[Id, int] = {}
    labels = dict(label_ids)
    for file in files:
        try:
            content = msgspec.json.decode(file.path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=_File)
        except (OSError, ValueError, RecursionError):  # msgspec.DecodeError is a ValueError
            return None
        for image in content.images:
            row = rows.get(
                image.file_name.replace("\\", "/"), rows.get(image.file_name.replace("\\", "/").rpartition("/")[2])
            )
            if row is not None and images.setdefault(image.id, row) != row:
                return None  # two images with one id
        for category in content.categories:
            if (label := label_ids.get(clean_label(category.name))) is not None:
                labels[category.id] = label
    return images, labels


def _rows_by_name(dataset: Dataset) -> dict[str, int]:
    """The row of every image by its path and by its name; a name that two images have is left out."""
    by_name: dict[str, int] = {}
    twice = set[str]()
    for row, file in enumerate(dataset.images.files):
        name = file.rpartition("/")[2]
        twice.update((name,) if name in by_name else ())
        by_name[name] = row
    for name in twice:
        del by_name[name]
    return by_name | {file: row for row, file in enumerate(dataset.images.files)}
