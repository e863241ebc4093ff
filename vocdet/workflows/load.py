"""From a folder to a dataset that can be trained on: load, split, check."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    source: Source,
    *,
    split: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Read a dataset with its parts; the errors in its files are raised together.

    With `split`, that part must be there and have images; `rows` asks the same of any part later.
    """
    loaded = _read_usable(source, progress)
    splits, odd = image_sets.read_splits(loaded.scan)
    findings = [*loaded.warnings, *(finding for finding in odd if finding.code != "imagesets.empty")]  # `rows` refuses
    raise_errors(findings)
    loaded = replace(loaded, splits=splits, warnings=tuple(findings))
    if split is not None:
        loaded.rows(split)
    return loaded


def _read_usable(source: Source, progress: Progress | None) -> Loaded:
    found = cache.read(source, progress=progress)
    if not len(found.dataset.objects):
        hint = "annotate some images in labelImg first"
        raise AnnotationError("no objects in any annotation", place=found.dataset.root, hint=hint)
    dataset, changes = usable(found.dataset)
    warnings = (*found.findings, *changes)
    return Loaded(dataset, {}, warnings, replace(found, dataset=dataset))
