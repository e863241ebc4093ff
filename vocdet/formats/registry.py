"""The annotation formats: one entry for each, and the only place that lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vocdet.data.crowds import crowds_as_objects
from vocdet.data.dataset import Dataset
from vocdet.data.findings import raise_errors
from vocdet.data.losses import Loss
from vocdet.errors import ArgumentError, DatasetError
from vocdet.formats.scan import Progress, Scan
from vocdet.formats.source import Coordinates, FormatName, Source
from vocdet.wording import did_you_mean, listed, reason


class LayoutModule(Protocol):
    """`layout.py` of a format."""

    def looks_like(self, path: Path) -> str:
        """Why a folder looks like one of this format; "" where it does not."""


class ReadModule(Protocol):
    """`read.py` of a format."""

    def scan(self, source: Source, *, without_images: bool, progress: Progress | None) -> Scan:
        """Read what is readable; every problem becomes a finding."""


class WriteModule(Protocol):
    """`write.py` of a format."""

    def image_targets(self, dataset: Dataset) -> tuple[str, ...]:
        """The path of every image from the folder of the new dataset."""

    def write(
        self,
        folder: Path,
        dataset: Dataset,
        targets: Sequence[str],
        areas: NDArray[np.float64],
        *,
        coordinates: Coordinates | None,
    ) -> list[Loss]:
        """Write the annotations of a dataset, and return what the format cannot hold.

        `areas` are those of the masks (M,), NaN for objects without a valid mask. `coordinates` is for formats that
        have a choice.
        """


@dataclass(frozen=True, slots=True)
class Format:
    """One annotation format. Its modules are imported when they are used."""

    package: str  # with the modules layout and read, and write where the format can be written
    suffixes: tuple[str, ...] = ()  # of files that stand for a whole dataset
    writable: bool = True
    file_per_image: bool = True  # annotations of an image are in a file with its stem
    write: str = "write"  # the module that writes it

    @property
    def layout(self) -> LayoutModule:
        """Recognizes the format."""
        return cast("LayoutModule", import_module(f"{self.package}.layout"))

    @property
    def reader(self) -> ReadModule:
        """Reads the format."""
        return cast("ReadModule", import_module(f"{self.package}.read"))

    @property
    def writer(self) -> WriteModule:
        """Writes the format, which must be writable."""
        return cast("WriteModule", import_module(f"{self.package}.{self.write}"))


# In the order in which they are tried on a folder.
FORMATS: Mapping[FormatName, Format] = MappingProxyType(
    {
        "voc": Format("vocdet.formats.voc"),
        "coco": Format("vocdet.formats.coco", (".json",), file_per_image=False),
        "yolo": Format("vocdet.formats.yolo", (".yaml", ".yml")),
        "yolo-seg": Format("vocdet.formats.yolo", write="write_segments"),  # read as yolo
        "labelme": Format("vocdet.formats.labelme", writable=False),
    }
)
_DEFAULT: FormatName = "voc"  # its reader says what is missing in a folder of no known format


def read(
    source: Source,
    *,
    without_images: bool = False,
    without_split_files: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """Like `scan`, but errors among the findings are raised together."""
    result = scan(source, without_images=without_images, without_split_files=without_split_files, progress=progress)
    raise_errors(result.findings)
    return result


def scan(
    source: Source,
    *,
    without_images: bool = False,
    without_split_files: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """Read what is readable of a folder or a file that stands for a dataset; every problem in it becomes a finding.

    With `without_images` all images may be missing. Splits are those of ImageSets; without it, or with
    `without_split_files`, those of the format itself. A `DatasetError` if the source is not a dataset of the format,
    or of any known format.
    """
    name = recognize(source.path) if source.format == "auto" else source.format
    result = find_format(name).reader.scan(source, without_images=without_images, progress=progress)
    if source.crowds == "objects":
        result = replace(result, dataset=crowds_as_objects(result.dataset))
    if without_split_files:
        return result
    from vocdet.formats.voc import image_sets

    splits, findings = image_sets.read_splits(result)
    return replace(result, dataset=replace(result.dataset, splits=splits), findings=(*result.findings, *findings))


def find_format(name: str, *, writable: bool = False) -> Format:
    """The format of this name; an `ArgumentError` if it is unknown, or cannot be written but should be."""
    names = [known for known, format in FORMATS.items() if format.writable or not writable]
    if name not in names:
        verb = "write" if writable else "read"
        hint = did_you_mean(name, names) or f"use one of {listed(names)}"
        raise ArgumentError(f"cannot {verb} the format {name!r}", hint=hint)
    return FORMATS[name]


def recognize(path: Path) -> FormatName:
    """The format of a dataset: the first in `FORMATS` that it looks like.

    A folder that looks like none is `voc`, whose reader says what is missing.
    """
    if path.is_file():
        return _format_of_file(path)
    return next((name for name in FORMATS if path.is_dir() and _looks_like(path, name)), _DEFAULT)


def also(path: Path, format: FormatName) -> tuple[FormatName, ...]:
    """Other formats in a folder that was recognized as `format`: a COCO file beside XML files."""
    return ("coco",) if format == "voc" and path.is_dir() and _looks_like(path, "coco") else ()


def _looks_like(path: Path, format: FormatName) -> str:
    try:
        return FORMATS[format].layout.looks_like(path)
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise DatasetError(problem, place=Path(error.filename or path), hint="check its permissions") from error


def _format_of_file(path: Path) -> FormatName:
    suffix = path.suffix.lower()
    for name, format in FORMATS.items():
        if suffix in format.suffixes:  # its reader says why, where it cannot be read
            return name
    problem = "is a file, not a dataset"
    raise DatasetError(problem, place=path, hint="use the folder, a COCO file, or the data.yaml of a YOLO dataset")
