"""Checks that read the images themselves: broken files, wrong suffixes, copies."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from vocdet.data import image_files
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.data.image_headers import Header
from vocdet.data.source_terms import SourceTerms, terms_of
from vocdet.errors import ImageError, Place
from vocdet.file_names import folded


def image_findings(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Decode every image to its last byte and list its problems."""
    from concurrent.futures import ThreadPoolExecutor  # loads logging

    size_of = zip(dataset.images.widths.tolist(), dataset.images.heights.tolist(), strict=True)
    terms = (terms_of(dataset, row) for row in range(len(dataset)))
    paths = (dataset.root / file for file in dataset.images.files)
    jobs = list(zip(paths, size_of, dataset.images.upright.tolist(), terms, strict=True))
    findings: list[Finding] = []
    with image_files.quiet_decoder(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, new in enumerate(pool.map(_check_image, jobs), 1):
            findings += new
            if progress is not None:
                progress(done, len(jobs))
    return findings


def _check_image(job: tuple[Path, tuple[int, int], bool, SourceTerms]) -> list[Finding]:
    from vocdet.data.decoding import check_pixels  # loads OpenCV

    path, size, upright, terms = job
    try:
        header = image_files.read_header(path)
        check_pixels(path)
    except ImageError as error:
        return [Finding("image.corrupt", "error", error.problem, Place(path), terms.replace_image(error.hint))]
    findings = []
    if path.suffix.lower() not in image_files.SUFFIXES[header.format]:
        proper = image_files.SUFFIXES[header.format][0]
        problem = f"is a {header.format} file by its content, not what {path.suffix} says"
        hint = f"rename it to {path.stem}{proper}: other tools trust the name"
        findings.append(Finding("image.suffix", "warning", problem, Place(path), hint))
    if header.orientation != 1:
        findings += _exif_findings(path, header, size, upright=upright)
    return findings


def _exif_findings(path: Path, header: Header, size: tuple[int, int], *, upright: bool) -> list[Finding]:
    """A finding for an image with an EXIF orientation; none if its size is neither that of the file nor turned."""
    stored, orientation = (header.width, header.height), header.orientation
    if upright and size == (stored[::-1] if orientation >= 5 else stored):
        width, height = size
        problem = f"its EXIF orientation ({orientation}) is applied: the image is read as shown, {width}×{height}"
        hint = "save it upright, without EXIF: tools that ignore EXIF misplace its boxes"
    elif size == stored and not upright:
        problem = f"its EXIF orientation ({orientation}) is not applied: the image is read as stored"
        hint = "look at its boxes in labelImg; if they do not fit, save it upright, without EXIF"
    else:
        return []
    return [Finding("image.orientation", "warning", problem, Place(path), hint)]


def stem_findings(dataset: Dataset) -> list[Finding]:
    """Stems that differ only in case or Unicode form: on Windows and macOS, one file would overwrite the other."""
    alike: dict[str, list[int]] = defaultdict(list)
    for row, stem in enumerate(dataset.images.stems):
        alike[folded(stem)].append(row)
    findings = []
    for first, *others in (rows for rows in alike.values() if len(rows) > 1):
        for row in others:
            problem = f"the stem {dataset.images.stems[row]!r} differs in case or accents alone from "
            problem += repr(dataset.images.stems[first])
            hint = "rename one, and its annotation: on Windows and macOS they are the same file"
            place = Place(dataset.root / dataset.images.files[row])
            findings.append(Finding("image.stem_alike", "warning", problem, place, hint))
    return findings
