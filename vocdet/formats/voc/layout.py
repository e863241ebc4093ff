"""The files of a VOC or labelImg dataset."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vocdet.data.findings import Finding
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import AnnotationError, DatasetError
from vocdet.formats.folders import is_kind, is_searched, link_hint, merged, walk
from vocdet.formats.images import IMAGE_FOLDERS, split_suffix, stem_of
from vocdet.formats.values import root_element
from vocdet.wording import counted, reason

ANNOTATION_FOLDERS = ("annotations", "annotation", "xmls", "xml")
MASK_FOLDER = "segmentationobject"

_LAYOUTS = "a VOC folder has Annotations/ and JPEGImages/, a labelImg folder has each XML beside its image"


@dataclass(slots=True)
class Layout:
    """The files of a dataset, by paths relative to its root with forward slashes."""

    root: Path
    annotations: dict[str, str] = field(default_factory=dict)  # path -> stem, in ascending order
    images: dict[str, list[str]] = field(default_factory=dict)  # by stem
    masks: dict[str, str] = field(default_factory=dict)  # stem -> PNG in SegmentationObject
    others: dict[str, str] = field(default_factory=dict)  # stem -> a file of another kind
    findings: list[Finding] = field(default_factory=list)
    _folded: dict[str, list[str]] = field(default_factory=dict)  # images by stems without case

    def images_of(self, stem: str) -> list[str]:
        """The candidate images of an annotation: those of its stem, else those whose stem differs just in case."""
        if stem in self.images:
            return self.images[stem]
        if "/" in stem and (last := stem.rpartition("/")[2]) in self.images:
            return self.images[last]
        if not self._folded:
            for other, files in self.images.items():
                self._folded.setdefault(_folded(other), []).extend(files)
        return self._folded.get(_folded(stem), [])


def find_layout(root: Path, *, without_images: bool = False) -> Layout:
    """Find annotations and images below `root`.

    DatasetError if there are no annotations, no images (unless `without_images`), or several datasets.
    """
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise DatasetError(problem, place=root, hint="give the folder that holds your annotated images")
    try:
        layout = _find(root)
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise DatasetError(problem, place=Path(error.filename or root), hint="check its permissions") from error
    layout.findings = list(merged(layout.findings))
    count = sum(map(len, layout.images.values()))
    failed = any(finding.severity == "error" for finding in layout.findings)
    if not layout.annotations and not failed:
        problem = f"no annotations found beside {counted(count, 'image')}" if count else "no annotations found"
        raise AnnotationError(problem, place=layout.root, hint=link_hint(layout.findings, _LAYOUTS))
    if not (layout.images or layout.others or failed or without_images):
        hint = link_hint(layout.findings, "give the folder that holds both annotations and images")
        problem = f"no images found for {counted(len(layout.annotations), 'annotation')}"
        raise AnnotationError(problem, place=layout.root, hint=hint)
    layout.annotations = dict(sorted(layout.annotations.items()))
    return layout


def looks_like(root: Path) -> str:
    """Where a VOC or labelImg folder has its XML files, as the reason to read it as VOC; "" if it has none."""
    folders = _subfolders(root)
    annotations = _annotation_folder(folders)
    inner = (_annotation_folder(_subfolders(folder)) for folder in folders)
    places = [annotations] if annotations is not None else [root, *folders, *(folder for folder in inner if folder)]
    found = next((place for place in places if _any_xml(place)), None)
    return "" if found is None else f"XML files in {found.relative_to(root.parent).as_posix()}"


def annotated(root: Path, files: Sequence[str]) -> list[str]:
    """The stems of the XML files with an `<annotation>`."""
    return [
        stem_of(file) for file in files if split_suffix(file)[1] == ".xml" and root_element(root / file) == "annotation"
    ]


def _any_xml(folder: Path) -> bool:
    if _has_xml(folder):
        return True
    if folder.name.lower() not in ANNOTATION_FOLDERS:
        return False
    return any(_has_xml(child) or any(map(_has_xml, _subfolders(child))) for child in _subfolders(folder))


def _find(root: Path) -> Layout:
    folders = _subfolders(root)
    annotations = _annotation_folder(folders)
    images = [folder for folder in folders if folder.name.lower() in IMAGE_FOLDERS]
    if annotations is not None:
        layout = _collected(root, [annotations], images or [annotations, root], deep=True)
        for folder in folders:
            if folder.name.lower() == MASK_FOLDER:
                found = _files(layout, folder, deep=True)
                layout.masks = {stem: file for stem, suffix, file in found if suffix == ".png"}
        return layout
    if _has_xml(root):
        return _collected(root, [root], [root, *images])
    inner = [folder for folder in folders if _annotation_folder(_subfolders(folder))]
    if len(inner) == 1:
        return _find(inner[0])
    if inner:
        names = ", ".join(folder.name for folder in inner)
        raise DatasetError(f"holds several datasets: {names}", place=root, hint=f"give one of them, as in {inner[0]}")
    splits = [folder for folder in folders if _has_xml(folder)]
    return _collected(root, splits, splits or [root, *images])


def _subfolders(root: Path) -> list[Path]:
    with os.scandir(root) as entries:
        folders = sorted(Path(entry.path) for entry in entries if entry.name[0] != "." and is_kind(entry.is_dir))
    return [folder for folder in folders if is_searched(folder)]


def _has_xml(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(".xml") and entry.name[0] != "." for entry in entries)


def _annotation_folder(folders: list[Path]) -> Path | None:
    """The annotation folder among these."""
    for folder in folders:
        if folder.name.lower() in ANNOTATION_FOLDERS:
            inner = _annotation_folder(_subfolders(folder))
            if _has_xml(folder) or inner is None:
                return folder
            return inner
    return None


def _collected(root: Path, annotations: list[Path], images: list[Path], *, deep: bool = False) -> Layout:
    layout = Layout(root)
    for folder in annotations:
        for stem, suffix, file in _files(layout, folder, deep=deep):
            if suffix == ".xml":
                layout.annotations[file] = sys.intern(stem)  # shared with its image
    for folder in images:
        for stem, suffix, file in _files(layout, folder, deep=deep and folder != root):
            if suffix in IMAGE_SUFFIXES:
                layout.images.setdefault(sys.intern(stem), []).append(file)
            elif suffix != ".xml":
                layout.others[stem] = file
    return layout


def _files(layout: Layout, folder: Path, *, deep: bool = False) -> Iterator[tuple[str, str, str]]:
    """Stem, lower-case suffix and path from the root of the files in a folder, sorted.

    With `deep`, subfolders are searched too; the stem is then the path from the folder, without suffix.
    """
    inside = "" if folder == layout.root else folder.relative_to(layout.root).as_posix()
    files, findings = walk(layout.root, [inside], deep=deep)
    layout.findings += findings
    skipped = len(inside) + 1 if inside else 0
    for file in files:
        yield (*split_suffix(file[skipped:]), file)


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()
