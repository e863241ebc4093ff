"""Other datasets out of datasets: with other labels, several as one, a part of one."""

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
from vocdet.data.findings import raise_errors
from vocdet.data.merging import Merged, NamedDataset, Spelling, merge, source_names, spellings
from vocdet.data.relabel import relabel
from vocdet.data.splits import separate, within
from vocdet.data.texts import Texts
from vocdet.errors import AnnotationError, OutputError, VocdetError
from vocdet.formats import extras, registry
from vocdet.formats.label_maps import read_changes
from vocdet.formats.scan import Progress, Scan
from vocdet.formats.source import Source
from vocdet.formats.voc import image_sets
from vocdet.wording import counted
from vocdet.workflows.convert import ImageMode, Target, Written, write_dataset

Splits = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A dataset that was written."""

    dataset: Dataset  # its files are still those of the source
    splits: Splits
    written: Written


@dataclass(frozen=True, slots=True, eq=False)
class RemapReport:
    """A dataset with other labels."""

    made: Made
    becomes: Mapping[str, str]  # of every label of the source: what it is called now, "" where it was dropped
    objects: Mapping[str, int]  # of every label of the source
    dropped: int  # objects
    emptied: int  # images that have lost all their objects
    kept_empty: bool  # whether those are still there
    doubles: int  # objects that are now of one label with another in the same place


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
    """Write a copy with labels renamed, merged and dropped, as `read_changes` reads them; by default in its format."""
    if not (rename or merge or drop or keep or file):
        hint = "give --rename old=new, --merge a,b=new, --drop a, --keep a,b or --map FILE"
        raise VocdetError("no label is to change", hint=hint)
    _check_place(target, [source.path])
    found = _read(source, images, progress)
    old = found.dataset
    becomes = read_changes(old.labels, rename=rename, merge=merge, drop=drop, keep=keep, file=file)
    changed = relabel(old, becomes)
    dataset, splits = replace(changed.dataset, extra=extras.relabeled(old.extra, becomes)), dict(found.splits)
    if not keep_empty and len(changed.emptied):
        rows = np.setdiff1d(np.arange(len(old)), changed.emptied)
        dataset, splits = dataset.subset(rows), within(splits, rows, len(old))
    made = _write(dataset, splits, target, to or native(found), images, strict)
    counts = np.bincount(old.objects.label, minlength=len(old.labels)).tolist()
    return RemapReport(
        made=made,
        becomes={label: becomes.get(label, label) for label in old.labels},
        objects=dict(zip(old.labels, counts, strict=True)),
        dropped=changed.dropped,
        emptied=len(changed.emptied),
        kept_empty=keep_empty,
        doubles=changed.doubles,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """One of the datasets that became one."""

    root: Path
    name: str  # what stands before its stems where they clash
    images: int
    objects: int
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MergeReport:
    """Several datasets as one."""

    made: Made
    sources: tuple[Joined, ...]
    renamed: Mapping[str, str]  # a new stem -> what it was
    spellings: tuple[Spelling, ...]  # labels that may mean the same
    copies: tuple[tuple[str, ...], ...]  # stems of images that are the same byte for byte
    leaks: int  # how many of these groups are in more than one of train, val and test
    differ: tuple[str, ...]  # what sources say differently of the whole, of which the first is kept


def merge_datasets(
    sources: Sequence[Source],
    target: Path,
    *,
    to: Target | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
    progress: Progress | None = None,
) -> MergeReport:
    """Write several datasets as one, by default in the format of the first.

    Labels of one name are one label. A stem that two sources have gets the name of its folder before it, and with
    `strict` is an error. All sources are read before anything is written.
    """
    if len(sources) < 2:
        raise VocdetError("there is nothing to merge with", hint="give two datasets or more, and then the new folder")
    if len({source.path.resolve() for source in sources}) < len(sources):
        raise VocdetError("the same dataset is given twice", hint="give each once")
    paths = [source.path for source in sources]
    _check_place(target, paths)
    found = [_read(source, images, progress) for source in sources]
    names = source_names(paths)
    given = [NamedDataset(name, scan.dataset, scan.splits) for name, scan in zip(names, found, strict=True)]
    joined = merge(given)
    if strict and joined.stems_before:
        raise _clash(joined)
    tables = [scan.dataset.images.extra for scan in found]
    extra, image_extras, differ = extras.merged([scan.dataset.extra for scan in found], tables)
    table = replace(joined.dataset.images, extra=Texts.join(image_extras))
    dataset = replace(joined.dataset, extra=extra, images=table)
    made = _write(dataset, joined.splits, target, to or native(found[0]), images, strict)
    stems = dataset.images.stems
    groups = identical_images(dataset)
    part_of = {row: name for name, rows in separate(joined.splits).items() for row in rows.tolist()}
    return MergeReport(
        made=made,
        sources=tuple(
            Joined(path, name, len(scan.dataset), len(scan.dataset.objects), tuple(separate(scan.splits)))
            for path, name, scan in zip(paths, names, found, strict=True)
        ),
        renamed={stems[row]: before for row, before in joined.stems_before.items()},
        spellings=tuple(spellings([scan.dataset for scan in found])),
        copies=tuple(tuple(stems[row] for row in group) for group in groups),
        leaks=sum(len({part_of[row] for row in group if row in part_of}) > 1 for group in groups),
        differ=differ,
    )


def _clash(made: Merged) -> VocdetError:
    row, stem = next(iter(made.stems_before.items()))
    others = len(made.stems_before) - 1
    more = f", and so of {others} more" if others > 1 else ""
    files = made.dataset.images.files
    problem = f"the stem {stem!r} is that of an image in another dataset, too{more}"
    return AnnotationError(
        problem, place=made.dataset.root / files[row], hint="leave out --strict to have them renamed"
    )


@dataclass(frozen=True, slots=True, eq=False)
class SampleReport:
    """Some images of a dataset."""

    made: Made
    source: Dataset
    source_splits: Splits
    missing: tuple[str, ...]  # labels for which there was no room

    def objects(self) -> NDArray[np.int64]:
        """(L, 2) objects of every label in the source and in the sample."""
        counts = [
            np.bincount(dataset.objects.label, minlength=len(dataset.labels))
            for dataset in (self.source, self.made.dataset)
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
    """Write `count` images of a dataset in which every label and part has its share; by default in its format."""
    _check_place(target, [source.path])
    found = _read(source, images, progress)
    dataset = found.dataset
    if not 0 < count <= len(dataset):
        problem = f"{counted(count, 'image')} cannot be taken from a dataset of {len(dataset)}"
        raise VocdetError(problem, place=source.path, hint=f"give a number from 1 to {len(dataset)}")
    taken = sample(dataset, count, found.splits, seed=seed)
    splits = within(found.splits, taken.rows, len(dataset))
    made = _write(dataset.subset(taken.rows), splits, target, to or native(found), images, strict)
    return SampleReport(made, dataset, found.splits, tuple(dataset.labels[label] for label in taken.missing))


def native(found: Scan) -> Target:
    """The format to write a dataset in that was read as this: the same, or COCO, which holds all that others do."""
    return next((format for format in get_args(Target) if format == found.format), "coco")


def _check_place(target: Path, sources: Sequence[Path]) -> None:
    """Refuse a folder inside a dataset: its files would be read as some of that dataset's."""
    for source in sources:
        root = source if source.is_dir() else source.parent
        if root.resolve() in target.resolve().parents:
            hint = "name a folder outside it"
            raise OutputError(f"is inside {source}, and would be read as a part of it", place=target, hint=hint)


def _read(source: Source, images: ImageMode, progress: Progress | None) -> Scan:
    """A dataset with its parts, all in order; the errors in its files are raised together."""
    found = registry.read(source, without_images=images == "none", progress=progress)
    splits, odd = image_sets.read_splits(found)
    raise_errors(odd)
    return replace(found, splits=splits)


def _write(dataset: Dataset, splits: Splits, folder: Path, to: Target, images: ImageMode, strict: bool) -> Made:
    return Made(dataset, splits, write_dataset(dataset, splits, folder, to=to, images=images, strict=strict))
