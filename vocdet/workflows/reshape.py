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
from vocdet.data.merging import Merged, NamedDataset, Spelling, merge, source_names, spellings
from vocdet.data.relabel import relabel
from vocdet.data.splits import separate
from vocdet.data.texts import Texts
from vocdet.errors import ArgumentError, DatasetError, OutputError
from vocdet.formats import extras, registry
from vocdet.formats.scan import Progress, Scan
from vocdet.formats.source import Source
from vocdet.wording import and_more
from vocdet.workflows.convert import ImageMode, Target, WrittenFolder, write_dataset
from vocdet.workflows.label_changes import read_changes


@dataclass(frozen=True, slots=True, eq=False)
class WrittenDataset:
    """A new dataset."""

    dataset: Dataset  # with the image files of the source
    written: WrittenFolder


@dataclass(frozen=True, slots=True, eq=False)
class RemapReport:
    """A dataset with other labels."""

    result: WrittenDataset
    becomes: Mapping[str, str]  # label of the source to new label, "" for a dropped one
    objects: Mapping[str, int]  # of every label of the source
    dropped: int  # objects
    emptied: int  # images that lost all their objects
    kept_empty: bool  # whether those images remain
    doubles: int  # objects that now duplicate another


def remap_dataset(
    source: Source,
    target: Path,
    *,
    rename: Sequence[str] = (),
    merge: Sequence[str] = (),
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    file: Path | None = None,
    keep_empty: bool = True,
    to: Target | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
    progress: Progress | None = None,
) -> RemapReport:
    """Write a copy with labels renamed, merged and dropped (see `read_changes`); by default in the same format."""
    if not (rename or merge or drop or keep or file):
        hint = 'use `rename={"old": "new"}`, `merge=...`, `drop=...`, `keep=...` or `file=...`'
        raise ArgumentError("no label changes", hint=hint)
    _check_place(target, [source.path])
    found = _read(source, images, progress)
    old = found.dataset
    becomes = read_changes(old.labels, rename=rename, merge=merge, drop=drop, keep=keep, file=file)
    changed = relabel(old, becomes)
    dataset = replace(changed.dataset, extra=extras.relabeled(old.extra, becomes))
    if not keep_empty and len(changed.emptied):
        dataset = dataset.subset(np.setdiff1d(np.arange(len(old)), changed.emptied))
    result = _write(dataset, target, to or native(found), images, strict)
    counts = np.bincount(old.objects.label, minlength=len(old.labels)).tolist()
    return RemapReport(
        result=result,
        becomes={label: becomes.get(label, label) for label in old.labels},
        objects=dict(zip(old.labels, counts, strict=True)),
        dropped=changed.dropped,
        emptied=len(changed.emptied),
        kept_empty=keep_empty,
        doubles=changed.doubles,
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
    differ: tuple[str, ...]  # metadata that differs, of which the first is used


def merge_datasets(
    sources: Sequence[Source],
    target: Path,
    *,
    to: Target | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
    progress: Progress | None = None,
) -> MergeReport:
    """Merge several datasets into a new one, by default in the format of the first.

    Labels are matched by name. A stem that two sources share gets the name of its folder as a prefix; with `strict` it
    is an error. All sources are read before anything is written.
    """
    if len(sources) < 2:
        raise ArgumentError("there is only one dataset to merge", hint="name two datasets or more")
    if len({source.path.resolve() for source in sources}) < len(sources):
        raise ArgumentError("a dataset is named twice", hint="name each dataset once")
    paths = [source.path for source in sources]
    _check_place(target, paths)
    found = [_read(source, images, progress) for source in sources]
    names = source_names(paths)
    named = [NamedDataset(name, scan.dataset) for name, scan in zip(names, found, strict=True)]
    merged = merge(named)
    if strict and merged.stems_before:
        raise _clash(merged)
    tables = [scan.dataset.images.extra for scan in found]
    extra, image_extras, differ = extras.merged([scan.dataset.extra for scan in found], tables)
    table = replace(merged.dataset.images, extra=Texts.join(image_extras))
    dataset = replace(merged.dataset, extra=extra, images=table)
    result = _write(dataset, target, to or native(found[0]), images, strict)
    stems = dataset.images.stems
    groups = identical_images(dataset)
    part_of = {row: name for name, rows in separate(dataset.splits).items() for row in rows.tolist()}
    return MergeReport(
        result=result,
        sources=tuple(
            MergedSource(path, name, len(scan.dataset), len(scan.dataset.objects), tuple(separate(scan.dataset.splits)))
            for path, name, scan in zip(paths, names, found, strict=True)
        ),
        renamed={stems[row]: before for row, before in merged.stems_before.items()},
        spellings=tuple(spellings([scan.dataset for scan in found])),
        copies=tuple(tuple(stems[row] for row in group) for group in groups),
        leaks=sum(len({part_of[row] for row in group if row in part_of}) > 1 for group in groups),
        differ=differ,
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
    missing: tuple[str, ...]  # labels that did not fit

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
    *,
    seed: int = 0,
    to: Target | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
    progress: Progress | None = None,
) -> SampleReport:
    """Write a sample of `count` images that keeps the shares of labels and splits; by default in the same format."""
    _check_place(target, [source.path])
    found = _read(source, images, progress)
    dataset = found.dataset
    if not 0 < count <= len(dataset):
        problem = f"a sample of {count} is impossible: the dataset has {len(dataset)} images"
        raise ArgumentError(problem, place=source.path, hint=f"choose a number from 1 to {len(dataset)}")
    taken = sample(dataset, count, seed=seed)
    result = _write(dataset.subset(taken.rows), target, to or native(found), images, strict)
    return SampleReport(result, dataset, tuple(dataset.labels[label] for label in taken.missing))


def native(found: Scan) -> Target:
    """The default format of a new dataset: that of its source, or COCO, which holds what all others do."""
    return next((format for format in get_args(Target) if format == found.format), "coco")


def _check_place(target: Path, sources: Sequence[Path]) -> None:
    """Refuse a folder inside a dataset, whose readers would read it, too."""
    for source in sources:
        root = source if source.is_dir() else source.parent
        if root.resolve() in target.resolve().parents:
            hint = "name a folder outside it"
            raise OutputError(f"is inside {source} and would be read as part of it", place=target, hint=hint)


def _read(source: Source, images: ImageMode, progress: Progress | None) -> Scan:
    """Read a dataset with its splits; the errors in its files are raised together."""
    return registry.read(source, without_images=images == "none", progress=progress)


def _write(dataset: Dataset, folder: Path, to: Target, images: ImageMode, strict: bool) -> WrittenDataset:
    return WrittenDataset(dataset, write_dataset(dataset, folder, to=to, images=images, strict=strict))
