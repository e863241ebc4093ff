"""New dataset folders from existing ones: converted, relabeled, merged, sampled, cropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vocdet.api.dataset import as_source
from vocdet.errors import ArgumentError
from vocdet.formats.scan import Coordinates, CoordinatesChoice, Crowds, FormatChoice
from vocdet.wording import counted
from vocdet.workflows import convert as conversion
from vocdet.workflows import crops, reshape
from vocdet.workflows.convert import ConvertReport, ImageMode, WriteOptions, WrittenFormat
from vocdet.workflows.crops import CropOptions, CropsReport
from vocdet.workflows.label_changes import LabelChanges
from vocdet.workflows.reshape import MergeReport, RemapReport, SampleReport


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: WrittenFormat,
    format: FormatChoice = "auto",
    images: ImageMode = "copy",
    strict: bool = False,
    skip_bad: bool = False,
    labels: str | Path | None = None,
    coordinates: CoordinatesChoice = "auto",
    crowds: Crowds = "ignore",
    write_coordinates: Coordinates | None = None,
    rescale: bool = False,
) -> ConvertReport:
    """Convert a dataset to another format, as the new folder `target`: all of it, or nothing.

    Errors in the source are raised together; with `skip_bad`, what has an error is left out:
    `check` finds no error in the new folder.
    `report.written.losses` lists what the format cannot hold; with `strict` that is an `OutputError`.
    `crowds="objects"` writes crowds as objects like any other. `write_coordinates` are the coordinates of VOC files,
    zero or one; by default those of the source. `rescale` scales the boxes and masks of images that were resized after
    their annotation, where the size in the annotation shows how.

    >>> report = vocdet.convert("shelf", "shelf_yolo", to="yolo")
    >>> len(report.dataset)
    12
    """
    where = as_source(source, format=format, labels=labels, coordinates=coordinates, crowds=crowds, skip_bad=skip_bad)
    options = WriteOptions(images, strict, write_coordinates)
    return conversion.convert(where, Path(target), to, options, rescale=rescale)


def remap(
    source: str | Path,
    target: str | Path,
    *,
    format: FormatChoice = "auto",
    rename: Mapping[str, str] | Sequence[str] = (),
    merge: Mapping[str, str] | Sequence[str] = (),
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    file: str | Path | None = None,
    keep_empty: bool = True,
    to: WrittenFormat | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
    skip_bad: bool = False,
) -> RemapReport:
    """Write a copy of a dataset with labels renamed, merged and dropped.

    `rename={"crow": "bird"}`, `merge={"crow,gull": "bird"}`, `drop=["cat"]`, `keep=["bird"]`; `file` has one old=new
    per line. Images that lose all their objects remain, unless `keep_empty` is false.

    >>> report = vocdet.remap("shelf", "shapes", merge={"circle,square": "shape"})
    >>> report.result.dataset.labels
    ('shape',)
    """
    changes = LabelChanges(_renames(rename), _renames(merge), drop, keep, Path(file) if file is not None else None)
    options = WriteOptions(images, strict)
    return reshape.remap_dataset(
        as_source(source, format=format, skip_bad=skip_bad),
        Path(target),
        changes,
        options,
        to=to,
        keep_empty=keep_empty,
    )


def merge(
    sources: Sequence[str | Path],
    target: str | Path,
    *,
    format: FormatChoice | Sequence[FormatChoice] = "auto",
    to: WrittenFormat | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
    skip_bad: bool = False,
) -> MergeReport:
    """Write several datasets as one. Labels are matched by name; stems that clash get a prefix.

    `format` is that of all sources, or one for each. With `strict` a clash is an error.

    >>> report = vocdet.merge(["shelf", "counter"], "store")
    >>> len(report.result.dataset)
    24
    """
    options = WriteOptions(images, strict)
    formats: Sequence[FormatChoice] = [format] * len(sources) if isinstance(format, str) else format
    if len(formats) != len(sources):
        hint = "name one for all, or one for each"
        raise ArgumentError(f"{counted(len(formats), 'format')} for {counted(len(sources), 'dataset')}", hint=hint)
    where = [as_source(source, format=one, skip_bad=skip_bad) for source, one in zip(sources, formats, strict=True)]
    return reshape.merge_datasets(where, Path(target), options, to=to)


def sample(
    source: str | Path,
    target: str | Path,
    count: int,
    *,
    format: FormatChoice = "auto",
    seed: int = 0,
    to: WrittenFormat | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
    skip_bad: bool = False,
) -> SampleReport:
    """Write a sample of `count` images of a dataset, which keeps the shares of labels and splits.

    >>> report = vocdet.sample("shelf", "few", 6)
    >>> report.objects().tolist()
    [[12, 6], [12, 6]]
    """
    options = WriteOptions(images, strict)
    return reshape.sample_dataset(
        as_source(source, format=format, skip_bad=skip_bad), Path(target), count, options, seed=seed, to=to
    )


def crop(
    source: str | Path,
    target: str | Path,
    *,
    format: FormatChoice = "auto",
    splits: Sequence[str] = (),
    margin: float = crops.MARGIN,
    size: int | None = None,
    min_side: float = 0.0,
    png: bool = False,
    skip_bad: bool = False,
) -> CropsReport:
    """Write each object as one picture into `target/<split>/<label>/`: the input of a classifier.

    A crop is a square around a box, with a margin of `margin` times its longer side; `size` resizes it to that many
    pixels. Objects with a side shorter than `min_side` pixels are left out.

    >>> report = vocdet.crop("shelf", "crops", size=64)
    >>> {split: counts.tolist() for split, counts in report.crops.items()}
    {'train': [8, 8], 'val': [2, 2], 'test': [2, 2]}
    """
    options = CropOptions(margin, size, min_side, png)
    return crops.write_crops(as_source(source, format=format, skip_bad=skip_bad), Path(target), options, splits=splits)


def _renames(changes: Mapping[str, str] | Sequence[str]) -> Sequence[str]:
    return [f"{old}={new}" for old, new in changes.items()] if isinstance(changes, Mapping) else changes
