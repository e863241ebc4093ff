"""Which images of a dataset COCO files put into train, val and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.division import divide
from vocdet.errors import SplitError
from vocdet.formats.coco.layout import find_coco, part_of
from vocdet.formats.coco.read import file_names
from vocdet.formats.voc.image_sets import composed
from vocdet.wording import counted

Rows = NDArray[np.int64]  # (N,) rows of the image table


def coco_splits(dataset: Dataset, sources: Sequence[Path]) -> tuple[dict[str, Rows], list[str]]:
    """The rows of train, val and test as COCO files have them, rising, and what is to be said of it.

    A source is a folder of COCO files or one of them; its name, or that of the folder it is in, says which part it
    is. Images are found by file name: the path from the dataset's root, else the last part of it without suffix.
    A `SplitError` says what cannot be told, and which images are in two parts.
    """
    row_of = _rows_by_name(dataset)
    found: dict[str, list[int]] = {name: [] for name in divide.NAMES}
    notes = []
    for path, split in _files(sources):
        names = file_names(path)
        rows = [row_of.get(composed(name), row_of.get(_stem(name), -1)) for name in names]
        unknown = [name for name, row in zip(names, rows, strict=True) if row < 0]
        if names and len(unknown) == len(names):
            problem = f"none of its {counted(len(names), 'image')} is in the dataset, such as {names[0]!r}"
            raise SplitError(problem, place=path, hint=f"images of {dataset.root} are as {dataset.images.files[0]!r}")
        if unknown:
            verb = "is" if len(unknown) == 1 else "are"
            some = counted(len(unknown), "image")
            notes.append(f"{some} of {path.name} {verb} not in the dataset, such as {unknown[0]!r}")
        found[split] += [row for row in rows if row >= 0]
    splits = {name: np.unique(np.array(rows, np.int64)) for name, rows in found.items()}
    _check(dataset, splits)
    left = len(dataset) - sum(map(len, splits.values()))
    if left:
        some = f"{counted(left, 'image')} {'is' if left == 1 else 'are'}"
        notes.append(f"{some} in no COCO file, and now in no part: vocdet split --append finds them one")
    return splits, notes


def _files(sources: Sequence[Path]) -> list[tuple[Path, str]]:
    """The files of these sources and the part each is, every one once."""
    found: dict[Path, str] = {}
    for source in sources:
        files = [(file.path, file.split or part_of(file.path)) for file in find_coco(source)[1]]
        found |= dict(files)
    for path, split in found.items():
        if split not in divide.NAMES:
            problem = "is of train and val together" if split == "trainval" else "does not say which part it is"
            hint = "give files whose names say train, val or test, such as instances_train.json"
            raise SplitError(problem, place=path, hint=hint)
    return list(found.items())


def _rows_by_name(dataset: Dataset) -> Mapping[str, int]:
    """The row of every image by its stem and by its path; paths, which have a suffix, come first."""
    by_stem = {composed(stem): row for row, stem in enumerate(dataset.images.stems)}
    return by_stem | {composed(file): row for row, file in enumerate(dataset.images.files)}


def _stem(name: str) -> str:
    return composed(PurePosixPath(name).stem)


def _check(dataset: Dataset, splits: Mapping[str, Rows]) -> None:
    if not len(splits["train"]):
        raise SplitError("no COCO file of train", hint="give one whose name says train, such as instances_train.json")
    rows, times = np.unique(np.concatenate(list(splits.values())), return_counts=True)
    twice = rows[times > 1]
    if len(twice):
        stems = ", ".join(dataset.images.stems[row] for row in twice[:3])
        images = f"{counted(len(twice), 'image')} ({stems}{', ...' if len(twice) > 3 else ''})"
        problem = f"the COCO files have {images} in several parts"
        raise SplitError(problem, place=dataset.root, hint="figures would be too good: take them out of all but one")
