"""Convert a dataset to another format: every loss is reported, and nothing is written by halves."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vocdet.data.axis_maps import as_shown
from vocdet.data.checks.boxes import box_findings
from vocdet.data.checks.masks import mask_findings
from vocdet.data.dataset import Dataset
from vocdet.data.embedded import on_disk
from vocdet.data.findings import Finding
from vocdet.data.losses import Loss
from vocdet.data.mask_areas import mask_areas
from vocdet.data.usable import NOTHING, LeftOut, refuse, without_errors, without_mismatched
from vocdet.errors import ArgumentError, DatasetError, ImageError, OutputError
from vocdet.file_names import folded
from vocdet.files import appearing, check_new, unwritable
from vocdet.formats import registry
from vocdet.formats.images.lookup import safe_relative, split_suffix
from vocdet.formats.scan import Coordinates, Progress, Scan, Source
from vocdet.formats.shared.settled import rescaled
from vocdet.wording import counted, listed, reason
from vocdet.workflows.load import broken_images

WrittenFormat = Literal["voc", "coco", "yolo", "yolo-seg", "labelme", "csv"]
ImageMode = Literal["copy", "link", "none"]

_DRIVE_INSIDE = re.compile(r"(^|/)[A-Za-z]:")  # a:b.jpg is a path on Windows

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # shutil attributes these errors to the source file


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a dataset is written."""

    images: ImageMode = "copy"  # copy the images, hard-link them, or do not move them
    strict: bool = False  # refuse a format that cannot hold everything
    coordinates: Coordinates | None = None  # of VOC files; None: those of the source


@dataclass(frozen=True, slots=True, eq=False)
class WrittenFolder:
    """The new folder of a dataset."""

    folder: Path
    to: WrittenFormat
    images: int  # image files copied or linked
    copied: int  # copied although links were requested
    targets: tuple[str, ...]  # the image path of every row in the folder, even without image files
    losses: tuple[Loss, ...]

    def __repr__(self) -> str:
        lost = listed((f"{loss.count} {loss.what}" for loss in self.losses), most=4)
        return f"<{self.to} in {self.folder}: {counted(len(self.targets), 'image')}{f', lost: {lost}' if lost else ''}>"


@dataclass(frozen=True, slots=True, eq=False)
class ConvertReport:
    """What a conversion read, and what it wrote."""

    scan: Scan
    dataset: Dataset  # what was written
    warnings: tuple[Finding, ...]
    left_out: LeftOut  # on request, because of errors
    others: tuple[str, ...]  # other formats whose files annotate its images
    written: WrittenFolder

    def __repr__(self) -> str:
        return f"<converted {self.scan.dataset.root}: {self.written!r}>"


def convert(
    source: Source,
    target: Path,
    to: WrittenFormat,
    options: WriteOptions = WriteOptions(),
    *,
    rescale: bool = False,
    progress: Progress | None = None,
) -> ConvertReport:
    """Write the dataset `source` as the new folder `target` in the format `to`: all of it, or nothing.

    Errors in the source are raised together, those of images included unless they are not moved; with
    `source.skip_bad`, what has an error is left out instead, so that `check` finds none in the new folder. `rescale`
    scales the boxes of images that were resized after their annotation, where their stated size shows how. `progress`
    counts files read, images decoded, and images written.
    """
    check_target(target, [source.path])
    if options.coordinates is not None and to != "voc":
        problem = f"`write_coordinates={options.coordinates!r}` is for VOC files: {to} has no choice of coordinates"
        raise ArgumentError(problem, hint="leave it out")
    scan = registry.scan(source, without_images=options.images == "none", progress=progress)
    scan = rescaled(scan) if rescale else scan
    dataset = scan.dataset
    check_target(target, [dataset.root])  # for a source file, the root may be further up
    measured = mask_areas(dataset.objects.segmentation)
    boxes = box_findings(without_mismatched(dataset, scan.findings))
    findings = [*scan.findings, *boxes, *mask_findings(dataset, measured)]
    warnings = tuple(finding for finding in findings if finding.severity != "error")
    errors = [finding for finding in findings if finding.severity == "error"]
    errors += broken_images(dataset, errors, progress) if options.images != "none" else []
    left_out = NOTHING
    if errors:
        if not source.skip_bad:
            refuse(dataset, errors)
        dataset, left_out = without_errors(dataset, errors)
        measured = mask_areas(dataset.objects.segmentation)
    if not len(dataset):
        raise DatasetError("has no readable annotations", place=source.path, hint="run `vocdet.check(dataset)`")
    written = write_dataset(dataset, target, to, options, areas=measured.area, progress=progress)
    return ConvertReport(scan, dataset, warnings, left_out, scan.others, written)


def check_target(target: Path, sources: Sequence[Path]) -> None:
    """Refuse a target that exists, or that is inside a dataset and would be read with it."""
    check_new(target)
    for source in sources:
        root = source.parent if source.is_file() else source
        try:
            inside = target.resolve().is_relative_to(root.resolve())
        except (OSError, RuntimeError) as error:  # circular links
            raise OutputError(f"cannot be written: {error}", place=target, hint="name another folder") from error
        if inside:
            problem = f"is inside {root} and would be read as part of it"
            raise OutputError(problem, place=target, hint="name a folder outside it")


def write_dataset(
    dataset: Dataset,
    target: Path,
    to: WrittenFormat,
    options: WriteOptions = WriteOptions(),
    *,
    areas: NDArray[np.float64] | None = None,
    progress: Progress | None = None,
) -> WrittenFolder:
    """Write a dataset as a new folder: all of it, or nothing. Raises an `OutputError` if that fails.

    Images are copied instead of hard-linked if the disk has no hard links. `areas` are the areas of the masks (M,), if
    `mask_areas` has measured them.
    """
    format = registry.find_format(to, writable=True)
    dataset = dataset if format.stored else as_shown(dataset)
    targets = format.writer.image_targets(dataset)
    _check_names(dataset, targets, with_suffixes=not format.file_per_image)
    with appearing(target) as folder:
        usual = areas if areas is not None else mask_areas(dataset.objects.segmentation).area
        losses = format.writer.write(folder, dataset, targets, usual, coordinates=options.coordinates)
        if options.strict and losses:
            losses_text = "; ".join(f"{loss.count} × {loss.what}" for loss in losses)
            raise OutputError(
                f"{to} cannot hold everything: {losses_text}", place=target, hint="leave out `strict=True`"
            )
        placed, copied = _write_images(dataset, targets, folder, options.images, progress)
    return WrittenFolder(target, to, placed, copied, targets, tuple(losses))


def _check_names(dataset: Dataset, targets: Sequence[str], *, with_suffixes: bool) -> None:
    """Refuse duplicate names, and names that lead out of the folder, as the readers do.

    Names are compared as on case-insensitive disks; their suffixes count only in formats that have no annotation
    file for each image.
    """
    row_of: dict[str, int] = {}
    for row, name in enumerate(targets):
        key = name if with_suffixes else split_suffix(name)[0]
        first = row_of.setdefault(folded(key), row)
        if safe_relative(name).path != name or (":" in name and _DRIVE_INSIDE.search(name)):
            problem, hint = f"{name[:80]!r} is not a portable image name", "rename the image"
        elif first != row:
            problem = f"would be named {key}, which on some disks is the name of {dataset.images.files[first]}"
            hint = "rename one of them"
        else:
            continue
        raise OutputError(problem, place=dataset.root / dataset.images.files[row], hint=hint)


def _write_images(
    dataset: Dataset, targets: Sequence[str], folder: Path, mode: ImageMode, progress: Progress | None
) -> tuple[int, int]:
    """The number of images written, and of those copied although links were requested."""
    if mode == "none":
        return 0, 0
    folders: set[Path] = set()
    copied = 0
    put: Callable[[Path, Path], bool] = _link if mode == "link" else _copy_image
    for row, (file, name) in enumerate(zip(dataset.images.files, targets, strict=True), 1):
        path, source = folder / name, Path(on_disk(dataset.root / file))
        try:
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            copied += put(source, path)
        except OSError as error:
            if error.filename is not None and Path(error.filename) == source and error.errno not in _DISK_FULL:
                hint = "check that it exists, and its permissions"
                raise ImageError(f"cannot be copied: {reason(error)}", place=source, hint=hint) from error
            raise unwritable(path, error) from error
        if progress is not None:
            progress(row, len(targets))
    return len(targets), copied if mode == "link" else 0


def _copy_image(source: Path, path: Path) -> bool:
    shutil.copyfile(source, path)
    return True


def _link(source: Path, path: Path) -> bool:
    try:
        os.link(source.resolve(), path)
    except OSError:
        return _copy_image(source, path)
    return False


def summary(dataset: Dataset) -> str:
    """The size of a dataset: 3 images, 5 objects, 2 labels."""
    sizes = (len(dataset), "image"), (len(dataset.objects), "object"), (len(dataset.labels), "label")
    return ", ".join(counted(*size) for size in sizes)
