"""A dataset in memory with its splits: read, split, count, write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from vocdet.api.annotated import AnnotatedImage, dataset_html
from vocdet.data import dataset as columns
from vocdet.data.checks.masks import mask_findings
from vocdet.data.findings import raise_errors
from vocdet.errors import ArgumentError
from vocdet.formats import cache
from vocdet.formats.scan import CoordinatesChoice, Crowds, FormatChoice, Scan, Source
from vocdet.workflows.convert import ImageMode, WriteOptions, WrittenFormat, check_target, write_dataset
from vocdet.workflows.load import Loaded, clean_scan, usable_scan
from vocdet.workflows.split import SplitFiles, SplitOptions, append_to_split, split_dataset, write_image_sets

Data: TypeAlias = "Dataset | str | Path"  # a dataset in memory, or the path of one


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dataset(columns.Dataset):
    """Annotated images with their splits: read-only columns in memory; images stay on disk.

    `images` and `objects` are tables (row i is image or object i), `splits` the rows of the image table in train, val,
    test and trainval. `dataset[i]` is one image with its objects, `dataset.subset(rows)` a smaller dataset. In a
    notebook it shows some of its images with their annotations.

    >>> dataset = vocdet.read("shelf")
    >>> dataset
    <dataset shelf: 12 images, 24 objects, 2 labels (circle, square); train 8, val 2, test 2>
    >>> dataset[0].objects.box.shape
    (2, 4)
    >>> dataset.subset(dataset.splits["test"])
    <dataset shelf: 2 images, 4 objects, 2 labels (circle, square); train 0, val 0, test 2>
    """

    source: Source | None = None  # where it was read from; None: created in memory
    scan: Scan | None = None  # the result of reading it

    def __getitem__(self, row: int) -> AnnotatedImage:
        one = columns.Dataset.__getitem__(self, row)
        values: dict[str, Any] = {each.name: getattr(one, each.name) for each in fields(columns.AnnotatedImage)}
        return AnnotatedImage(**values, labels=self.labels)

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return (self[row] for row in range(len(self)))

    def _repr_html_(self) -> str:
        return dataset_html(self, self.__getitem__)


def read(
    source: str | Path,
    *,
    format: FormatChoice = "auto",
    labels: str | Path | None = None,
    coordinates: CoordinatesChoice = "auto",
    crowds: Crowds = "ignore",
    skip_bad: bool = False,
) -> Dataset:
    """Read a dataset: a folder (VOC, labelImg, COCO, YOLO, labelme, CVAT, VIA, CSV), a COCO file, or YOLO's data.yaml.

    `labels` is a text file that lists the labels in order; by default they are sorted. `coordinates` of VOC files are
    zero-based (labelImg) or one-based (the VOC devkit); auto detects that. `crowds` (COCO's `iscrowd`) are regions to
    ignore, or objects like any other. The errors in the files are raised together; `check` lists them, too. With
    `skip_bad`, what has an error is left out instead, broken images included.

    >>> dataset = vocdet.read("shelf")
    >>> dataset.labels
    ('circle', 'square')
    >>> {name: len(rows) for name, rows in dataset.splits.items()}
    {'train': 8, 'val': 2, 'test': 2}
    """
    where = as_source(source, format=format, labels=labels, coordinates=coordinates, crowds=crowds, skip_bad=skip_bad)
    scan = cache.read(where)
    # the scan has all errors, so that training knows what was left out
    dataset = clean_scan(scan, skip_bad=True).scan.dataset if skip_bad else scan.dataset
    return _public(dataset, where, scan)


def split(
    dataset: Data,
    *,
    trainval: float | None = None,
    train: float | None = None,
    seed: int = 0,
    stratify: bool = True,
    group_by: Sequence[str] | None = None,
    kfold: int = 0,
    keep_test: bool = False,
    append: bool = False,
) -> Dataset:
    """Split a dataset into train, val and test: returns a new dataset, and writes nothing.

    `trainval` is the share of all images for train and val together, `train` the share of trainval for train: both
    0.9, or with `append` the current ones. With `stratify` every split has its share of the objects of each label.
    Identical images and near-duplicates stay in one split; `group_by` chooses other groups: "folder", "similar",
    "identical", or a regular expression on the stem. With `keep_test` the test split of the dataset is unchanged, and
    only the images of its trainval, train and val are divided; without any of these, all that are not in test.
    `kfold` adds the splits `fold1_train`, `fold1_val`, … of trainval. With `append` only images without a split are
    assigned, to train, val or test. The same seed gives the same splits; `write_splits` saves them.

    >>> dataset = vocdet.split(vocdet.read("shelf"), trainval=0.75, seed=1)
    >>> {name: len(rows) for name, rows in dataset.splits.items()}
    {'trainval': 9, 'train': 8, 'val': 1, 'test': 3}
    """
    whole = as_dataset(dataset)
    options = SplitOptions(trainval, train, seed, stratify, group_by, kfold, keep_test)
    divide = append_to_split if append else split_dataset
    report = divide(as_loaded(whole), options, SplitFiles(force=True, dry_run=True))
    splits = dict(report.splits)
    for k, fold in enumerate(report.folds, 1):
        splits |= {f"fold{k}_train": np.setdiff1d(splits["trainval"], fold), f"fold{k}_val": fold}
    return replace(whole, splits=splits)


def write_splits(dataset: Dataset, *, per_label: bool = False, force: bool = False) -> tuple[Path, ...]:
    """Write the splits of a dataset as ImageSets/Main/<split>.txt in its folder, and return the files.

    `per_label` adds VOC's `<label>_<split>.txt`. Raises a `SplitError` if files exist, unless `force` replaces them.

    >>> dataset = vocdet.split(vocdet.read("shelf"), seed=1)
    >>> [path.name for path in vocdet.write_splits(dataset, force=True)]
    ['trainval.txt', 'train.txt', 'val.txt', 'test.txt']
    """
    return write_image_sets(as_loaded(dataset), SplitFiles(per_label, force)).files


def write(
    dataset: Data, path: str | Path, *, format: WrittenFormat = "voc", images: ImageMode = "copy", strict: bool = False
) -> Dataset:
    """Write a dataset with its splits as a new folder in another format, and return the dataset there.

    Images are copied, hard-linked (`images="link"`), or not moved (`images="none"`). What the format cannot hold is
    left out; with `strict` that is an `OutputError`. The folder appears whole, or not at all.

    >>> dataset = vocdet.write(vocdet.read("shelf"), "shelf_coco", format="coco")
    >>> dataset
    <dataset shelf_coco: 12 images, 24 objects, 2 labels (circle, square); train 8, val 2, test 2>
    """
    whole, target = as_dataset(dataset), Path(path)
    check_target(target, [whole.root])
    raise_errors(mask_findings(whole))
    write_dataset(whole, target, format, WriteOptions(images, strict))
    return read(target, format=format) if images != "none" else replace(whole, source=None, scan=None)


def as_source(
    data: Data,
    *,
    format: FormatChoice = "auto",
    labels: str | Path | None = None,
    coordinates: CoordinatesChoice = "auto",
    crowds: Crowds = "ignore",
    skip_bad: bool = False,
) -> Source:
    """The source at a path. A dataset in memory is an `ArgumentError`: functions on files cannot take one."""
    if isinstance(data, str | Path):
        return Source(Path(data), format, Path(labels) if labels is not None else None, coordinates, crowds, skip_bad)
    problem = f"this takes the path of a dataset, not a {type(data).__name__}"
    raise ArgumentError(problem, hint="write it first: `vocdet.write(dataset, path)`")


def as_dataset(data: Data) -> Dataset:
    """A dataset in memory: itself, or read from its path."""
    return data if isinstance(data, Dataset) else read(data)


def as_loaded(data: Data, *, without_objects: bool = False) -> Loaded:
    """A dataset in the form that training and evaluation use; without any object, only on request."""
    dataset = as_dataset(data)
    scan = dataset.scan or Scan(dataset, (), kind="a dataset in memory")
    return usable_scan(replace(scan, dataset=dataset), dataset.source, without_objects=without_objects)


def _public(dataset: columns.Dataset, source: Source | None, scan: Scan | None) -> Dataset:
    values: dict[str, Any] = {each.name: getattr(dataset, each.name) for each in fields(columns.Dataset)}
    return Dataset(**values, source=source, scan=scan)
