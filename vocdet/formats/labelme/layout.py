"""Where the files of a labelme dataset are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vocdet.data.embedded import LARGEST_FILE, suffix_of_embedded
from vocdet.data.findings import Finding
from vocdet.errors import AnnotationError, DatasetError, Place
from vocdet.files import first_bytes, read_limited
from vocdet.formats.images.folders import first_file, irregular, link_hint, walk
from vocdet.formats.images.lookup import ImageIndex, images_among, indexed, split_suffix, stem_of
from vocdet.wording import counted

_LABELME_KEYS = re.compile(rb'"(shapes|imagePath|imageData)"\s*:')
_SEARCHED = 4096  # bytes, which have one of the keys, whatever their order
_INSPECTED_FILES = 50  # files of a folder


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a dataset, by paths relative to its root with forward slashes."""

    images: ImageIndex
    annotations: list[str]  # sorted
    findings: list[Finding]
    unreadable: frozenset[str] = frozenset()  # folders and devices with the name of a labelme file


def find_layout(root: Path, *, without_images: bool = False) -> Layout:
    """Find images and labelme files below a folder; an error where either is missing.

    A JSON file is one of labelme's where it begins like one, or has the stem of an image. With `without_images` all
    images may be missing.
    """
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise DatasetError(problem, place=root, hint="use the folder of the annotated images")
    files, findings = walk(root)
    images = images_among(files)
    stems = {split_suffix(image)[0] for image in images}
    annotations = [
        file
        for file in files
        if split_suffix(file)[1] == ".json" and (split_suffix(file)[0] in stems or is_labelme(root / file))
    ]
    unreadable = irregular(root, {file.rpartition("/")[0] for file in files}, ".json")
    unreadable = {path: what for path, what in unreadable.items() if split_suffix(path)[0] in stems}
    for path, what in unreadable.items():
        hint = "put the labelme file in its place, or delete it"
        findings.append(Finding("json.unreadable", "error", f"is {what}, not a file", Place(root / path), hint))
    if not annotations:
        problem = "no labelme files found"
        problem += f" beside {counted(len(images), 'image')}" if images else ""
        hint = link_hint(findings, "a labelme folder has a JSON file beside each image")
        raise AnnotationError(problem, place=root, hint=hint)
    optional = bool(images) or without_images or any(_holds_image(root / file) for file in annotations)
    what, hint = counted(len(annotations), "annotation"), "use the folder that holds both annotations and images"
    index = indexed(root, images, findings, what, hint=hint, without_images=optional)
    return Layout(index, annotations, findings, frozenset(unreadable))


def looks_like(folder: Path) -> str:
    """Why a folder looks like one of labelme's; "" where it does not. Few files are inspected."""
    file = first_file(folder, (".json",), is_labelme, levels=2, most=_INSPECTED_FILES) if folder.is_dir() else ""
    return f"{file} holds shapes of an image" if file else ""


def annotated(root: Path, files: Sequence[str]) -> list[str]:
    """The stems of the labelme files."""
    return [stem_of(file) for file in files if split_suffix(file)[1] == ".json" and is_labelme(root / file)]


def _holds_image(path: Path) -> bool:
    try:
        return bool(suffix_of_embedded(read_limited(path, LARGEST_FILE)))
    except OSError:
        return False


def is_labelme(path: Path) -> bool:
    """Whether a JSON file begins like one of labelme's."""
    return bool(_LABELME_KEYS.search(first_bytes(path, _SEARCHED)))
