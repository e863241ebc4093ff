"""Which detector judges which image of an audit: one that was not trained on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.splits import Rows
from vocdet.errors import SplitError
from vocdet.files import hasher, read_limited, write_bytes
from vocdet.formats.scan import Progress
from vocdet.runs.facts import read_run
from vocdet.runs.image_record import VALIDATION, recorded_images
from vocdet.wording import counted
from vocdet.workflows.detector import run_of
from vocdet.workflows.load import Loaded
from vocdet.workflows.split import SplitFiles, SplitOptions, split_dataset
from vocdet.workflows.trainings import Train

FOLDS = "folds.json"
_LARGEST = 1 << 28  # bytes of it


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """How to look for mistakes, and where to write what is found."""

    out: Path = Path("audit")
    runs: tuple[Path, ...] = ()  # detectors; none: one is trained for each fold
    folds: int = 3
    most: int = 200  # suspicions that are listed
    seed: int = 0
    device: str = "auto"


class _Folds(msgspec.Struct):
    seed: int
    folds: list[list[str]]  # stems


def by_folds(
    loaded: Loaded, options: AuditOptions, train: Train, note: Callable[[str], object], progress: Progress | None
) -> list[tuple[Path, Rows]]:
    """A run for each fold that was trained on the others, and its images; near-duplicates are in one fold."""
    folds = _folds(loaded, options, progress)
    every = np.arange(len(loaded.dataset))
    splits: dict[str, Rows] = {}
    for k, fold in enumerate(folds, 1):
        splits |= {f"fold{k}_train": np.setdiff1d(every, fold), f"fold{k}_val": np.sort(fold)}
    divided = replace(loaded, dataset=replace(loaded.dataset, splits=splits))
    pairs = []
    for k in range(1, len(folds) + 1):
        note(f"fold {k} of {len(folds)}: training on {counted(len(splits[f'fold{k}_train']), 'image')}")
        stems = "\n".join(loaded.dataset.images.stems[row] for row in splits[f"fold{k}_train"])
        name = f"fold{k}-{hasher(stems.encode(errors='surrogateescape'), size=4).hexdigest()}"  # of these images
        pairs.append((train(divided, f"fold{k}_train", options.out / name), splits[f"fold{k}_val"]))
    return pairs


def _folds(loaded: Loaded, options: AuditOptions, progress: Progress | None) -> list[Rows]:
    """The images of each fold: those of the last audit of the same images, even if annotations were corrected since."""
    path, row_of = options.out / FOLDS, loaded.dataset.row_of()
    with suppress(OSError, ValueError):
        known = msgspec.json.decode(read_limited(path, _LARGEST), type=_Folds)
        same = sorted(stem for fold in known.folds for stem in fold) == sorted(row_of)
        if same and (known.seed, len(known.folds)) == (options.seed, options.folds):
            return [np.array([row_of[stem] for stem in fold]) for fold in known.folds]
    whole = replace(loaded, dataset=replace(loaded.dataset, splits={}))
    shares = SplitOptions(trainval=1.0, kfold=options.folds, seed=options.seed)
    folds = list(split_dataset(whole, shares, SplitFiles(force=True, dry_run=True), progress=progress).folds)
    stems = loaded.dataset.images.stems
    record = _Folds(options.seed, [[stems[row] for row in fold.tolist()] for fold in folds])
    write_bytes(path, msgspec.json.encode(record))
    return folds


def by_runs(dataset: Dataset, runs: Sequence[Path]) -> tuple[list[tuple[Path, Rows]], int]:
    """The images of each run that it was not trained on, the others with the first, and the number of these."""
    free = np.ones(len(dataset), np.bool_)
    pairs: list[tuple[Path, Rows]] = []
    for run in runs:
        seen = np.zeros(len(dataset), np.bool_)
        seen[_trained_on(dataset, run)] = True
        pairs.append((run, np.flatnonzero(free & ~seen)))
        free &= seen
    if free.any():
        pairs[0] = (runs[0], np.flatnonzero(free | np.isin(np.arange(len(dataset)), pairs[0][1])))
    return [(run, rows) for run, rows in pairs if len(rows)], int(free.sum())


def _trained_on(dataset: Dataset, detector: Path) -> Rows:
    """The images of the names that a run recorded; without a record, those of the split that it was trained on."""
    run = run_of(detector)
    if recorded := recorded_images(run):  # the splits may have changed since
        row_of = dataset.row_of()
        names = {stem for split, images in recorded.items() if split != VALIDATION for stem in images}
        return np.array(sorted(row_of[stem] for stem in names & row_of.keys()), np.int64)
    with suppress(SplitError):
        return dataset.rows(str(read_run(run).recipe.get("data.split", "train")))
    return np.empty(0, np.int64)
