"""From a folder to a dataset that can be trained on: read, check, clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, raise_split_errors
from vocdet.data.splits import validation_split
from vocdet.data.usable import usable
from vocdet.errors import AnnotationError
from vocdet.formats import cache
from vocdet.formats.scan import Progress, Scan
from vocdet.formats.source import Source


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A dataset to train and evaluate with."""

    dataset: Dataset  # boxes clipped to their images, none under a pixel
    warnings: tuple[Finding, ...]
    scan: Scan  # the result of reading it
    source: Source | None = None  # where it was read from; None: created in memory

    @property
    def path(self) -> Path:
        """The path of the dataset."""
        return self.source.path if self.source else self.dataset.root

    def record(self) -> dict[str, str | None]:
        """The source, for the record of a run."""
        return (self.source or Source(self.dataset.root)).record()


def load_dataset(source: Source | Loaded, *, split: str | None = None, progress: Progress | None = None) -> Loaded:
    """Read a dataset with its splits; the errors in its files are raised together. One in memory is returned.

    With `split`, that split must exist, have images (see `Dataset.rows`) and, for a fold, files without errors.
    """
    loaded = read_usable(source, progress)
    if split is not None:
        raise_split_errors(loaded.warnings, split)
        loaded.dataset.rows(split)
    findings = tuple(one for one in loaded.warnings if one.code != "imagesets.empty")  # `Dataset.rows` refuses these
    return replace(loaded, warnings=findings)


def train_and_val(dataset: Dataset, split: str) -> tuple[Dataset, Dataset]:
    """The images to train on, and those to validate on: `val`, or that of the same fold, without the former."""
    rows = dataset.rows(split)
    val = dataset.splits.get(validation_split(split), np.empty(0, np.int64))
    return dataset.subset(rows), dataset.subset(np.setdiff1d(val, rows))


def read_usable(
    source: Source | Loaded, progress: Progress | None = None, *, without_split_files: bool = False
) -> Loaded:
    """The objects to train and evaluate with; a dataset in memory is returned.

    With `without_split_files`, ImageSets is not read, so that it may hold errors.
    """
    if isinstance(source, Loaded):
        return source
    return usable_scan(cache.read(source, without_split_files=without_split_files, progress=progress), source)


def usable_scan(scan: Scan, source: Source | None) -> Loaded:
    """A dataset that has been read, as training and evaluation use it."""
    if not len(scan.dataset.objects):
        hint = "annotate some images in labelImg first"
        raise AnnotationError("no objects in any annotation", place=scan.dataset.root, hint=hint)
    dataset, changes = usable(scan.dataset)
    return Loaded(dataset, (*scan.findings, *changes), replace(scan, dataset=dataset), source)
