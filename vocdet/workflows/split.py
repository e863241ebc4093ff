"""Split a dataset: from scratch, by adding new images to existing splits, or as COCO files do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.division import divide
from vocdet.data.findings import Finding
from vocdet.data.splits import Rows, Splits
from vocdet.errors import SplitError
from vocdet.formats.scan import Progress
from vocdet.formats.source import Source
from vocdet.formats.voc import image_sets
from vocdet.wording import counted, listed
from vocdet.workflows.coco_splits import coco_splits
from vocdet.workflows.load import Loaded, read_usable
from vocdet.workflows.split_groups import ImageGroups, group_images

SHARE = 0.9  # of all images for trainval, and of trainval for train

_FOLD_FILE = re.compile(r"fold(\d+)_(train|val)\.txt")


@dataclass(frozen=True, slots=True, eq=False)
class SplitReport:
    """The splits of a dataset and the files that hold them."""

    dataset: Dataset
    splits: Splits  # trainval, train, val, test
    folds: tuple[Rows, ...]  # the images of trainval that are val in each fold
    files: tuple[Path, ...]
    written: bool  # False for a dry run
    notes: tuple[str, ...]  # remarks for the user
    warnings: tuple[Finding, ...]

    def objects(self) -> NDArray[np.int64]:
        """(4, L) objects of every label in each split."""
        return divide.objects_of_splits(self.dataset, list(self.splits.values()))

    def fold_objects(self) -> NDArray[np.int64]:
        """(K, L) objects of every label that are val in each fold."""
        return divide.objects_of_splits(self.dataset, self.folds)


def split_dataset(
    source: Source | Loaded,
    *,
    trainval: float = SHARE,
    train: float = SHARE,
    seed: int = 0,
    stratify: bool = True,
    group_by: Sequence[str] | None = None,
    kfold: int = 0,
    per_label: bool = False,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SplitReport:
    """Write ImageSets/Main/{trainval,train,val,test}.txt: all of them, or none.

    Images of one group stay in one split. `group_by` names what groups them: folder, similar, identical, or a regular
    expression on the stem. Identical images always stay together; without `group_by` near-duplicates do, too, if they
    fit. `kfold` adds `fold<k>_train.txt` and `fold<k>_val.txt` of trainval, `per_label` adds VOC's
    `<label>_<split>.txt`. Raises a `SplitError` for an impossible split.
    """
    loaded = read_usable(source, progress, without_split_files=True)
    dataset = loaded.dataset
    sizes = divide.split_sizes(len(dataset), trainval, train)
    grouped = group_images(dataset, group_by, sizes[0], progress)
    division = divide.split(
        dataset, trainval=trainval, train=train, seed=seed, together=grouped.groups, stratify=stratify
    )
    _check_filled(division, sizes, grouped)
    folds = _folds(dataset, division.splits["trainval"], kfold, grouped, seed, stratify) if kfold else ()
    notes = [
        *_empty_notes(trainval, train),
        *grouped.notes_after(division.moved),
        *_label_notes(dataset, division.splits),
    ]
    return _write(loaded, division.splits, folds, notes, per_label=per_label, force=force, dry_run=dry_run)


def append_to_split(
    source: Source,
    *,
    trainval: float | None = None,
    train: float | None = None,
    seed: int = 0,
    stratify: bool = True,
    group_by: Sequence[str] | None = None,
    kfold: int = 0,
    per_label: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SplitReport:
    """Add images without a split to train, val and test; all others stay where they are.

    The shares default to those of the existing splits. A new image joins its group (`group_by` as for `split_dataset`),
    and otherwise the split that brings sizes and labels closest to their shares. Existing folds and files per label are
    extended.
    """
    loaded = read_usable(source, progress, without_split_files=True)
    dataset = loaded.dataset
    before, notes = _assigned(loaded)
    shares = [len(before[name]) for name in divide.NAMES]
    trainval = (shares[0] + shares[1]) / sum(shares) if trainval is None else trainval
    train = shares[0] / (shares[0] + shares[1]) if train is None else train
    sizes = divide.split_sizes(len(dataset), trainval, train)
    grouped = group_images(dataset, group_by, sizes[0], progress)
    division = divide.split(
        dataset,
        trainval=trainval,
        train=train,
        seed=seed,
        together=grouped.groups,
        stratify=stratify,
        assigned=before,
    )
    old_folds = _old_folds(dataset)
    if kfold and old_folds and len(old_folds) != kfold:
        hint = f"leave out `kfold={kfold}` to extend them, or delete the files fold*.txt"
        raise SplitError(f"the dataset has {len(old_folds)} folds, not {kfold}", place=_folder(dataset), hint=hint)
    count = kfold or len(old_folds)
    folds = _folds(dataset, division.splits["trainval"], count, grouped, seed, stratify, old_folds) if count else ()
    per_label = per_label or bool(image_sets.label_files(dataset))
    notes += [_added(division, before), *grouped.notes_of_old(before), *_label_notes(dataset, division.splits)]
    return _write(loaded, division.splits, folds, notes, per_label=per_label, force=True, dry_run=dry_run)


def split_as_coco(
    source: Source,
    sources: Sequence[Path],
    *,
    per_label: bool = False,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SplitReport:
    """Write the splits of COCO files, whose images are matched by file name.

    `sources` are folders of COCO files, or files with train, val or test in their names.
    """
    loaded = read_usable(source, progress, without_split_files=True)
    splits_of_files, notes = coco_splits(loaded.dataset, sources)
    trainval = np.sort(np.concatenate([splits_of_files["train"], splits_of_files["val"]]))
    splits = {"trainval": trainval, **splits_of_files}
    notes += [f"{name} is empty: there is no COCO file for it" for name, rows in splits.items() if not len(rows)]
    notes += _label_notes(loaded.dataset, splits)
    return _write(loaded, splits, (), notes, per_label=per_label, force=force, dry_run=dry_run)


def write_image_sets(loaded: Loaded, *, per_label: bool = False, force: bool = False) -> SplitReport:
    """Write the splits of a dataset in memory as ImageSets/Main/<split>.txt: all of them, or none.

    `SplitError` where there are none, or where files exist and `force` is false.
    """
    if not loaded.dataset.splits:
        hint = "divide it first: `vocdet.split(dataset)`"
        raise SplitError("the dataset has no splits", place=loaded.dataset.root, hint=hint)
    return _write(loaded, loaded.dataset.splits, (), [], per_label=per_label, force=force, dry_run=False)


def _assigned(loaded: Loaded) -> tuple[dict[str, Rows], list[str]]:
    """The rows of the existing train, val and test splits, and remarks on them."""
    dataset = loaded.dataset
    folder = _folder(dataset)
    splits, findings = image_sets.read_splits(loaded.scan)
    for finding in findings:
        if finding.code == "imagesets.unreadable":
            raise finding.as_error()
    if not len(splits.get("train", ())):
        again = "`vocdet.write_splits(vocdet.split(dataset), force=True)`"
        hint = f"run {again if splits else '`vocdet.split(dataset)`'}"
        raise SplitError("there is no train split to add images to", place=folder, hint=hint)
    before = {name: np.unique(splits.get(name, np.empty(0, np.int64))) for name in divide.NAMES}
    rows, times = np.unique(np.concatenate(list(before.values())), return_counts=True)
    loose = np.setdiff1d(splits.get("trainval", rows), rows)
    for some, problem in ((rows[times > 1], "in several of train, val and test"), (loose, "only in trainval")):
        if len(some):
            stems = listed((dataset.images.stems[row] for row in some), most=3)
            images = f"{counted(len(some), 'image')} ({stems})"
            hint = "correct the files, or run `vocdet.write_splits(vocdet.split(dataset), force=True)`"
            raise SplitError(f"{images} {'is' if len(some) == 1 else 'are'} {problem}", place=folder, hint=hint)
    gone = [f for f in findings if f.code == "imagesets.unknown_stem" and f.place.path.stem in divide.NAMES]
    if not gone:
        return before, []
    places = listed((f"{finding.place.path.name}:{finding.place.line}" for finding in gone), most=3)
    lines = f"{counted(len(gone), 'line')} {'names an image that is' if len(gone) == 1 else 'name images that are'}"
    return before, [f"{lines} no longer in the dataset and left out ({places})"]


def _folds(
    dataset: Dataset,
    trainval: Rows,
    count: int,
    grouped: ImageGroups,
    seed: int,
    stratify: bool,
    old: Sequence[Rows] = (),
) -> tuple[Rows, ...]:
    """The rows of trainval that are val in each fold."""
    place = np.full(len(dataset), -1)
    place[trainval] = np.arange(len(trainval))
    inside = [place[group][place[group] >= 0].tolist() for group in grouped.groups]
    settled = [place[rows][place[rows] >= 0] for rows in old]
    folds = divide.fold_rows(
        dataset.subset(trainval), count, seed=seed, together=inside, stratify=stratify, assigned=settled
    )
    return tuple(trainval[fold] for fold in folds)


def _old_folds(dataset: Dataset) -> tuple[Rows, ...]:
    """The rows of every existing fold<k>_val.txt."""
    folds: list[Rows] = []
    while (path := image_sets.split_path(dataset.root, f"fold{len(folds) + 1}_val")) is not None:
        folds.append(image_sets.resolve(dataset, path)[0])
    return tuple(folds)


def _check_filled(division: divide.Split, sizes: tuple[int, int, int], grouped: ImageGroups) -> None:
    for name, size in zip(divide.NAMES, sizes, strict=True):
        if size and not len(division.splits[name]):
            largest = max(map(len, grouped.groups))
            problem = f"{name} would have no images, because groups stay together: {'; '.join(grouped.kinds)}"
            hint = f"the largest group has {largest} images: group them with `group_by=...`, or write fewer splits"
            raise SplitError(problem, hint=hint)


def _write(
    loaded: Loaded,
    splits: Splits,
    folds: tuple[Rows, ...],
    notes: list[str],
    *,
    per_label: bool,
    force: bool,
    dry_run: bool,
) -> SplitReport:
    dataset = loaded.dataset
    texts = image_sets.split_texts(dataset, splits)
    if per_label:
        texts |= image_sets.label_texts(dataset, splits)
    for k, fold in enumerate(folds, 1):
        pair = {f"fold{k}_train": np.setdiff1d(splits["trainval"], fold), f"fold{k}_val": fold}
        if pair.keys() & texts.keys():
            problem = f"the files of fold {k} and of the label 'fold{k}' have the same names"
            raise SplitError(problem, hint="rename the label, or leave out `per_label=True`")
        texts |= image_sets.split_texts(dataset, pair)
    old = {*image_sets.label_files(dataset), *_fold_files(dataset)}
    was = image_sets.split_folders(dataset)
    files = tuple(_folder(dataset) / f"{name}.txt" for name in texts)
    if not dry_run:
        files = image_sets.write_splits(dataset.root, texts, force=force)
    elif not force and any(path.exists() for path in files):
        notes.append("the dataset has split files: `force=True` replaces them")
    stale = sorted(old - set(files))
    if was:
        notes.append(f"the splits are now in ImageSets, no longer in the folders {', '.join(was)}")
    if stale:
        notes.append(f"delete {counted(len(stale), 'file')} of an earlier split, such as {stale[0].name}")
    return SplitReport(dataset, splits, folds, files, not dry_run, tuple(notes), loaded.warnings)


def _fold_files(dataset: Dataset) -> list[Path]:
    return image_sets.fold_files(dataset.root)


def _folder(dataset: Dataset) -> Path:
    return dataset.root / image_sets.FOLDER


def _added(division: divide.Split, before: Splits) -> str:
    gained = {name: len(division.splits[name]) - len(before[name]) for name in divide.NAMES}
    if not any(gained.values()):
        return "there are no new images: every image has a split"
    new = ", ".join(f"{count} to {name}" for name, count in gained.items())
    return f"{counted(sum(gained.values()), 'new image')}: {new}; all others are unchanged"


def _empty_notes(trainval: float, train: float) -> list[str]:
    notes = []
    if trainval == 1:
        notes.append("test is empty, because trainval takes all images: only val is left to evaluate on")
    if train == 1:
        notes.append("val is empty, because train takes all of trainval: training cannot choose its best epoch")
    return notes


def _label_notes(dataset: Dataset, splits: Splits) -> list[str]:
    notes = []
    counts = divide.objects_of_splits(dataset, [splits[name] for name in divide.NAMES])
    for name, of_labels in zip(divide.NAMES, counts, strict=True):
        without = [dataset.labels[i] for i in np.flatnonzero(of_labels == 0)] if len(splits[name]) else []
        if without:
            notes.append(f"{name} has no objects of {listed(without, most=5)}: annotate more of them")
    return notes
