"""From a folder to a dataset that can be trained on: load, split, check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, raise_errors
from vocdet.data.usable import usable
from vocdet.errors import AnnotationError, SplitError
from vocdet.formats import cache
from vocdet.formats.scan import Progress, Scan
from vocdet.formats.source import Source
from vocdet.formats.voc import image_sets


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A dataset to train and evaluate with, and its parts."""

    dataset: Dataset  # boxes clipped to their images, none under a pixel
    splits: dict[str, NDArray[np.int64]]  # trainval, train, val, test as far as there are: rows of the image table
    warnings: tuple[Finding, ...]
    scan: Scan  # what it was made from
    source: Source | None = None  # where it was read from; None: made in memory

    @property
    def path(self) -> Path:
        """Where the dataset is, as of a `Source`."""
        return self.source.path if self.source else self.dataset.root

    def record(self) -> dict[str, str | None]:
        """The dataset for the record of a run, as of a `Source`."""
        return (self.source or Source(self.dataset.root)).record()

    def rows(self, split: str) -> NDArray[np.int64]:
        """The images of a part: at least one. Without a trainval.txt, `trainval` is train and val together."""
        folder = self.dataset.root / image_sets.FOLDER
        rows = self.splits.get(split)
        if rows is None and split == "trainval" and {"train", "val"} <= self.splits.keys():
            rows = np.unique(np.concatenate([self.splits["train"], self.splits["val"]]))
        if rows is None:
            hint = f"run vocdet split --force{self._or_another(split)}" if self.splits else "run vocdet split"
            raise SplitError(f"there is no {split}.txt", place=folder, hint=hint)
        if not len(rows):
            hint = f"run vocdet split --force with other shares{self._or_another(split)}"
            raise SplitError(f"{split} has no images", place=folder, hint=hint)
        return rows

    def _or_another(self, split: str) -> str:
        others = ", ".join(name for name, rows in self.splits.items() if name != split and len(rows))
        return f", or take another part: {others}" if others and split != "train" else ""


def load_dataset(
    source: Source | Loaded,
    *,
    split: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Read a dataset with its splits; the errors in its files are raised together. One in memory is returned.

    With `split`, that split must exist and have images; `rows` checks the same for any split later.
    """
    loaded = read_usable(source, progress)
    if loaded is source:
        if split is not None:
            loaded.rows(split)
        return loaded
    splits, odd = image_sets.read_splits(loaded.scan)
    findings = [*loaded.warnings, *(finding for finding in odd if finding.code != "imagesets.empty")]  # `rows` refuses
    raise_errors(findings)
    loaded = replace(loaded, splits=splits, warnings=tuple(findings))
    if split is not None:
        loaded.rows(split)
    return loaded


def read_usable(source: Source | Loaded, progress: Progress | None = None) -> Loaded:
    """The objects to train and evaluate with, without the splits on disk; one in memory is returned with its splits."""
    return source if isinstance(source, Loaded) else usable_scan(cache.read(source, progress=progress), {}, source)


def usable_scan(found: Scan, splits: Mapping[str, NDArray[np.int64]], source: Source | None) -> Loaded:
    """A dataset that has been read, as training and evaluation use it."""
    if not len(found.dataset.objects):
        hint = "annotate some images in labelImg first"
        raise AnnotationError("no objects in any annotation", place=found.dataset.root, hint=hint)
    dataset, changes = usable(found.dataset)
    warnings = (*found.findings, *changes)
    return Loaded(dataset, dict(splits), warnings, replace(found, dataset=dataset), source)
