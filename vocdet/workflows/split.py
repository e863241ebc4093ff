"""Dividing a dataset into parts: anew, by adding new images to the parts there are, or as COCO files have it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.division import divide
from vocdet.data.findings import Finding
from vocdet.errors import SplitError
from vocdet.formats.scan import Progress
from vocdet.formats.source import Source
from vocdet.formats.voc import image_sets
from vocdet.wording import counted
from vocdet.workflows.coco_splits import coco_splits
from vocdet.workflows.load import Loaded, read_usable
from vocdet.workflows.split_groups import Kept, kept_together

Rows = NDArray[np.int64]  # (N,) rows of the image table
Splits = Mapping[str, Rows]

SHARE = 0.9  # of all images for trainval, and of trainval for train

_FOLD_FILE = re.compile(r"fold(\d+)_(train|val)\.txt")


@dataclass(frozen=True, slots=True, eq=False)
class SplitReport:
    """The parts that were written, and of what."""

    dataset: Dataset
    splits: dict[str, Rows]  # trainval, train, val, test
    folds: tuple[Rows, ...]  # the images of trainval that are val in each fold
    files: tuple[Path, ...]
    written: bool  # False: the files are those that would have been written
    notes: tuple[str, ...]  # what the user should know of this split
    warnings: tuple[Finding, ...]

    def objects(self) -> NDArray[np.int64]:
        """(4, L) objects of every label in each part."""
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

    What belongs together by `group_by` (folder, similar, identical, or regular expressions on the stem) is in one
    part; images that are the same byte for byte always are, and near-identical ones where nothing else is asked for
    and they fit. `kfold` adds `fold<k>_train.txt` and `fold<k>_val.txt` of trainval, `per_label` VOC's
    `<label>_<part>.txt`.
    """
    loaded = read_usable(source, progress)
    dataset = loaded.dataset
    sizes = divide.split_sizes(len(dataset), trainval, train)
    kept = kept_together(dataset, group_by, sizes[0], progress)
    made = divide.split(dataset, trainval=trainval, train=train, seed=seed, together=kept.groups, stratify=stratify)
    _check_filled(made, sizes, kept)
    folds = _folds(dataset, made.splits["trainval"], kfold, kept, seed, stratify) if kfold else ()
    notes = [*_empty_notes(trainval, train), *kept.notes_after(made.moved), *_label_notes(dataset, made.splits)]
    return _write(loaded, made.splits, folds, notes, per_label=per_label, force=force, dry_run=dry_run)


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
    """Add the images that are in no part yet to train, val and test; those that are in one stay there.

    Shares that are not given are those of the parts there are. New images go where their group is (`group_by` as for
    `split_dataset`), and otherwise where sizes and labels come closest to their shares. Folds and files for each
    label that are there grow with the parts.
    """
    loaded = read_usable(source, progress)
    dataset = loaded.dataset
    before, notes = _assigned(loaded)
    shares = [len(before[name]) for name in divide.NAMES]
    trainval = (shares[0] + shares[1]) / sum(shares) if trainval is None else trainval
    train = shares[0] / (shares[0] + shares[1]) if train is None else train
    sizes = divide.split_sizes(len(dataset), trainval, train)
    kept = kept_together(dataset, group_by, sizes[0], progress)
    made = divide.split(
        dataset,
        trainval=trainval,
        train=train,
        seed=seed,
        together=kept.groups,
        stratify=stratify,
        assigned=before,
    )
    old_folds = _old_folds(dataset)
    if kfold and old_folds and len(old_folds) != kfold:
        hint = "leave out --kfold to add to them, or delete the files fold*.txt"
        raise SplitError(f"there are {len(old_folds)} folds, not {kfold}", place=_folder(dataset), hint=hint)
    count = kfold or len(old_folds)
    folds = _folds(dataset, made.splits["trainval"], count, kept, seed, stratify, old_folds) if count else ()
    per_label = per_label or bool(image_sets.label_files(dataset))
    notes += [_added(made, before), *kept.notes_of_old(before), *_label_notes(dataset, made.splits)]
    return _write(loaded, made.splits, folds, notes, per_label=per_label, force=True, dry_run=dry_run)


def split_as_coco(
    source: Source,
    sources: Sequence[Path],
    *,
    per_label: bool = False,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SplitReport:
    """Write the parts that COCO files make: their images are found by the names they have in the files.

    A source is a folder of COCO files, or one whose name says train, val or test.
    """
    loaded = read_usable(source, progress)
    found, notes = coco_splits(loaded.dataset, sources)
    trainval = np.sort(np.concatenate([found["train"], found["val"]]))
    splits = {"trainval": trainval, **found}
    notes += [f"{name} is empty: no COCO file is of it" for name, rows in splits.items() if not len(rows)]
    notes += _label_notes(loaded.dataset, splits)
    return _write(loaded, splits, (), notes, per_label=per_label, force=force, dry_run=dry_run)


def write_image_sets(loaded: Loaded, *, per_label: bool = False, force: bool = False) -> SplitReport:
    """Write the splits of a dataset in memory as ImageSets/Main/<split>.txt: all of them, or none.

    `SplitError` where there are none, or where files exist and `force` is false.
    """
    if not loaded.splits:
        hint = "divide it first: `vocdet.split(dataset)`"
        raise SplitError("the dataset has no splits", place=loaded.dataset.root, hint=hint)
    return _write(loaded, loaded.splits, (), [], per_label=per_label, force=force, dry_run=False)


def _assigned(loaded: Loaded) -> tuple[dict[str, Rows], list[str]]:
    """The rows of train, val and test as they are, and what is to be said of them."""
    dataset = loaded.dataset
    folder = _folder(dataset)
    splits, findings = image_sets.read_splits(loaded.scan)
    for finding in findings:
        if finding.code == "imagesets.unreadable":
            raise finding.as_error()
    if not len(splits.get("train", ())):
        hint = f"run vocdet split without --append{' and with --force' if splits else ''}"
        raise SplitError("there are no images in train to add to", place=folder, hint=hint)
    before = {name: np.unique(splits.get(name, np.empty(0, np.int64))) for name in divide.NAMES}
    rows, times = np.unique(np.concatenate(list(before.values())), return_counts=True)
    loose = np.setdiff1d(splits.get("trainval", rows), rows)
    for some, problem in ((rows[times > 1], "in several of train, val and test"), (loose, "in trainval alone")):
        if len(some):
            stems = ", ".join(dataset.images.stems[row] for row in some[:3])
            images = f"{counted(len(some), 'image')} ({stems}{', ...' if len(some) > 3 else ''})"
            hint = "correct the files, or run vocdet split --force without --append"
            raise SplitError(f"{images} {'is' if len(some) == 1 else 'are'} {problem}", place=folder, hint=hint)
    gone = [f for f in findings if f.code == "imagesets.unknown_stem" and f.place.path.stem in divide.NAMES]
    if not gone:
        return before, []
    places = ", ".join(f"{one.place.path.name}:{one.place.line}" for one in gone[:3]) + (", ..." if gone[3:] else "")
    lines = f"{counted(len(gone), 'line')} {'names an image that is' if len(gone) == 1 else 'name images that are'}"
    return before, [f"{lines} no longer in the dataset: left out ({places})"]


def _folds(
    dataset: Dataset,
    trainval: Rows,
    count: int,
    kept: Kept,
    seed: int,
    stratify: bool,
    old: Sequence[Rows] = (),
) -> tuple[Rows, ...]:
    """The rows of trainval that are val in each fold."""
    place = np.full(len(dataset), -1)
    place[trainval] = np.arange(len(trainval))
    inside = [place[group][place[group] >= 0].tolist() for group in kept.groups]
    settled = [place[rows][place[rows] >= 0] for rows in old]
    folds = divide.fold_rows(
        dataset.subset(trainval), count, seed=seed, together=inside, stratify=stratify, assigned=settled
    )
    return tuple(trainval[fold] for fold in folds)


def _old_folds(dataset: Dataset) -> tuple[Rows, ...]:
    """The rows of every fold<k>_val.txt that is there."""
    folds: list[Rows] = []
    while (path := image_sets.split_path(dataset.root, f"fold{len(folds) + 1}_val")) is not None:
        folds.append(image_sets.resolve(dataset, path)[0])
    return tuple(folds)


def _check_filled(made: divide.Split, sizes: tuple[int, int, int], kept: Kept) -> None:
    for name, size in zip(divide.NAMES, sizes, strict=True):
        if size and not len(made.splits[name]):
            largest = max(map(len, kept.groups))
            problem = f"{name} would have no images, as some stay together: {'; '.join(kept.kinds)}"
            hint = f"{largest} images are one group: group them otherwise with --group-by, or ask for fewer parts"
            raise SplitError(problem, hint=hint)


def _write(
    loaded: Loaded,
    splits: dict[str, Rows],
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
            problem = f"the files of fold {k} and those of the label 'fold{k}' have the same names"
            raise SplitError(problem, hint="rename the label, or leave out --per-label")
        texts |= image_sets.split_texts(dataset, pair)
    old = {*image_sets.label_files(dataset), *_fold_files(dataset)}
    was = image_sets.split_folders(dataset)
    files = tuple(_folder(dataset) / f"{name}.txt" for name in texts)
    if not dry_run:
        files = image_sets.write_splits(dataset.root, texts, force=force)
    elif not force and any(path.exists() for path in files):
        notes.append("there are split files already: --force replaces them")
    stale = sorted(old - set(files))
    if was:
        notes.append(f"ImageSets, and no longer the folders {', '.join(was)}, now says which part an image is in")
    if stale:
        notes.append(f"of an earlier split: {counted(len(stale), 'file')} such as {stale[0].name}: delete them")
    return SplitReport(dataset, splits, folds, files, not dry_run, tuple(notes), loaded.warnings)


def _fold_files(dataset: Dataset) -> list[Path]:
    folder = _folder(dataset)
    return [path for path in folder.glob("fold*.txt") if _FOLD_FILE.fullmatch(path.name)] if folder.is_dir() else []


def _folder(dataset: Dataset) -> Path:
    return dataset.root / image_sets.FOLDER


def _added(made: divide.Split, before: Splits) -> str:
    gained = {name: len(made.splits[name]) - len(before[name]) for name in divide.NAMES}
    if not any(gained.values()):
        return "there are no new images: all are in a part"
    new = ", ".join(f"{count} to {name}" for name, count in gained.items())
    return f"{counted(sum(gained.values()), 'new image')}: {new}; all others stay where they were"


def _empty_notes(trainval: float, train: float) -> list[str]:
    notes = []
    if trainval == 1:
        notes.append("test is empty, as all images were asked for in trainval: figures can only come from val")
    if train == 1:
        notes.append("val is empty, as all of trainval was asked for in train: training cannot pick its best epoch")
    return notes


def _label_notes(dataset: Dataset, splits: Splits) -> list[str]:
    notes = []
    counts = divide.objects_of_splits(dataset, [splits[name] for name in divide.NAMES])
    for name, of_labels in zip(divide.NAMES, counts, strict=True):
        without = [dataset.labels[i] for i in np.flatnonzero(of_labels == 0)] if len(splits[name]) else []
        if without:
            shown = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
            notes.append(f"{name} has no object of {shown}: annotate more of them")
    return notes
