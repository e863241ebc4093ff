"""Any dataset as a `Dataset`: its format is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from vocdet.data.findings import raise_errors
from vocdet.errors import VocdetError
from vocdet.formats.coco import layout as coco_files
from vocdet.formats.coco import read as coco_json
from vocdet.formats.labelme import read as labelme
from vocdet.formats.scan import Progress, Scan
from vocdet.formats.source import FORMATS, FormatName, Source
from vocdet.formats.voc import image_sets
from vocdet.formats.voc import layout as voc_layout
from vocdet.formats.voc import read as voc_tree
from vocdet.formats.yolo import read as yolo
from vocdet.wording import reason


def read(
    source: Source,
    *,
    without_images: bool = False,
    without_split_files: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """As `scan`, of a dataset that is all in order; else every error that was found is raised, together."""
    found = scan(source, without_images=without_images, without_split_files=without_split_files, progress=progress)
    raise_errors(found.findings)
    return found


def scan(
    source: Source,
    *,
    without_images: bool = False,
    without_split_files: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """Read what is readable of a folder or a COCO file; every problem in it becomes a finding.

    With `without_images` the images may all be missing. Splits are those of ImageSets; without it, or with
    `without_split_files`, what the format says. Raises a `DatasetError` if the source is not a dataset of the format,
    or of any known format.
    """
    found = _scan(source, without_images, progress)
    if without_split_files:
        return found
    splits, findings = image_sets.read_splits(found)
    return replace(found, dataset=replace(found.dataset, splits=splits), findings=(*found.findings, *findings))


def _scan(source: Source, without_images: bool, progress: Progress | None) -> Scan:
    path, labels = source.path, source.labels
    chosen = recognize(path) if source.format == "auto" else source.format
    if chosen == "voc":
        return voc_tree.scan(
            path,
            labels=labels,
            coordinates=source.coordinates,
            without_images=without_images,
            progress=progress,
        )
    return _READERS[chosen](path, labels=labels, without_images=without_images, progress=progress)


_READERS: Mapping[FormatName, Callable[..., Scan]] = MappingProxyType(
    {"coco": coco_json.scan, "yolo": yolo.scan, "labelme": labelme.scan}
)
_LOOKS: Mapping[FormatName, Callable[[Path], str]] = MappingProxyType(
    {
        "voc": voc_layout.looks_like,
        "coco": coco_files.looks_like,
        "yolo": yolo.looks_like,
        "labelme": labelme.looks_like,
    }
)


def recognize(path: Path) -> FormatName:
    """The format of a dataset; of several in one folder the first of voc, coco, yolo and labelme.

    A folder in which none is found is `voc`, whose reader says what it missed.
    """
    if path.is_file():
        return _of_file(path)
    return next((format for format in FORMATS if path.is_dir() and _looks_like(path, format)), "voc")


def also(path: Path, format: FormatName) -> tuple[FormatName, ...]:
    """What else a folder in which `format` was recognised has: a COCO file beside XMLs."""
    return ("coco",) if format == "voc" and path.is_dir() and _looks_like(path, "coco") else ()


def _looks_like(path: Path, format: FormatName) -> str:
    """Why a folder looks like a format; "" where it does not."""
    try:
        return _LOOKS[format](path)
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise VocdetError(problem, place=Path(error.filename or path), hint="see whether you may read it") from error


def _of_file(path: Path) -> FormatName:
    suffix = path.suffix.lower()
    if suffix in (".json", ".yaml", ".yml"):  # the reader says why, where it is none
        return "coco" if suffix == ".json" else "yolo"
    raise VocdetError("is a file, not a dataset", place=path, hint="give the folder, a COCO file, or YOLO's data.yaml")
