"""New dataset folders out of others: converted, with other labels, merged, sampled, cropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vocdet.api.dataset import as_source
from vocdet.formats.source import Coordinates, CoordinatesChoice, FormatChoice
from vocdet.workflows import convert as conversion
from vocdet.workflows import crops, reshape
from vocdet.workflows.convert import ConvertReport, ImageMode, Target
from vocdet.workflows.crops import CropsReport
from vocdet.workflows.reshape import MergeReport, RemapReport, SampleReport


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: Target,
    format: FormatChoice = "auto",
    images: ImageMode = "copy",
    strict: bool = False,
    skip_bad: bool = False,
    labels: str | Path | None = None,
    coordinates: CoordinatesChoice = "auto",
    write_coordinates: Coordinates | None = None,
) -> ConvertReport:
    """Convert a dataset to another format, as the new folder `target`: all of it, or nothing.

    Errors in the source are raised together; `skip_bad` leaves out what has them. `report.written.losses` lists what
    the format cannot hold; with `strict` that is an `OutputError`. `write_coordinates` are those of VOC files: zero or
    one, by default those of the source.

    >>> report = vocdet.convert("shelf", "shelf_yolo", to="yolo")
    >>> len(report.dataset)
    12
    """
    where = as_source(source, format=format, labels=labels, coordinates=coordinates)
    return conversion.convert(
        where, Path(target), to=to, images=images, strict=strict, skip_bad=skip_bad, write_coordinates=write_coordinates
    )


def remap(
    source: str | Path,
    target: str | Path,
    *,
    rename: Mapping[str, str] | Sequence[str] = (),
    merge: Mapping[str, str] | Sequence[str] = (),
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    file: str | Path | None = None,
    keep_empty: bool = True,
    to: Target | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
) -> RemapReport:
    """Write a copy of a dataset with labels renamed, merged and dropped.

    `rename={"crow": "bird"}`, `merge={"crow,gull": "bird"}`, `drop=["cat"]`, `keep=["bird"]`; `file` has a line
    old=new for each label. Images without objects stay, unless `keep_empty` is false.

    >>> report = vocdet.remap("shelf", "shapes", merge={"circle,square": "shape"})
    >>> report.made.dataset.labels
    ('shape',)
    """
    return reshape.remap_dataset(
        as_source(source), Path(target), rename=_pairs(rename), merge=_pairs(merge), drop=drop, keep=keep,
        file=Path(file) if file is not None else None, keep_empty=keep_empty, to=to, images=images, strict=strict,
    )  # fmt: skip


def merge(
    sources: Sequence[str | Path],
    target: str | Path,
    *,
    to: Target | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
) -> MergeReport:
    """Write several datasets as one. Labels of the same name are one label; stems that clash get a prefix.

    With `strict` a clash is an error.

    >>> report = vocdet.merge(["shelf", "counter"], "store")
    >>> len(report.made.dataset)
    24
    """
    return reshape.merge_datasets(
        [as_source(source) for source in sources], Path(target), to=to, images=images, strict=strict
    )


def sample(
    source: str | Path,
    target: str | Path,
    count: int,
    *,
    seed: int = 0,
    to: Target | None = None,
    images: ImageMode = "copy",
    strict: bool = False,
) -> SampleReport:
    """Write `count` images of a dataset, in which every label and split has its share.

    >>> report = vocdet.sample("shelf", "few", 6)
    >>> report.objects().tolist()
    [[12, 6], [12, 6]]
    """
    return reshape.sample_dataset(
        as_source(source), Path(target), count, seed=seed, to=to, images=images, strict=strict
    )


def crop(
    source: str | Path,
    target: str | Path,
    *,
    splits: Sequence[str] = (),
    margin: float = crops.MARGIN,
    size: int | None = None,
    min_side: float = 0.0,
    png: bool = False,
) -> CropsReport:
    """Write every object as a picture of its own, into `target/<split>/<label>/`: the input of a classifier.

    A crop is the square around a box with `margin` of its longer side on all sides, at `size` pixels if that is given.

    >>> report = vocdet.crop("shelf", "crops", size=64)
    >>> {split: counts.tolist() for split, counts in report.crops.items()}
    {'train': [8, 8], 'val': [2, 2], 'test': [2, 2]}
    """
    return crops.write_crops(
        as_source(source), Path(target), splits=splits, margin=margin, size=size, smallest=min_side, lossless=png
    )


def _pairs(changes: Mapping[str, str] | Sequence[str]) -> Sequence[str]:
    return [f"{old}={new}" for old, new in changes.items()] if isinstance(changes, Mapping) else changes
