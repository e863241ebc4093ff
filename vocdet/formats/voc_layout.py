"""Where the files of a VOC or labelImg dataset lie. Nothing outside the dataset's folder is ever opened."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vocdet.data.checks import Finding, counted
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import AnnotationError, Place, VocdetError

ANNOTATION_FOLDERS = ("annotations", "annotation", "xmls", "xml")
IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img")

_OUTSIDE = "is a link that leads out of the dataset"
_COPY = "copy what it points to into the dataset"
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8
_LAYOUTS = "a VOC folder has Annotations/ and JPEGImages/, a labelImg folder has each XML beside its image"


@dataclass(slots=True)
class Layout:
    """The files of a dataset, by paths relative to its root with forward slashes."""

    root: Path
    annotations: list[str] = field(default_factory=list)  # sorted
    images: dict[str, list[str]] = field(default_factory=dict)  # by stem
    others: dict[str, str] = field(default_factory=dict)  # stem -> a file of no format that is decoded
    findings: list[Finding] = field(default_factory=list)
    _folded: dict[str, list[str]] = field(default_factory=dict)  # as images, by stems that look the same

    def images_of(self, stem: str) -> list[str]:
        """The images that may belong to an annotation: of the same stem, else of one that only looks different."""
        if stem in self.images:
            return self.images[stem]
        if not self._folded:
            for other, files in self.images.items():
                self._folded.setdefault(_folded(other), []).extend(files)
        return self._folded.get(_folded(stem), [])


def find_layout(root: Path) -> Layout:
    """Find annotations and images below `root`; an error where either is missing, or there are several datasets."""
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise VocdetError(problem, place=root, hint="give the folder that holds your annotated images")
    try:
        layout = _find(root)
    except OSError as error:
        problem = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise VocdetError(problem, place=Path(error.filename or root), hint="see whether you may read it") from error
    count = sum(map(len, layout.images.values()))
    if not layout.annotations and not layout.findings:
        problem = f"no annotations found beside {counted(count, 'image')}" if count else "no annotations found"
        raise AnnotationError(problem, place=layout.root, hint=_LAYOUTS)
    if not (layout.images or layout.others or layout.findings):
        hint = "give the folder that holds both annotations and images"
        problem = f"no images found for {counted(len(layout.annotations), 'annotation')}"
        raise AnnotationError(problem, place=layout.root, hint=hint)
    layout.annotations.sort()
    return layout


def _find(root: Path) -> Layout:
    folders = _subfolders(root)
    annotations = _annotation_folder(folders)
    images = [folder for folder in folders if folder.name.lower() in IMAGE_FOLDERS]
    if annotations is not None:
        return _collected(root, [annotations], images or [annotations, root])
    if _has_xml(root):
        return _collected(root, [root], [root, *images])
    inner = [folder for folder in folders if _annotation_folder(_subfolders(folder)) and _leads_inside(folder, root)]
    if len(inner) == 1:
        return _find(inner[0])
    if inner:
        names = ", ".join(folder.name for folder in inner)
        raise VocdetError(f"holds several datasets: {names}", place=root, hint=f"name one, as in {inner[0]}")
    parts = [folder for folder in folders if _has_xml(folder)]
    return _collected(root, parts, parts or [root, *images])


def _subfolders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _has_xml(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(".xml") and entry.name[0] != "." for entry in entries)


def _annotation_folder(folders: list[Path]) -> Path | None:
    for folder in folders:
        if folder.name.lower() in ANNOTATION_FOLDERS:
            inner = _annotation_folder(_subfolders(folder))
            if _has_xml(folder) or inner is None:
                return folder
            return inner
    return None


def _collected(root: Path, annotations: list[Path], images: list[Path]) -> Layout:
    layout = Layout(root)
    for folder in annotations:
        for _, suffix, file in _files(layout, folder):
            if suffix == ".xml":
                layout.annotations.append(file)
    for folder in images:
        for stem, suffix, file in _files(layout, folder):
            if suffix in IMAGE_SUFFIXES:
                layout.images.setdefault(stem, []).append(file)
            elif suffix != ".xml":
                layout.others[stem] = file
    layout.findings = list(dict.fromkeys(layout.findings))
    return layout


def _files(layout: Layout, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Stem, suffix in small letters, and path from the root of the files in a folder that may be opened, sorted."""
    if not _leads_inside(folder, layout.root):
        layout.findings.append(Finding("path.outside", "error", _OUTSIDE, Place(folder), _COPY))
        return
    prefix = "" if folder == layout.root else folder.relative_to(layout.root).as_posix() + "/"
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if entry.name[0] != "." and entry.is_file()), key=_entry_name)
    for entry in found:
        name = PurePosixPath(entry.name)
        if _NO_TEXT.search(entry.name):
            problem = f"holds a file whose name is no text: {entry.name!a}"
            layout.findings.append(Finding("path.name", "error", problem, Place(folder), "rename it, and its XML"))
        elif entry.is_symlink() and not _leads_inside(Path(entry.path), layout.root):
            layout.findings.append(Finding("path.outside", "error", _OUTSIDE, Place(Path(entry.path)), _COPY))
        else:
            yield name.stem, name.suffix.lower(), prefix + entry.name


def _entry_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _leads_inside(path: Path, root: Path) -> bool:
    """Whether a path stays in a folder once links are followed."""
    return path.resolve().is_relative_to(root.resolve())


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()
