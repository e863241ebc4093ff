"""Several datasets as one: labels matched by name, stems kept unique, splits joined."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain, count
from pathlib import Path, PurePosixPath

import numpy as np

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.levels import Levels
from vocdet.data.splits import FOLD, Rows
from vocdet.data.texts import Texts
from vocdet.errors import DatasetError
from vocdet.file_names import folded


@dataclass(frozen=True, slots=True, eq=False)
class NamedDataset:
    """One of the datasets to merge."""

    name: str  # the prefix of a stem that another source also has; unique among the sources
    dataset: Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """All images of all sources, one source after the other."""

    dataset: Dataset  # with every split of any source, but for `differing_folds`
    source: Rows  # (N,) the source of an image
    stems_before: Mapping[int, str]  # row -> original stem, of stems that changed


@dataclass(frozen=True, slots=True)
class Spelling:
    """A label of one source that is spelled differently in another."""

    source: int
    label: str
    other: str  # the spelling with the most objects


def merge(sources: Sequence[NamedDataset]) -> Merged:
    """One dataset whose root is the common parent of all sources, with `files` and `sources` relative to it.

    Labels are matched by name; they have the order of the source that has all of them, else they are sorted. A stem
    of several sources gets the name of its source as a prefix in each. Sources without a common parent, on different
    drives, are a `DatasetError`.
    """
    roots = [source.dataset.root.resolve() for source in sources]
    try:
        root = Path(os.path.commonpath(roots))
    except ValueError as error:
        problem = "is on another drive than the other datasets"
        raise DatasetError(problem, place=roots[-1], hint="copy all of them to one drive") from error
    below = [PurePosixPath(path.relative_to(root).as_posix()) for path in roots]
    datasets = [source.dataset for source in sources]
    labels = union_of_labels([dataset.labels for dataset in datasets])
    poses = tuple(dict.fromkeys(["", *(pose for dataset in datasets for pose in dataset.poses)]))
    stems, before = _unique_stems(sources)
    firsts = np.concatenate([[0], np.cumsum([len(dataset) for dataset in datasets])])
    entries = {dataset.entries for dataset in datasets}
    merged = Dataset(
        root,
        labels,
        _merged_images([dataset.images for dataset in datasets], stems, below),
        _objects(datasets, labels, poses, firsts, lines=len(entries) == 1),
        poses,
        entries=entries.pop() if len(entries) == 1 else "",
        splits=_splits(datasets, firsts),
        levels=reduce(Levels.joined, known) if (known := [one.levels for one in datasets if one.levels]) else None,
    )
    return Merged(merged, np.repeat(np.arange(len(sources)), np.diff(firsts)), before)


def differing_folds(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """The folds that only some of the datasets with splits have: joined, they would lack the images of the others."""
    divided = [dataset.splits for dataset in datasets if dataset.splits]
    names = dict.fromkeys(name for splits in divided for name in splits if FOLD.fullmatch(name))
    folds = {name for name in names if all(name in splits for splits in divided)}
    return () if len(folds) == len(names) else tuple(names)


def _splits(datasets: Sequence[Dataset], firsts: Rows) -> dict[str, Rows]:
    left_out = differing_folds(datasets)
    names = dict.fromkeys(name for dataset in datasets for name in dataset.splits if name not in left_out)
    return {
        name: np.concatenate([
            dataset.splits[name] + first
            for dataset, first in zip(datasets, firsts, strict=False)
            if name in dataset.splits
        ])
        for name in names
    }  # fmt: skip


def union_of_labels(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """All labels, in the order of a list that has all of them, else sorted."""
    every = {label for labels in lists for label in labels}
    return next((labels for labels in lists if every <= set(labels)), tuple(sorted(every)))


def spellings(datasets: Sequence[Dataset]) -> list[Spelling]:
    """Labels that differ only in case, spaces, hyphens and underscores from one with more objects."""
    objects: dict[str, Counter[str]] = defaultdict(Counter)  # normalized label -> spellings
    for dataset in datasets:
        counts = np.bincount(dataset.objects.label, minlength=len(dataset.labels))
        for label, number in zip(dataset.labels, counts.tolist(), strict=True):
            objects[_comparable(label)][label] += number
    return [
        Spelling(i, label, most)
        for i, dataset in enumerate(datasets)
        for label in dataset.labels
        if (most := max(objects[_comparable(label)].items(), key=lambda item: (item[1], item[0]))[0]) != label
    ]


def source_names(roots: Sequence[Path]) -> tuple[str, ...]:
    """A unique name for every folder: its last component, numbered where folders share it."""
    bases = [root.resolve().name or "set" for root in roots]
    times = Counter(folded(base) for base in bases)
    taken = {key for key, number in times.items() if number == 1}
    names = []
    for base in bases:
        name = base
        if times[folded(base)] > 1:
            name = next(n for n in (f"{base}{number}" for number in count(1)) if folded(n) not in taken)
            taken.add(folded(name))
        names.append(name)
    return tuple(names)


def _comparable(label: str) -> str:
    folded = unicodedata.normalize("NFKC", label).casefold()
    return "".join(c for c in folded if not (c.isspace() or c in "-_")) or folded


def _unique_stems(sources: Sequence[NamedDataset]) -> tuple[tuple[str, ...], dict[int, str]]:
    """A unique stem for every image, and the original stems of those that changed."""
    times = Counter(key for source in sources for key in {folded(stem) for stem in source.dataset.images.stems})
    taken = {key for key, count in times.items() if count == 1}
    stems: list[str] = []
    before = {}
    for source in sources:
        for stem in source.dataset.images.stems:
            if times[folded(stem)] > 1:
                before[len(stems)] = stem
                folder, slash, name = stem.rpartition("/")
                stem = _free_stem(f"{folder}{slash}{source.name}_{name}", taken)
                taken.add(folded(stem))
            stems.append(stem)
    return tuple(stems), before


def _free_stem(stem: str, taken: set[str]) -> str:
    numbered = (f"{stem}_{number}" for number in count(2))
    return next(name for name in chain([stem], numbered) if folded(name) not in taken)


def _merged_images(tables: Sequence[Images], stems: tuple[str, ...], below: Sequence[PurePosixPath]) -> Images:
    return Images(
        stems,
        tuple((folder / file).as_posix() for table, folder in zip(tables, below, strict=True) for file in table.files),
        np.concatenate([table.widths for table in tables]),
        np.concatenate([table.heights for table in tables]),
        tuple(
            (folder / source).as_posix() if source else ""
            for table, folder in zip(tables, below, strict=True)
            for source in table.sources
        ),
        Texts.join([table.extra for table in tables]),
        np.concatenate([table.exif for table in tables]),
        np.concatenate([table.upright for table in tables]),
    )


def _objects(
    datasets: Sequence[Dataset], labels: tuple[str, ...], poses: tuple[str, ...], firsts: Rows, *, lines: bool
) -> Objects:
    """The concatenated object tables; without `lines`, positions in the sources become unknown."""
    label_id, pose_id = ({name: i for i, name in enumerate(names)} for names in (labels, poses))
    tables = []
    for dataset, first in zip(datasets, firsts, strict=False):
        objects = dataset.objects
        new_labels = np.array([label_id[label] for label in dataset.labels], np.int32)
        new_poses = np.array([pose_id[pose] for pose in dataset.poses], np.int16)
        tables.append(
            replace(
                objects,
                image=objects.image + np.int32(first),
                label=new_labels[objects.label] if len(objects) else objects.label,
                pose=new_poses[objects.pose],
                line=objects.line if lines else np.zeros_like(objects.line),
            )
        )
    columns = {
        name: np.concatenate([getattr(table, name) for table in tables])
        for name in Objects.__slots__
        if name not in ("segmentation", "extra")
    }
    return Objects(
        **columns,
        segmentation=Texts.join([table.segmentation for table in tables]),
        extra=Texts.join([table.extra for table in tables]),
    )
