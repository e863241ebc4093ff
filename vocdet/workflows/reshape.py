"""Make new datasets from datasets: relabel, merge, sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.division.identical import identical_images
from vocdet.data.division.sampling import sample
from vocdet.data.merging import Merged, NamedDataset, Spelling, differing_folds, merge, source_names, spellings
from vocdet.data.relabel import relabel
from vocdet.data.splits import separate
from vocdet.data.texts import Texts
from vocdet.data.usable import NOTHING, LeftOut
from vocdet.errors import ArgumentError, DatasetError
from vocdet.formats.scan import Progress, Scan, Source
from vocdet.formats.shared import extras
from vocdet.wording import and_more
from vocdet.workflows.convert import WriteOptions, WrittenFolder, WrittenFormat, check_target, write_dataset
from vocdet.workflows.label_changes import LabelChanges, resolve_changes
from vocdet.workflows.load import Clean, read_clean


@dataclass(frozen=True, slots=True, eq=False)
class WrittenDataset:
    """A new dataset."""

    dataset: Dataset  # with the image files of the source
    written: WrittenFolder


@dataclass(frozen=True, slots=True, eq=False)
class RemapReport:
    """A dataset with other labels."""

    result: WrittenDataset
    new_names: Mapping[str, str]  # every label of the source to its new label; "": dropped
    objects: Mapping[str, int]  # of every label of the source
    dropped: int  # objects
    emptied: int  # images that lost all their objects
    kept_empty: bool  # whether those images remain
    doubles: int  # objects that are now duplicates of another
    left_out: LeftOut = NOTHING  # on request, because of errors

    def __repr__(self) -> str:
        return repr(self.result.written)


def remap_dataset(
    source: Source,
    target: Path,
    changes: LabelChanges,
    options: WriteOptions = WriteOptions(),
    *,
    to: WrittenFormat | None = None,
    keep_empty: bool = True,
    progress: Progress | None = None,
) -> RemapReport:
    """Write a copy with other labels, by default in the same format.

    Images that lose all their objects remain, unless `keep_empty` is false.
    """
    if not changes:
        hint = 'use `rename={"old": "new"}`, `merge=...`, `drop=...`, `keep=...` or `file=...`'
        raise ArgumentError("no label changes", hint=hint)
    check_target(target, [source.path])
    clean = _read(source, target, options, progress)
    scan, old = clean.scan, clean.scan.dataset
    new_names = resolve_changes(old.labels, changes)
    changed = relabel(old, new_names)
    dataset = replace(changed.dataset, extra=extras.relabeled(old.extra, new_names))
    if not keep_empty and len(changed.emptied):
        dataset = dataset.subset(np.setdiff1d(np.arange(len(old)), changed.emptied))
    result = _write(dataset, target, to or native(scan), options)
    counts = np.bincount(old.objects.label, minlength=len(old.labels)).tolist()
    return RemapReport(
        result=result,
        new_names={label: new_names.get(label, label) for label in old.labels},
        objects=dict(zip(old.labels, counts, strict=True)),
        dropped=changed.dropped,
        emptied=len(changed.emptied),
        kept_empty=keep_empty,
        doubles=changed.doubles,
        left_out=clean.left_out,
    )


@dataclass(frozen=True, slots=True, eq=False)
class MergedSource:
    """One of the merged datasets."""

    root: Path
    name: str  # prefix of its stems where they clash
    images: int
    objects: int
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MergeReport:
    """Several datasets as one."""

    result: WrittenDataset
    sources: tuple[MergedSource, ...]
    renamed: Mapping[str, str]  # new stem to old stem
    spellings: tuple[Spelling, ...]  # labels that may mean the same thing
    copies: tuple[tuple[str, ...], ...]  # stems of identical images
    leaks: int  # groups in more than one of train, val and test
    differ: tuple[str, ...]  # metadata that differs: that of the first dataset is used
    folds: tuple[str, ...]  # folds that differ: they are left out
    left_out: LeftOut = NOTHING  # of all sources, on request, because of errors

    def __repr__(self) -> str:
        return repr(self.result.written)


def merge_datasets(
    sources: Sequence[Source],
    target: Path,
    options: WriteOptions = WriteOptions(),
    *,
    to: WrittenFormat | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Merge several datasets into a new one, by default in the format of the first.

    Labels are matched by name. Stems that two sources share get the name of their folder as a prefix; with
    `options.strict` they are an error. All sources are read before anything is written.
    """
    if len(sources) < 2:
        raise ArgumentError("there is only one dataset to merge", hint="give at least two")
    if len({source.path.resolve() for source in sources}) < len(sources):
        raise ArgumentError("a dataset is given twice", hint="give each dataset once")
    paths = [source.path for source in sources]
    check_target(target, paths)
    clean = [_read(source, target, options, progress) for source in sources]
    scans = [one.scan for one in clean]
    names = source_names(paths)
    named = [NamedDataset(name, scan.dataset) for name, scan in zip(names, scans, strict=True)]
    merged = merge(named)
    if options.strict and merged.stems_before:
        raise _clash(merged)
    tables = [scan.dataset.images.extra for scan in scans]
    extra, image_extras, differ = extras.merged([scan.dataset.extra for scan in scans], tables)
    table = replace(merged.dataset.images, extra=Texts.join(image_extras))
    dataset = replace(merged.dataset, extra=extra, images=table)
    result = _write(dataset, target, to or native(scans[0]), options)
    stems = dataset.images.stems
    groups = identical_images(dataset)
    split_of = {row: name for name, rows in separate(dataset.splits).items() for row in rows.tolist()}
    return MergeReport(
        result=result,
        sources=tuple(
            MergedSource(path, name, len(scan.dataset), len(scan.dataset.objects), tuple(separate(scan.dataset.splits)))
            for path, name, scan in zip(paths, names, scans, strict=True)
        ),
        renamed={stems[row]: before for row, before in merged.stems_before.items()},
        spellings=tuple(spellings([scan.dataset for scan in scans])),
        copies=tuple(tuple(stems[row] for row in group) for group in groups),
        leaks=sum(len({split_of[row] for row in group if row in split_of}) > 1 for group in groups),
        differ=differ,
        folds=differing_folds([scan.dataset for scan in scans]),
        left_out=sum((one.left_out for one in clean), NOTHING),
    )


def _clash(merged: Merged) -> DatasetError:
    row, stem = next(iter(merged.stems_before.items()))
    others = and_more(len(merged.stems_before) - 1, "stem")
    problem = f"another dataset also has the stem {stem!r}{others}"
    place = merged.dataset.root / merged.dataset.images.files[row]
    return DatasetError(problem, place=place, hint="leave out `strict=True` to rename them")


@dataclass(frozen=True, slots=True, eq=False)
class SampleReport:
    """A sample of a dataset."""

    result: WrittenDataset
    source: Dataset
    missing: tuple[str, ...]  # labels without an image in the sample
    left_out: LeftOut = NOTHING  # of the source, on request, because of errors

    def __repr__(self) -> str:
        return repr(self.result.written)

    def objects(self) -> NDArray[np.int64]:
        """(L, 2) objects of every label in the source and in the sample."""
        counts = [
            np.bincount(dataset.objects.label, minlength=len(dataset.labels))
            for dataset in (self.source, self.result.dataset)
        ]
        return np.stack(counts, axis=1)


def sample_dataset(
    source: Source,
    target: Path,
    count: int,
    options: WriteOptions = WriteOptions(),
    *,
    seed: int = 0,
    to: WrittenFormat | None = None,
    progress: Progress | None = None,
) -> SampleReport:
    """Write a sample of `count` images that keeps the shares of labels and splits; by default in the same format."""
    check_target(target, [source.path])
    clean = _read(source, target, options, progress)
    scan, dataset = clean.scan, clean.scan.dataset
    if not 0 < count <= len(dataset):
        problem = f"a sample of {count} is impossible: the dataset has {len(dataset)} images"
        raise ArgumentError(problem, place=source.path, hint=f"choose a number from 1 to {len(dataset)}")
    taken = sample(dataset, count, seed=seed)
    result = _write(dataset.subset(taken.rows), target, to or native(scan), options)
    missing = tuple(dataset.labels[label] for label in taken.missing)
    return SampleReport(result, dataset, missing, clean.left_out)


def native(scan: Scan) -> WrittenFormat:
    """The default format of a new dataset: that of its source, or COCO, which holds everything the others do."""
    if scan.format == "yolo" and len(scan.dataset.objects.segmentation.rows):
        return "yolo-seg"
    return next((format for format in get_args(WrittenFormat) if format == scan.format), "coco")


def _read(source: Source, target: Path, options: WriteOptions, progress: Progress | None) -> Clean:
    """Read a dataset with its splits; the errors in its files are raised together, or left out."""
    clean = read_clean(source, without_images=options.images == "none", progress=progress)
    check_target(target, [clean.scan.dataset.root])  # for a source file, the root may be further up
    return clean


def _write(dataset: Dataset, folder: Path, to: WrittenFormat, options: WriteOptions) -> WrittenDataset:
    return WrittenDataset(dataset, write_dataset(dataset, folder, to, options))
