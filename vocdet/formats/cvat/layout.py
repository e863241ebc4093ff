"""Which XML files of a folder are CVAT's own. Nothing outside its folder is opened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vocdet.errors import AnnotationError, DatasetError
from vocdet.files import read_limited
from vocdet.formats.images.folders import first_file, walk
from vocdet.formats.images.lookup import Layout, images_among, indexed, split_suffix, stem_of
from vocdet.formats.shared.values import root_element
from vocdet.wording import counted

LARGEST_FILE = 1 << 28  # bytes; an object takes some 200

_ROOT = "annotations"
_NAME = re.compile(rb"""<image\b[^>]*?\bname\s*=\s*["']([^"'<>]*)["']""")
_FRAME = re.compile(rb"""\bframe\s*=\s*["'](\d{1,9})["']""")
_NUMBER = re.compile(r"(\d{1,9})$", re.ASCII)
_FOLDERS = ("annotations", "annotation")


def find_layout(root: Path, *, without_images: bool = False) -> Layout:
    """Find CVAT's XML files and images below a folder; an error where either is missing."""
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise DatasetError(problem, place=root, hint="use the folder that holds annotations.xml and the images")
    files, findings = walk(root)
    annotations = [file for file in files if _is_cvat(root / file)]
    if not annotations:
        hint = "export the task as CVAT for images 1.1, or CVAT for video 1.1"
        raise AnnotationError("no XML file of CVAT found", place=root, hint=hint)
    what, hint = f"{counted(len(annotations), 'XML file')} of CVAT", "export with images, or put them into the folder"
    images = indexed(root, files, findings, what, hint=hint, without_images=without_images)
    return Layout(images, annotations, findings)


def looks_like(folder: Path) -> str:
    """Why a folder looks like an export of CVAT: an XML file in it that begins with <annotations>; "" otherwise."""
    file = first_file(folder, (".xml",), _is_cvat) if folder.is_dir() else ""
    return f"{file} begins with <{_ROOT}>" if file else ""


def annotated(root: Path, files: Sequence[str]) -> list[str]:
    """The stems of the images that CVAT's files name, or number."""
    stems: dict[str, None] = {}
    for file in files:
        if not _is_cvat(root / file):
            continue
        try:
            data = read_limited(root / file, LARGEST_FILE)
        except OSError:
            continue
        stems |= dict.fromkeys(stem_of(name.decode("utf-8", "replace")) for name in _NAME.findall(data))
        if b"<track" in data:
            frames = {int(number) for number in _FRAME.findall(data)}
            images = images_among(files)
            numbered = [image for image in images if frame_number(image) in frames]
            stems |= dict.fromkeys(map(stem_of, numbered or images))  # or in their order
    return list(stems)


def frame_number(image: str) -> int | None:
    """The number at the end of the stem of an image, as in frame_000012.png."""
    match = _NUMBER.search(split_suffix(image)[0])
    return int(match[1]) if match else None


def _is_cvat(path: Path) -> bool:
    return path.suffix.lower() == ".xml" and root_element(path) == _ROOT
