"""Split a dataset: from scratch, by adding new images to existing splits, or according to COCO files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import DIVIDE_TRAINVAL, Dataset
from vocdet.data.division import divide
from vocdet.data.findings import Finding
from vocdet.data.splits import Rows, Splits
from vocdet.data.usable import NOTHING, LeftOut
from vocdet.errors import SplitError, raise_all
from vocdet.files import check_writable
from vocdet.formats.scan import Progress, Source, other_readings
from vocdet.formats.voc import image_sets
from vocdet.wording import counted, listed
from vocdet.workflows.coco_splits import coco_splits
from vocdet.workflows.load import Loaded, read_usable
from vocdet.workflows.split_groups import ImageGroups, group_images

DEFAULT_SHARE = 0.9  # of all images for trainval, and of trainval for train


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How images are divided. Images of one group stay in one split, and identical images are always a group."""

    trainval: float | None = (
        None  # share of all images for train and val; None: `DEFAULT_SHARE`, or that of existing splits
    )
    train: float | None = None  # share of trainval for train; None: likewise
    seed: int = 0
    stratify: bool = True  # keep the shares of labels in every split
    group_by: Sequence[str] | None = None  # folder, similar, identical, regular expressions; None: similar, if it fits
    kfold: int = 0  # number of folds of trainval
    keep_test: bool = False  # divide only the images for train and val; test is unchanged


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """The split files to write."""

    per_label: bool = False  # also VOC's `<label>_<split>.txt`
    force: bool = False  # replace existing ones
    dry_run: bool = False  # write nothing


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
    left_out: LeftOut = NOTHING  # on request, because of errors

    def objects(self) -> NDArray[np.int64]:
        """(4, L) objects of every label in each split."""
        return divide.objects_of_splits(self.dataset, list(self.splits.values()))

    def fold_objects(self) -> NDArray[np.int64]:
        """(K, L) objects of every label that are val in each fold."""
        return divide.objects_of_splits(self.dataset, self.folds)


def split_dataset(
    source: Source | Loaded,
    options: SplitOptions = SplitOptions(),
    files: SplitFiles = SplitFiles(),
    *,
    progress: Progress | None = None,
) -> SplitReport:
    """Write ImageSets/Main/{trainval,train,val,test}.txt: all of them, or none.

    Folds are `fold<k>_train.txt` and `fold<k>_val.txt`. A trainval that is not divided yet is divided, and test is
    unchanged, unless `options.trainval` or `files.force` says otherwise; with `options.keep_test` always. Raises a
    `SplitError` for an impossible split.
    """
    loaded = _read_divided(source, files, progress)
    before = loaded.dataset.splits if isinstance(source, Loaded) else _existing(loaded)
    undivided = "trainval" in before and not {"train", "val"} & before.keys()
    if options.keep_test or (undivided and options.trainval is None and not files.force):
        return _divide_trainval(loaded, before, options, files, progress)
    trainval = DEFAULT_SHARE if options.trainval is None else options.trainval
    train = DEFAULT_SHARE if options.train is None else options.train
    dataset = loaded.dataset
    division, grouped = _divide(dataset, trainval, train, options, progress)
    folds = _folds(dataset, division.splits["trainval"], grouped, options) if options.kfold else ()
    notes = [
        *_empty_notes(trainval, train),
        *grouped.notes_after(division.moved),
        *_label_notes(dataset, division.splits),
    ]
    return _write_files(loaded, division.splits, folds, notes, files)


def _read_divided(source: Source | Loaded, files: SplitFiles, progress: Progress | None) -> Loaded:
    """Read a dataset whose splits are written."""
    loaded = read_usable(source, progress, without_split_files=True)
    if not files.dry_run:
        check_writable(_split_folder(loaded.dataset), inside=True, hint="copy the dataset to a writable folder")
    return loaded


def _existing(loaded: Loaded) -> Splits:
    """The splits that a dataset has; a split file that cannot be read is an error."""
    splits, findings = image_sets.read_splits(loaded.scan)
    raise_all([finding.as_error() for finding in findings if finding.code == "imagesets.unreadable"])
    return splits


def _divide_trainval(
    loaded: Loaded, before: Splits, options: SplitOptions, files: SplitFiles, progress: Progress | None
) -> SplitReport:
    """Divide the images that are for train and val; those of test, and those of no split, stay where they are."""
    dataset, none = loaded.dataset, np.empty(0, np.int64)
    test = np.sort(before.get("test", none))
    rows = np.unique(np.concatenate([before.get(name, none) for name in ("trainval", "train", "val")]))
    if not len(rows):
        rows = np.arange(len(dataset))
    rows = np.setdiff1d(rows, test)
    if not len(rows):
        raise SplitError("all images are in test", place=_split_folder(dataset), hint="leave out `keep_test=True`")
    chosen, train = dataset.subset(rows), DEFAULT_SHARE if options.train is None else options.train
    division, grouped = _divide(chosen, 1, train, options, progress)
    folds = _folds(chosen, division.splits["trainval"], grouped, options) if options.kfold else ()
    splits = {name: rows[of] for name, of in division.splits.items()} | {"test": test}
    others = len(dataset) - len(rows) - len(test)
    notes = [
        f"{counted(len(rows), 'image')} divided into train and val; "
        + (f"test keeps its {counted(len(test), 'image')}" if len(test) else "there is no test split"),
        *([f"{counted(others, 'image')} in no split: `append=True` adds them"] if others else []),
        *grouped.notes_after(division.moved),
        *_label_notes(dataset, splits),
    ]
    force = files.force or "val" not in before
    unchanged = [name for name in _unchanged_splits(dataset, splits) if name in ("trainval", "test")]
    val_folds = tuple(rows[fold] for fold in folds)
    files = replace(files, force=force)
    return _write_files(loaded, splits, val_folds, notes, files, unchanged=unchanged, with_left_out=("test",))


def append_to_split(
    source: Source | Loaded,
    options: SplitOptions = SplitOptions(),
    files: SplitFiles = SplitFiles(),
    *,
    progress: Progress | None = None,
) -> SplitReport:
    """Add images without a split to train, val and test; all others keep their splits.

    A new image joins the split of its group, or else the split that brings sizes and labels closest to their shares.
    Existing files of folds and labels are extended as well.
    """
    loaded = _read_divided(source, files, progress)
    dataset = loaded.dataset
    before, notes = _assigned(loaded, in_memory=isinstance(source, Loaded))
    shares = [len(before[name]) for name in divide.DIVIDED_SPLITS]
    trainval = (shares[0] + shares[1]) / sum(shares) if options.trainval is None else options.trainval
    train = shares[0] / (shares[0] + shares[1]) if options.train is None else options.train
    division, grouped = _divide(dataset, trainval, train, options, progress, before)
    old_folds = _old_folds(dataset)
    if options.kfold and old_folds and len(old_folds) != options.kfold:
        hint = f"leave out `kfold={options.kfold}` to extend them, or delete the files fold*.txt"
        problem = f"the dataset has {len(old_folds)} folds, not {options.kfold}"
        raise SplitError(problem, place=_split_folder(dataset), hint=hint)
    options = replace(options, kfold=options.kfold or len(old_folds))
    folds = _folds(dataset, division.splits["trainval"], grouped, options, old_folds) if options.kfold else ()
    per_label = files.per_label or bool(image_sets.label_files(dataset))
    notes += [_added_note(division, before), *grouped.notes_on_append(before), *_label_notes(dataset, division.splits)]
    files = replace(files, per_label=per_label, force=True)
    return _write_files(loaded, division.splits, folds, notes, files, with_left_out=None)


def split_as_coco(
    source: Source, sources: Sequence[Path], files: SplitFiles = SplitFiles(), *, progress: Progress | None = None
) -> SplitReport:
    """Write the splits of COCO files; images are matched by file name.

    `sources` are folders of COCO files, or files with train, val or test in their names.
    """
    loaded = _read_divided(source, files, progress)
    splits_of_files, notes = coco_splits(loaded.dataset, sources)
    trainval = np.sort(np.concatenate([splits_of_files["train"], splits_of_files["val"]]))
    splits = {"trainval": trainval, **splits_of_files}
    notes += [f"{name} is empty: there is no COCO file for it" for name, rows in splits.items() if not len(rows)]
    notes += _label_notes(loaded.dataset, splits)
    return _write_files(loaded, splits, (), notes, files)


def write_image_sets(loaded: Loaded, files: SplitFiles = SplitFiles()) -> SplitReport:
    """Write the splits of a dataset in memory as ImageSets/Main/<split>.txt: all of them, or none.

    Raises a `SplitError` if it has no splits, or if files exist and are not to be replaced.
    """
    if not loaded.dataset.splits:
        hint = "split it first: `vocdet.split(dataset)`"
        raise SplitError("the dataset has no splits", place=loaded.dataset.root, hint=hint)
    return _write_files(loaded, loaded.dataset.splits, (), [], files)


def _assigned(loaded: Loaded, *, in_memory: bool) -> tuple[dict[str, Rows], list[str]]:
    """The rows of the existing train, val and test splits, and remarks on them."""
    dataset = loaded.dataset
    folder = _split_folder(dataset)
    splits, findings = (dataset.splits, ()) if in_memory else image_sets.read_splits(loaded.scan)
    for finding in findings:
        if finding.code == "imagesets.unreadable":
            raise finding.as_error()
    if not len(splits.get("train", ())):
        hint = f"run {DIVIDE_TRAINVAL if splits else '`vocdet.split(dataset)`'}"
        raise SplitError("there is no train split to add images to", place=folder, hint=hint)
    before = {name: np.unique(splits.get(name, np.empty(0, np.int64))) for name in divide.DIVIDED_SPLITS}
    rows, times = np.unique(np.concatenate(list(before.values())), return_counts=True)
    only_trainval = np.setdiff1d(splits.get("trainval", rows), rows)
    for bad, problem in ((rows[times > 1], "in several of train, val and test"), (only_trainval, "only in trainval")):
        if len(bad):
            stems = listed((dataset.images.stems[row] for row in bad), most=3)
            images = f"{counted(len(bad), 'image')} ({stems})"
            hint = f"correct the files, or run {DIVIDE_TRAINVAL}"
            raise SplitError(f"{images} {'is' if len(bad) == 1 else 'are'} {problem}", place=folder, hint=hint)
    missing = [f for f in findings if f.code == "imagesets.unknown_stem" and f.place.path.stem in divide.DIVIDED_SPLITS]
    if not missing:
        return before, []
    places = listed((f"{finding.place.path.name}:{finding.place.line}" for finding in missing), most=3)
    one = len(missing) == 1
    lines = f"{counted(len(missing), 'line')} {'names an image that is' if one else 'name images that are'}"
    return before, [f"{lines} no longer in the dataset and left out ({places})"]


def _folds(
    dataset: Dataset, trainval: Rows, grouped: ImageGroups, options: SplitOptions, old: Sequence[Rows] = ()
) -> tuple[Rows, ...]:
    """The rows of trainval that are val in each fold."""
    position = np.full(len(dataset), -1)  # in trainval
    position[trainval] = np.arange(len(trainval))
    folds = divide.fold_rows(
        dataset.subset(trainval),
        options.kfold,
        seed=options.seed,
        together=[position[group][position[group] >= 0].tolist() for group in grouped.groups],
        stratify=options.stratify,
        assigned=[position[rows][position[rows] >= 0] for rows in old],
    )
    return tuple(trainval[fold] for fold in folds)


def _old_folds(dataset: Dataset) -> tuple[Rows, ...]:
    """The rows of every existing fold<k>_val.txt; a `SplitError` unless they are those of two or more folds from 1."""
    paths = [path for path in image_sets.fold_files(dataset) if path.stem.endswith("_val")]
    names = [path.stem for path in paths]
    if names and (len(names) < 2 or names != [f"fold{k}_val" for k in range(1, len(names) + 1)]):
        problem = f"has {listed((path.name for path in paths), most=3)}: other folds are missing"
        raise SplitError(problem, place=_split_folder(dataset), hint="restore them, or delete the files fold*.txt")
    return tuple(image_sets.resolve(dataset, path)[0] for path in paths)


def _divide(
    dataset: Dataset,
    trainval: float,
    train: float,
    options: SplitOptions,
    progress: Progress | None,
    assigned: Mapping[str, Rows] | None = None,
) -> tuple[divide.Split, ImageGroups]:
    """Group the images and divide them, or those that are not `assigned`; no split is left without images."""
    sizes = divide.split_sizes(len(dataset), trainval, train)
    grouped = group_images(dataset, options.group_by, sizes[0], progress)
    division = divide.split(
        dataset, trainval=trainval, train=train, seed=options.seed, together=grouped.groups,
        stratify=options.stratify, assigned=assigned,
    )  # fmt: skip
    for name, size in zip(divide.DIVIDED_SPLITS, sizes, strict=True):
        if size and not len(division.splits[name]) and assigned is None:
            largest = max(map(len, grouped.groups))
            problem = f"{name} would have no images, because groups stay together: {'; '.join(grouped.kinds)}"
            hint = f"the largest group has {largest} images: group them with `group_by=...`, or write fewer splits"
            raise SplitError(problem, hint=hint)
    return division, grouped


def _write_files(
    loaded: Loaded,
    splits: Splits,
    folds: tuple[Rows, ...],
    notes: list[str],
    options: SplitFiles,
    *,
    unchanged: Sequence[str] = (),
    with_left_out: Sequence[str] | None = (),
) -> SplitReport:
    """Write the files. Those `with_left_out` (None: all) still name images that are left out because of errors."""
    dataset = loaded.dataset
    texts = image_sets.split_texts(dataset, splits)
    if options.per_label:
        texts |= image_sets.label_texts(dataset, splits)
    for k, fold in enumerate(folds, 1):
        pair = {f"fold{k}_train": np.setdiff1d(splits["trainval"], fold), f"fold{k}_val": fold}
        if pair.keys() & texts.keys():
            problem = f"the files of fold {k} and of the label 'fold{k}' have the same names"
            raise SplitError(problem, hint="rename the label, or leave out `per_label=True`")
        texts |= image_sets.split_texts(dataset, pair)
    old = {*image_sets.label_files(dataset), *image_sets.fold_files(dataset)}
    for name in unchanged:
        del texts[name]
    for name in texts if with_left_out is None else [name for name in with_left_out if name in texts]:
        texts[name] += _lines_of_left_out(loaded, name)
    split_folders = image_sets.split_folders(dataset)
    files = tuple(_split_folder(dataset) / f"{name}.txt" for name in texts)
    if not options.dry_run:
        files = image_sets.write_splits(dataset.root, texts, force=options.force)
    elif not options.force and any(path.exists() for path in files):
        notes.append("the dataset has split files: `force=True` replaces them")
    stale = sorted(old - set(files))
    if split_folders:
        notes.append(f"the splits are now in ImageSets, no longer in the folders {', '.join(split_folders)}")
    if stale:
        notes.append(f"delete {counted(len(stale), 'file')} of an earlier split, such as {stale[0].name}")
    return SplitReport(
        dataset,
        splits,
        folds,
        files,
        not options.dry_run,
        (*other_readings(loaded.scan), *notes),
        loaded.warnings,
        loaded.left_out,
    )


def _lines_of_left_out(loaded: Loaded, name: str) -> str:
    """The lines of a split file that name images which cannot be used now: once repaired, they are in their split."""
    path = image_sets.split_path(loaded.dataset.root, name)
    gone = {image_sets.composed(stem) for stem, why in loaded.scan.left_out.items() if not why}
    if path is None or not gone:
        return ""
    known = {image_sets.composed(stem) for stem in loaded.dataset.images.stems}
    meanings = (
        (entry.text, [*image_sets.meanings(image_sets.composed(entry.text))]) for entry in image_sets.read_split(path)
    )
    return "".join(
        f"{text}\n" for text, stems in meanings if gone.intersection(stems) and not known.intersection(stems)
    )


def _unchanged_splits(dataset: Dataset, splits: Splits) -> list[str]:
    """The splits whose files name just their images: these files are not written again."""
    names = []
    for name, rows in splits.items():
        path = image_sets.split_path(dataset.root, name)
        if path is not None and path.parent == _split_folder(dataset):
            try:
                before, findings = image_sets.resolve(dataset, path)
            except SplitError:
                continue
            if not findings and np.array_equal(np.sort(before), np.sort(rows)):
                names.append(name)
    return names


def _split_folder(dataset: Dataset) -> Path:
    return dataset.root / image_sets.FOLDER


def _added_note(division: divide.Split, before: Splits) -> str:
    added = {name: len(division.splits[name]) - len(before[name]) for name in divide.DIVIDED_SPLITS}
    if not any(added.values()):
        return "there are no new images: every image has a split"
    new = ", ".join(f"{count} to {name}" for name, count in added.items())
    return f"{counted(sum(added.values()), 'new image')}: {new}; all others are unchanged"


def _empty_notes(trainval: float, train: float) -> list[str]:
    notes = []
    if trainval == 1:
        notes.append("test is empty, because trainval takes all images: only val is left to evaluate on")
    if train == 1:
        notes.append("val is empty, because train takes all of trainval: training cannot choose its best epoch")
    return notes


def _label_notes(dataset: Dataset, splits: Splits) -> list[str]:
    notes = []
    counts = divide.objects_of_splits(dataset, [splits[name] for name in divide.DIVIDED_SPLITS])
    used = np.bincount(dataset.objects.label, minlength=len(dataset.labels)) > 0
    if not used.all():
        unused = listed((label for label, one in zip(dataset.labels, used, strict=True) if not one), most=5)
        notes.append(f"no image has an object of {unused}: annotate some, or remove the label")
    for name, objects in zip(divide.DIVIDED_SPLITS, counts, strict=True):
        without = [dataset.labels[i] for i in np.flatnonzero((objects == 0) & used)] if len(splits[name]) else []
        if without:
            notes.append(f"{name} has no objects of {listed(without, most=5)}: annotate more of them")
    return notes
