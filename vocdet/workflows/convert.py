"""From one format to another: nothing lost in silence, nothing half-written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vocdet.data.checks import Finding, box_findings, counted, raise_errors
from vocdet.data.dataset import Dataset
from vocdet.data.mask_areas import mask_areas
from vocdet.data.mask_checks import mask_findings
from vocdet.errors import AnnotationError, OutputError
from vocdet.files import appearing, unwritable
from vocdet.formats import coco_write, image_sets, reading, voc_write, yolo_write
from vocdet.formats.coordinates import Asked, Coordinates
from vocdet.formats.image_index import safe_relative
from vocdet.formats.losses import Loss
from vocdet.formats.reading import AskedForm
from vocdet.formats.scan import Progress, Scan

Target = Literal["voc", "coco", "yolo"]
ImageMode = Literal["copy", "link", "none"]
Parts = Mapping[str, NDArray[np.int64]]


_TARGETS: dict[Target, Callable[[Dataset, Parts], tuple[str, ...]]] = {
    "voc": voc_write.image_targets,
    "coco": coco_write.image_targets,
    "yolo": yolo_write.image_targets,
}


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A dataset in its new folder."""

    folder: Path
    to: Target
    images: int  # files that were copied or linked
    copied: int  # of them those that were to be linked and could not
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ConvertReport:
    """What was read, and what became of it."""

    scan: Scan
    dataset: Dataset  # what was written
    parts: dict[str, NDArray[np.int64]]
    warnings: tuple[Finding, ...]
    left_out: tuple[Finding, ...]  # errors whose entries were left out, as asked
    others: tuple[str, ...]  # formats the source also looks like
    written: Written


def convert(
    source: Path,
    target: Path,
    *,
    to: Target,
    form: AskedForm = "auto",
    images: ImageMode = "copy",
    strict: bool = False,
    skip_bad: bool = False,
    labels: Path | None = None,
    coordinates: Asked = "auto",
    write_coordinates: Coordinates | None = None,
    progress: Progress | None = None,
) -> ConvertReport:
    """Write the dataset `source` as the new folder `target` in the format `to`: all of it, or nothing.

    Errors in the source are raised together, unless `skip_bad` leaves out the entries that have them. `strict`
    refuses a format that cannot hold all there is. VOC files get the numbers they had, unless `write_coordinates`
    says otherwise. `progress` counts files as they are read, then images as they are put in place.
    """
    looks = reading.recognise(source) if form == "auto" else form
    others = reading.also(source, looks) if form == "auto" else ()
    found = reading.scan(source, form=looks, labels=labels, coordinates=coordinates, bare=images == "none",
                         progress=progress)  # fmt: skip
    dataset = found.dataset
    parts, odd = image_sets.read_parts(found)
    measured = mask_areas(dataset.objects.segmentation)
    findings = [*found.findings, *odd, *box_findings(dataset), *mask_findings(dataset, measured)]
    # An empty box, or one outside its image, is wrong but can be written: it is neither lost nor mended here.
    stopping = [one for one in findings if one.severity == "error" and not one.code.startswith("box.")]
    if not skip_bad:
        raise_errors(stopping)
    if not len(dataset):
        raise AnnotationError("no image with annotations can be read", place=source, hint="run vocdet check")
    written = write_dataset(dataset, parts, target, to=to, images=images, strict=strict,
                            coordinates=write_coordinates, areas=measured.area, progress=progress)  # fmt: skip
    warnings = tuple(one for one in findings if one not in stopping)
    return ConvertReport(found, dataset, parts, warnings, tuple(stopping), others, written)


def write_dataset(
    dataset: Dataset,
    parts: Parts,
    target: Path,
    *,
    to: Target,
    images: ImageMode = "copy",
    strict: bool = False,
    coordinates: Coordinates | None = None,
    areas: NDArray[np.float64] | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write a dataset as a new folder: all of it, or nothing. `OutputError` where something cannot be written.

    The images are copied, linked (copied where the disk knows no hard links), or left where they are. `areas` are
    those of the masks (M,), as `mask_areas` measures them, where that has been done.
    """
    targets = _TARGETS[to](dataset, parts)
    _check_targets(dataset, targets)
    with appearing(target) as folder:
        usual = areas if areas is not None else mask_areas(dataset.objects.segmentation).area
        if to == "voc":
            losses = voc_write.write(folder, dataset, parts, targets, usual, coordinates=coordinates)
        elif to == "coco":
            losses = coco_write.write(folder, dataset, parts, targets, usual)
        else:
            losses = yolo_write.write(folder, dataset, parts, targets)
        if strict and losses:
            listed = "; ".join(f"{loss.count} × {loss.what}" for loss in losses)
            raise OutputError(f"{to} cannot hold all there is: {listed}", place=target, hint="leave out --strict")
        put, copied = _place_images(dataset, targets, folder, images, progress)
    return Written(target, to, put, copied, tuple(losses))


def _check_targets(dataset: Dataset, targets: Sequence[str]) -> None:
    """Refuse two images of one name, and names that lead anywhere else: the readers' checks, once more."""
    seen: dict[str, int] = {}
    for row, name in enumerate(targets):
        if safe_relative(name).path != name:
            problem = f"{name[:80]!r} is no name to write an image to"
            raise OutputError(problem, place=dataset.root / dataset.images.files[row], hint="rename the image")
        first = seen.setdefault(name.casefold(), row)
        if first != row:
            problem = f"and {dataset.images.files[first]} would both be {name}"
            raise OutputError(problem, place=dataset.root / dataset.images.files[row], hint="rename one of them")


def _place_images(
    dataset: Dataset, targets: Sequence[str], folder: Path, mode: ImageMode, progress: Progress | None
) -> tuple[int, int]:
    """How many images were put into the folder, and how many of them copied though they were to be linked."""
    if mode == "none":
        return 0, 0
    made: set[Path] = set()
    copied = 0
    put: Callable[[Path, Path], bool] = _link if mode == "link" else _copy
    for row, (file, name) in enumerate(zip(dataset.images.files, targets, strict=True), 1):
        path = folder / name
        try:
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            copied += not put(dataset.root / file, path)
        except OSError as error:
            if error.filename is not None and Path(str(error.filename)) == dataset.root / file:
                problem = f"cannot be copied: {(error.strerror or str(error)).lower()}"
                raise AnnotationError(problem, place=dataset.root / file, hint="see whether you may read it") from error
            raise unwritable(path, error) from error
        if progress is not None:
            progress(row, len(targets))
    return len(targets), copied if mode == "link" else 0


def _copy(source: Path, path: Path) -> bool:
    shutil.copyfile(source, path)
    return True


def _link(source: Path, path: Path) -> bool:
    try:
        os.link(source.resolve(), path)
    except OSError:
        shutil.copyfile(source, path)
        return False
    return True


def summary(dataset: Dataset) -> str:
    """What there is, in words: 3 images, 5 objects, 2 labels."""
    sizes = (len(dataset), "image"), (len(dataset.objects), "object"), (len(dataset.labels), "label")
    return ", ".join(counted(*size) for size in sizes)
