"""From a folder to a dataset that can be trained on: read, check, clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vocdet.data.checks.images import image_findings
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, raise_split_errors
from vocdet.data.usable import NOTHING, LeftOut, all_errors, refuse, usable, without_errors
from vocdet.errors import AnnotationError, DatasetError
from vocdet.formats import registry
from vocdet.formats.image_folder import scan_plain_images
from vocdet.formats.scan import Progress, Scan, Source


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A dataset to train and evaluate with."""

    dataset: Dataset  # boxes clipped to their images, none under a pixel
    warnings: tuple[Finding, ...]
    scan: Scan  # the result of reading it
    source: Source | None = None  # where it was read from; None: created in memory
    left_out: LeftOut = NOTHING  # on request, because of errors

    @property
    def path(self) -> Path:
        """The path of the dataset."""
        return self.source.path if self.source else self.dataset.root

    def record(self) -> dict[str, str | bool | None]:
        """The source, for the record of a run."""
        return (self.source or Source(self.dataset.root)).record()


@dataclass(frozen=True, slots=True, eq=False)
class Clean:
    """A dataset as it was read, without errors."""

    scan: Scan  # whose findings are warnings
    left_out: LeftOut


def load_dataset(source: Source | Loaded, *, split: str | None = None, without_objects: bool = False) -> Loaded:
    """Read a dataset with its splits; the errors in its files are raised together. One in memory is returned.

    With `source.skip_bad`, what has an error is left out instead.

    With `split`, that split must exist, have images (see `Dataset.rows`) and, for a fold, files without errors. With
    `without_objects`, the dataset may have no objects, and even be a folder of images without annotations.
    """
    plain = without_objects and isinstance(source, Source) and source.format == "auto"
    if plain and isinstance(source, Source) and registry.has_no_annotations(source.path):
        loaded = usable_scan(scan_plain_images(source.path), source, without_objects=True)
    else:
        loaded = read_usable(source, without_objects=without_objects)
    if split is not None:
        raise_split_errors(loaded.warnings, split)
        loaded.dataset.rows(split)
    findings = tuple(one for one in loaded.warnings if one.code != "imagesets.empty")  # `Dataset.rows` refuses these
    return replace(loaded, warnings=findings)


def read_usable(
    source: Source | Loaded,
    progress: Progress | None = None,
    *,
    without_split_files: bool = False,
    without_objects: bool = False,
) -> Loaded:
    """The objects to train and evaluate with; a dataset in memory is returned.

    With `without_split_files`, ImageSets is not read, so that it may hold errors.
    """
    if isinstance(source, Loaded):
        return source
    from vocdet.formats import cache  # loads safetensors, which writing a dataset does not need

    scan = cache.read(source, without_split_files=without_split_files, progress=progress)
    return usable_scan(scan, source, progress, without_objects=without_objects)


def usable_scan(
    scan: Scan, source: Source | None, progress: Progress | None = None, *, without_objects: bool = False
) -> Loaded:
    """A dataset that has been read, as training and evaluation use it; without any object, only on request."""
    clean = clean_scan(scan, skip_bad=source is not None and source.skip_bad, progress=progress)
    scan = clean.scan
    if not len(scan.dataset.objects) and not without_objects:
        hint = "annotate some images in labelImg first"
        raise AnnotationError("no objects in any annotation", place=scan.dataset.root, hint=hint)
    dataset, changes = usable(scan.dataset)
    return Loaded(dataset, (*scan.findings, *changes), replace(scan, dataset=dataset), source, clean.left_out)


def read_clean(source: Source, *, without_images: bool = False, progress: Progress | None = None) -> Clean:
    """Read a dataset to write another one from it: the errors are raised together, or left out as `source` says."""
    scan = registry.read(source, without_images=without_images, progress=progress)
    return clean_scan(scan, skip_bad=source.skip_bad, decode=not without_images, progress=progress)


def clean_scan(scan: Scan, *, skip_bad: bool, decode: bool = True, progress: Progress | None = None) -> Clean:
    """The scan without what has an error; without `skip_bad`, errors are raised together.

    With both `skip_bad` and `decode`, every image is decoded, so that `check` finds no error in what remains.
    """
    dataset = scan.dataset
    errors = all_errors(dataset, scan.findings)
    if not skip_bad:
        refuse(dataset, errors)
        return Clean(scan, NOTHING)
    errors += broken_images(dataset, errors, progress) if decode else []
    rest, left_out = without_errors(dataset, errors)
    if not len(rest):
        hint = "`vocdet.check(dataset)` lists what is wrong with each"
        raise DatasetError("no image can be used", place=dataset.root, hint=hint)
    warnings = tuple(finding for finding in scan.findings if finding.severity != "error")
    gone = dict.fromkeys(set(dataset.images.stems).difference(rest.images.stems), "")
    return Clean(replace(scan, dataset=rest, findings=warnings, left_out={**scan.left_out, **gone}), left_out)


def broken_images(dataset: Dataset, known: Sequence[Finding], progress: Progress | None) -> list[Finding]:
    """Decode every image; return the errors of those that no known finding is about."""
    paths = {finding.place.path for finding in known}
    findings = image_findings(dataset, progress)
    return [one for one in findings if one.severity == "error" and one.place.path not in paths]
