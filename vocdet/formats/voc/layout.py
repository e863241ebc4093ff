"""The files of a VOC or labelImg dataset."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vocdet.data.findings import Finding
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import AnnotationError, DatasetError, Place
from vocdet.file_names import folded
from vocdet.formats.images.entries import entries_of
from vocdet.formats.images.folders import is_searched, link_hint, merged, walk
from vocdet.formats.images.lookup import IMAGE_FOLDERS, split_folder, split_suffix, stem_of
from vocdet.formats.shared.values import root_element
from vocdet.wording import counted, listed, reason

ANNOTATION_FOLDERS = ("annotations", "annotation", "xmls", "xml")
MASK_FOLDER = "segmentationobject"

_KINDS = frozenset((*ANNOTATION_FOLDERS, *IMAGE_FOLDERS, "labels", "label"))
_LEVELS = 4  # of folders below a dataset in which XML files are looked for

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
    _stems: dict[str, str] = field(default_factory=dict)  # by image
    _sources: dict[str, str] = field(default_factory=dict)  # annotations by stem
    _named: dict[str, list[str]] = field(default_factory=dict)  # images by the last component of these

    def images_of(self, stem: str) -> list[str]:
        """The candidate images of an annotation: those of its stem, else those whose stem differs just in case, else
        those in any folder whose file name has the stem."""
        if stem in self.images:
            return self.images[stem]
        last = stem.rpartition("/")[2]
        if last in self.images:
            return self.images[last]
        if not self._folded:
            for other, files in self.images.items():
                self._folded.setdefault(folded(other), []).extend(files)
                self._named.setdefault(folded(other).rpartition("/")[2], []).extend(files)
        return self._folded.get(folded(stem)) or self._named.get(folded(last), [])

    def annotation_of(self, file: str) -> str:
        """The annotation with the stem of an image; "" if there is none."""
        if not self._stems:
            self._stems.update((file, stem) for stem, files in self.images.items() for file in files)
            for source, stem in reversed(self.annotations.items()):
                self._sources[stem] = source
        return self._sources.get(self._stems.get(file, ""), "")


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
    found = _folder_with_xml(_annotation_folder(_subfolders(root)) or root, _LEVELS) or _folder_with_xml(root, _LEVELS)
    return "" if found is None else f"XML files in {found.relative_to(root.parent).as_posix()}"


def annotated(root: Path, files: Sequence[str]) -> list[str]:
    """The stems of the XML files with an `<annotation>`."""
    return [
        stem_of(file) for file in files if split_suffix(file)[1] == ".xml" and root_element(root / file) == "annotation"
    ]


def _find(root: Path) -> Layout:
    folders = _subfolders(root)
    annotations = _annotation_folder(folders)
    images = [folder for folder in folders if folder.name.lower() in IMAGE_FOLDERS]
    if annotations is not None and _folder_with_xml(annotations, _LEVELS):
        beside: dict[str, str] = {}
        layout = _collected(root, [annotations], images or [annotations, root], deep=True, beside=beside)
        _add_masks(layout, folders)
        if layout.images:
            return _with_xml_beside(layout, beside)
        elsewhere = _scattered(root, folders)  # the images are in folders of another name, or missing
        return elsewhere if elsewhere.images else layout
    inner = [folder for folder in folders if _annotation_folder(_subfolders(folder))]
    if not _has_xml(root):
        if len(inner) == 1 and not any(map(_has_xml, folders)):
            return _find(inner[0])
        if len(inner) > 1 and not all(split_folder(f"{folder.name}/") for folder in inner):
            names = ", ".join(folder.name for folder in inner)
            hint = f"name one of these folders instead, such as {inner[0]}"
            raise DatasetError(f"holds several datasets: {names}", place=root, hint=hint)
        return _scattered(root, folders)
    layout = _collected(root, [root], [root, *images])
    if any(_folder_with_xml(folder, _LEVELS) for folder in folders):
        return _scattered(root, folders)
    if all(map(layout.images_of, layout.annotations.values())):
        return layout
    deeper = _scattered(root, folders)
    gained = any(deeper.images_of(stem) and not layout.images_of(stem) for stem in deeper.annotations.values())
    return deeper if gained else layout


def _scattered(root: Path, folders: list[Path]) -> Layout:
    """The files in all folders, annotations and images that belong together by their paths.

    The stem of images/film/a.jpg is film/a, like that of annotations/film/a.xml; it is a if no other annotation has
    that name. Only the folders of masks are left out.
    """
    layout = Layout(root)
    xmls: dict[str, str] = {}  # path -> path without the folders of the kind of file
    images: dict[str, list[str]] = {}
    for stem, suffix, file in _files(layout, root, deep=True):
        folder = file.partition("/")[0].lower()
        if "/" in file and folder.startswith("segmentation"):
            continue
        if suffix == ".xml":
            xmls[file] = _without_kinds(stem)
        elif suffix in IMAGE_SUFFIXES:
            images.setdefault(_without_kinds(stem), []).append(file)
        else:
            layout.others[_without_kinds(stem)] = file
    unsure = [file for file, path in xmls.items() if path not in images]
    passed_over = set(unsure).difference(_annotations_among(layout, unsure, alone=len(unsure) == len(xmls)))
    layout.annotations = {file: "" for file in xmls if file not in passed_over}
    times = Counter(xmls[file].rpartition("/")[2] for file in layout.annotations)
    names: dict[str, str] = {}  # path without these folders -> stem
    for file in layout.annotations:
        last = xmls[file].rpartition("/")[2]
        names[xmls[file]] = layout.annotations[file] = sys.intern(last if times[last] == 1 else xmls[file])
    for path, files in images.items():
        layout.images.setdefault(names.get(path, path), []).extend(files)
    _add_masks(layout, folders)
    return layout


def _without_kinds(path: str) -> str:
    """A path without folders such as images and annotations."""
    *folders, name = path.split("/")
    return "/".join([*(folder for folder in folders if folder.lower() not in _KINDS), name])


def _annotations_among(layout: Layout, files: Iterable[str], *, alone: bool = False) -> list[str]:
    """The XML files that are annotations, or might be; a finding names the others.

    All of them if none is one, and there are no other files: reading them reports what they are.
    """
    found: list[str] = []
    others: dict[str, list[str]] = {}
    for file in files:
        element = root_element(layout.root / file)
        (others.setdefault(element, []) if element not in ("annotation", "") else found).append(file)
    if alone and not found:
        return [file for names in others.values() for file in names]
    for element, names in others.items():
        begins = "begins" if len(names) == 1 else "begin"
        problem = f"{listed(names, most=3)} {begins} with <{element[:40]}>, not with <annotation>: not read"
        hint = "move what does not belong to the dataset to another folder"
        layout.findings.append(Finding("xml.other", "warning", problem, Place(layout.root), hint, len(names)))
    return found


def _with_xml_beside(layout: Layout, beside: dict[str, str]) -> Layout:
    """A layout with the annotations that are beside the images, too."""
    if not beside and not _has_xml(layout.root):
        return layout
    at_root = {file: sys.intern(stem) for stem, suffix, file in _files(layout, layout.root) if suffix == ".xml"}
    found = {file: stem for file, stem in (at_root | beside).items() if file not in layout.annotations}
    for file in _annotations_among(layout, found):
        layout.annotations[file] = found[file]
    return layout


def _add_masks(layout: Layout, folders: list[Path]) -> None:
    for folder in folders:
        if folder.name.lower() == MASK_FOLDER:
            found = _files(layout, folder, deep=True)
            layout.masks |= {stem: file for stem, suffix, file in found if suffix == ".png"}


def _folder_with_xml(folder: Path, levels: int) -> Path | None:
    """The first folder with XML files among this one and those below it, as far as these many levels."""
    if _has_xml(folder):
        return folder
    below = (_folder_with_xml(child, levels - 1) for child in _subfolders(folder)) if levels else ()
    return next(filter(None, below), None)


def _subfolders(root: Path) -> list[Path]:
    folders = (root / name for name in entries_of(root).folders)
    return [folder for folder in folders if is_searched(folder)]


def _has_xml(folder: Path) -> bool:
    return ".xml" in entries_of(folder).suffixes


def _annotation_folder(folders: list[Path]) -> Path | None:
    """The annotation folder among these."""
    for folder in folders:
        if folder.name.lower() in ANNOTATION_FOLDERS:
            inner = _annotation_folder(_subfolders(folder))
            if _has_xml(folder) or inner is None:
                return folder
            return inner
    return None


def _collected(
    root: Path,
    annotations: list[Path],
    images: list[Path],
    *,
    deep: bool = False,
    beside: dict[str, str] | None = None,
) -> Layout:
    """The annotations and images in these folders; annotations among the images go to `beside`."""
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
            elif beside is not None:
                beside[file] = sys.intern(stem)
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
