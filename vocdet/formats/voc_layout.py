"""Where the files of a VOC or labelImg dataset lie. Nothing outside the dataset's folder is ever opened."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vocdet.data.checks import Finding
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import AnnotationError, Place, VocdetError

ANNOTATION_FOLDERS = ("annotations", "annotation", "xmls", "xml")
IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img")

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
    """Find annotations and images below `root`; an error where there are none, or several datasets to choose from."""
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise VocdetError(problem, place=root, hint="give the folder that holds your annotated images")
    folders = _subfolders(root)
    if not (_has_xml(root) or _annotation_folder(folders)):
        inner = [folder for folder in folders if _annotation_folder(_subfolders(folder))]
        if len(inner) == 1:
            return find_layout(inner[0])
        if inner:
            names = ", ".join(folder.name for folder in inner)
            raise VocdetError(f"holds several datasets: {names}", place=root, hint=f"name one, as in {inner[0]}")
    layout = Layout(root)
    annotations = _annotation_folder(folders)
    if annotations is not None:
        images = [folder for folder in folders if folder.name.lower() in IMAGE_FOLDERS]
        _collect(layout, annotations, images=False, annotations=True)
        for folder in images or [annotations, root]:
            _collect(layout, folder, images=True, annotations=False)
    else:
        parts = [] if _has_xml(root) else [folder for folder in folders if _has_xml(folder)]
        for folder in parts or [root]:
            _collect(layout, folder, images=True, annotations=True)
    if not layout.annotations and not layout.findings:
        count = sum(map(len, layout.images.values()))
        problem = f"no annotations found beside {count} images" if count else "no annotations found"
        raise AnnotationError(problem, place=root, hint=_LAYOUTS)
    layout.annotations.sort()
    return layout


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


def _collect(layout: Layout, folder: Path, *, images: bool, annotations: bool) -> None:
    if not _inside(layout, folder):
        return
    prefix = "" if folder == layout.root else folder.relative_to(layout.root).as_posix() + "/"
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = PurePosixPath(entry.name)
            stem, suffix = name.stem, name.suffix.lower()
            if entry.name[0] == "." or not entry.is_file():
                continue
            if entry.is_symlink() and not _inside(layout, Path(entry.path)):
                continue
            if suffix == ".xml":
                if annotations:
                    layout.annotations.append(prefix + entry.name)
            elif images and suffix in IMAGE_SUFFIXES:
                layout.images.setdefault(stem, []).append(prefix + entry.name)
            elif images:
                layout.others[stem] = prefix + entry.name


def _inside(layout: Layout, path: Path) -> bool:
    """Whether a path stays in the dataset's folder once links are followed; a finding where it does not."""
    if path.resolve().is_relative_to(layout.root.resolve()):
        return True
    hint = "copy what it points to into the dataset"
    layout.findings.append(
        Finding("path.outside", "error", "is a link that leads out of the dataset", Place(path), hint)
    )
    return False


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()
