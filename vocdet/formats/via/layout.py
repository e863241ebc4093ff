"""Which files of a folder are VIA's. Nothing outside its folder is opened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vocdet.errors import AnnotationError, DatasetError
from vocdet.files import first_bytes, read_limited
from vocdet.formats.images.folders import first_file, walk
from vocdet.formats.images.lookup import Layout, indexed, split_suffix, stem_of
from vocdet.wording import counted

LARGEST_FILE = 1 << 28  # bytes; a region takes some 200

_SUFFIXES = (".json", ".csv")
_PROJECT = re.compile(rb'"_via_(img_metadata|settings)"\s*:')
_REGIONS = re.compile(rb'"regions"\s*:\s*[\[{]')
_FILE = re.compile(rb'"filename"\s*:\s*"([^"\\]*)"')
_CSV = b"region_shape_attributes"


def find_layout(path: Path, *, without_images: bool = False) -> Layout:
    """Find VIA's files and images below a folder, or beside one file; an error where either is missing."""
    root = path.parent if path.is_file() else path
    if not root.is_dir():
        raise DatasetError(
            "no such file or folder", place=path, hint="use the file of VIA, or the folder that holds it"
        )
    files, findings = walk(root)
    annotations = [path.name] if path.is_file() else [file for file in files if is_via(root / file)]
    if not annotations:
        hint = "export the annotations as JSON or CSV, or save the project"
        raise AnnotationError("no file of VIA found", place=root, hint=hint)
    what, hint = f"{counted(len(annotations), 'file')} of VIA", "use the folder that holds both annotations and images"
    images = indexed(root, files, findings, what, hint=hint, without_images=without_images)
    return Layout(images, annotations, findings)


def looks_like(path: Path) -> str:
    """Why a folder, or a file, looks like VIA's; "" where it does not. Few files are inspected."""
    if path.is_file():
        return "holds regions of images" if is_via(path) else ""
    file = first_file(path, _SUFFIXES, is_via)
    return f"{file} holds regions of images" if file else ""


def annotated(root: Path, files: Sequence[str]) -> list[str]:
    """The stems of the images that VIA's files name."""
    stems: dict[str, None] = {}
    for file in files:
        if not is_via(root / file):
            continue
        try:
            data = read_limited(root / file, LARGEST_FILE)
        except OSError:
            continue
        names = (
            _FILE.findall(data) if file.lower().endswith(".json") else [row.split(b",")[0] for row in data.split(b"\n")]
        )
        stems |= dict.fromkeys(stem_of(name.decode("utf-8", "replace").strip('"')) for name in names)
    return list(stems)


def is_via(path: Path) -> bool:
    """Whether a file begins like one of VIA's."""
    if split_suffix(path.name)[1] not in _SUFFIXES:
        return False
    begin = first_bytes(path, 1 << 14)
    if path.suffix.lower() == ".csv":
        return _CSV in begin.split(b"\n")[0]
    return bool(_PROJECT.search(begin) or (_REGIONS.search(begin) and _FILE.search(begin)))
