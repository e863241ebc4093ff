"""The splits of a dataset according to COCO files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.division import divide
from vocdet.data.splits import Rows
from vocdet.errors import SplitError
from vocdet.formats.coco.layout import find_layout, split_of
from vocdet.formats.coco.read import file_names
from vocdet.formats.voc.image_sets import composed
from vocdet.wording import counted, listed


def coco_splits(dataset: Dataset, sources: Sequence[Path]) -> tuple[dict[str, Rows], list[str]]:
    """The sorted rows of train, val and test according to COCO files, and remarks for the user.

    `sources` are COCO files or folders of them; the name of the file or of its folder is the split. Images are
    matched by file name: the path from the dataset's root, else the stem. A `SplitError` names a file without a split,
    and images that are in two splits.
    """
    row_of = _rows_by_stem(dataset)
    rows_of: dict[str, list[int]] = {name: [] for name in divide.DIVIDED_SPLITS}
    notes = []
    for path, split in _split_sources(sources):
        names = file_names(path)
        rows = [row_of.get(composed(name), row_of.get(_stem(name), -1)) for name in names]
        unknown = [name for name, row in zip(names, rows, strict=True) if row < 0]
        if names and len(unknown) == len(names):
            problem = f"none of its {counted(len(names), 'image')}, such as {names[0]!r}, is in the dataset"
            raise SplitError(problem, place=path, hint=f"the dataset has images such as {dataset.images.files[0]!r}")
        if unknown:
            verb = "is" if len(unknown) == 1 else "are"
            images = counted(len(unknown), "image")
            notes.append(f"{images} of {path.name} {verb} not in the dataset, such as {unknown[0]!r}")
        rows_of[split] += [row for row in rows if row >= 0]
    splits = {name: np.unique(np.array(rows, np.int64)) for name, rows in rows_of.items()}
    _check_splits(dataset, splits)
    left = len(dataset) - sum(map(len, splits.values()))
    if left:
        images = f"{counted(left, 'image')} {'is' if left == 1 else 'are'}"
        notes.append(f"{images} in no COCO file and in no split: `append=True` adds them to one")
    return splits, notes


def _split_sources(sources: Sequence[Path]) -> list[tuple[Path, str]]:
    """The files of the sources with their splits, without repetition."""
    splits: dict[Path, str] = {}
    for source in sources:
        files = [(file.path, file.split or split_of(file.path)) for file in find_layout(source).files]
        splits |= dict(files)
    for path, split in splits.items():
        if split not in divide.DIVIDED_SPLITS:
            problem = "holds train and val together" if split == "trainval" else "has no split in its name"
            hint = "use files with train, val or test in their names, such as instances_train.json"
            raise SplitError(problem, place=path, hint=hint)
    return list(splits.items())


def _rows_by_stem(dataset: Dataset) -> Mapping[str, int]:
    """The row of every image by its stem and by its path; paths take precedence."""
    by_stem = {composed(stem): row for row, stem in enumerate(dataset.images.stems)}
    return by_stem | {composed(file): row for row, file in enumerate(dataset.images.files)}


def _stem(name: str) -> str:
    return composed(PurePosixPath(name).stem)


def _check_splits(dataset: Dataset, splits: Mapping[str, Rows]) -> None:
    if not len(splits["train"]):
        raise SplitError(
            "there is no COCO file for train", hint="add one with train in its name, such as instances_train.json"
        )
    rows, times = np.unique(np.concatenate(list(splits.values())), return_counts=True)
    twice = rows[times > 1]
    if len(twice):
        stems = listed((dataset.images.stems[row] for row in twice), most=3)
        problem = f"the COCO files have {counted(len(twice), 'image')} ({stems}) in several splits"
        raise SplitError(problem, place=dataset.root, hint="leave them in one split, or metrics will be too high")
