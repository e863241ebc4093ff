"""The images of a dataset: finding them by the names in its annotations, and their sizes.

A name in a file never leads out of the folder of the dataset. A link in the folder does (see `folders`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from vocdet.data import image_files
from vocdet.data.findings import Finding
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.data.source_terms import SourceTerms
from vocdet.errors import AnnotationError, ImageError, Place
from vocdet.file_names import folded
from vocdet.formats.images.entries import NOT_TEXT
from vocdet.formats.images.facts import MARKS, ImageFacts, Stated, size_finding
from vocdet.formats.images.folders import link_hint, walk

IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img")

_SPLITS = {"train": "train", "training": "train", "valid": "val", "val": "val", "validation": "val", "test": "test",
          "testing": "test"}  # fmt: skip
_SPLIT_FOLDER = re.compile(rf"({'|'.join(_SPLITS)})(?:(?:19|20)\d\d)?")
BY_FOLDER = "; splits by the names of the folders"  # after the kind of a dataset
_MOST_OTHERS = 1  # folders beside a single one that is a split
_DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Name:
    """A file name from an annotation file, as far as it is safe to follow."""

    path: str  # relative, with forward slashes, without . and ..; "" if it is unsafe
    last: str  # its last component, to look up inside the dataset; "" if that is unsafe, too
    code: str = ""  # why it is unsafe: path.absolute, path.traversal, path.name (control characters), path.empty


def safe_relative(text: str) -> Name:
    r"""Normalize a file name: `.\train\a.jpg` becomes train/a.jpg. Absolute names and names with `..` are unsafe."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    if NOT_TEXT.search(text):
        return Name("", "", "path.name")
    if not parts:
        return Name("", "", "path.absolute" if text.strip()[:1] in ("/", "\\") else "path.empty")
    last = "" if parts[-1] == ".." else _DRIVE.sub("", parts[-1])
    if ".." in parts:
        return Name("", last, "path.traversal")
    if text[0] in "/\\" or _DRIVE.match(parts[0]):
        return Name("", last, "path.absolute")
    return Name("/".join(parts), last) if last.strip() else Name("", "", "path.empty")


def split_suffix(file: str) -> tuple[str, str]:
    """Split a path into its stem and its suffix in lower case: a/b.v2.JPG gives a/b.v2 and .jpg."""
    name = file.rpartition("/")[2]
    dot = name.rfind(".")
    if dot <= 0 or dot == len(name) - 1:
        return file, ""
    cut = len(file) - len(name) + dot
    return file[:cut], file[cut:].lower()


def stem_of(file: str) -> str:
    """The stem of a file name: a/b.v2.JPG gives b.v2."""
    return split_suffix(file)[0].rpartition("/")[2]


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """The images of a dataset. Lookups access no files."""

    root: Path
    files: tuple[str, ...]  # paths relative to the root, with forward slashes, sorted
    findings: tuple[Finding, ...] = ()

    def exact(self, name: str) -> str | None:
        """The image with this relative path, else the only one whose path differs just in case or Unicode form."""
        if name in self._exact:
            return name
        similar = self._folded_files.get(folded(name), [])
        return similar[0] if len(similar) == 1 else None

    def by_stem(self, stem: str) -> list[str]:
        """All images with this stem, in any folder; else those whose stem differs just in case or Unicode form."""
        return list(self._stems.get(stem) or self._folded_stems.get(folded(stem), []))

    def ending_in(self, name: str) -> list[str]:
        """All images whose path ends in `name`, as x/a/b.jpg ends in a/b.jpg; an exact match wins over another case."""
        ending = "/" + folded(name)
        same_name = self._names.get(ending.rpartition("/")[2], ())
        found = [file for file in same_name if ("/" + folded(file)).endswith(ending)]
        return [file for file in found if ("/" + file).endswith("/" + name)] or found

    @cached_property
    def shares_names(self) -> bool:
        """Whether images in different folders have the same file name."""
        return len(self._names) < len(self.files)

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _folded_files(self) -> dict[str, list[str]]:
        return self._by(folded)

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        return self._by(lambda file: folded(file.rpartition("/")[2]))

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        return self._by(stem_of)

    @cached_property
    def _folded_stems(self) -> dict[str, list[str]]:
        return self._by(lambda file: folded(stem_of(file)))

    def _by(self, key: Callable[[str], str]) -> dict[str, list[str]]:
        table = defaultdict[str, list[str]](list)
        for file in self.files:
            table[key(file)].append(file)
        return dict(table)


def find_images(root: Path, folders: Sequence[str] | None = None) -> ImageIndex:
    """Index the images below these folders of `root`; None: all of it."""
    files, findings = walk(root, ("",) if folders is None else folders)
    return ImageIndex(root, tuple(images_among(files)), tuple(findings))


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a dataset, each of whose annotation files is of many images."""

    images: ImageIndex
    annotations: list[str]  # from the root
    findings: list[Finding]


def indexed(
    root: Path,
    files: Iterable[str],
    findings: Iterable[Finding],
    annotations: str,
    *,
    hint: str,
    without_images: bool = False,
) -> ImageIndex:
    """The images among the files of a dataset; an `AnnotationError` if there are none for its `annotations`.

    `findings` are those of `walk`: with links that lead nowhere, the images may be there, not yet fetched.
    """
    images = images_among(files)
    if not images and not without_images:
        raise AnnotationError(f"no images found for {annotations}", place=root, hint=link_hint(findings, hint))
    return ImageIndex(root, tuple(images))


def images_among(files: Iterable[str]) -> list[str]:
    """The files with the suffix of an image."""
    return [file for file in files if split_suffix(file)[1] in IMAGE_SUFFIXES]


def unique_stems(files: Sequence[str]) -> list[str]:
    """A unique stem for each path: that of the file name, or of the path where several share a name.

    b/2.jpg gives 2; images/train/1.jpg beside images/val/1.jpg gives train/1.
    """
    paths = [_without_image_folders(split_suffix(file)[0]) for file in files]
    stems = [path.rpartition("/")[2] for path in paths]
    times = Counter(stems)
    taken = {stem for stem in stems if times[stem] == 1}
    for i, path in enumerate(paths):
        if times[stems[i]] > 1:
            names = chain([path], (f"{path}_{number}" for number in count(2)))
            stems[i] = next(name for name in names if name not in taken)
            taken.add(stems[i])
    return stems


def splits_by_folder(files: Iterable[str]) -> dict[str, list[str]]:
    """The files by split, from folders named train, valid, test2017 and the like."""
    found: dict[str, list[str]] = {}
    every = list(files)
    for file, split in zip(every, folder_splits(every), strict=True):
        if split:
            found.setdefault(split, []).append(file)
    return found


def folder_splits(files: Sequence[str]) -> list[str]:
    """The split of every file according to its folders; "" for none.

    One such folder beside several others is no split: train may be a label.
    """
    folders = [split_folder(file) for file in files]
    splits = [_SPLITS[folder.rstrip("0123456789")] if folder else "" for folder in folders]
    if len(set(splits) - {""}) == 1 and "" in splits:
        above = next(file.lower().split(f"{folder}/")[0] for file, folder in zip(files, folders, strict=True) if folder)
        beside = {file.lower()[len(above) :].split("/")[0] for file in files if file.lower().startswith(above)}
        if len(beside) > _MOST_OTHERS + 1:
            return [""] * len(files)
    return splits


def split_folder(file: str) -> str:
    """The innermost folder of a path that is named after a split, in lower case; "" for none."""
    return _split_in(file.rpartition("/")[0])


@lru_cache(1024)  # images share a few folders
def _split_in(folder: str) -> str:
    return next((name for name in reversed(folder.lower().split("/")) if _SPLIT_FOLDER.fullmatch(name)), "")


def _without_image_folders(path: str) -> str:
    *folders, name = path.split("/")
    return "/".join([*(folder for folder in folders if folder.lower() not in IMAGE_FOLDERS), name])


class ImageSize(NamedTuple):
    """The size in pixels that an annotation refers to, as far as the image alone shows it."""

    width: int
    height: int
    facts: ImageFacts | None = None  # for `settled`; None: nothing is left to decide


def image_size(
    path: str,
    stated: Stated,
    findings: list[Finding],
    *,
    terms: SourceTerms,
    source: Path | str,
    inside: str = "",
    mark: str = "",
) -> ImageSize | None:
    """The size of an image as its annotation sees it; None, with a finding, if the image cannot be read.

    `stated` is the size in the annotation file `source`, at `inside`. What depends on the other images of the dataset
    is decided by `settled`: it needs the `facts`, through `DatasetBuilder.add_image`. `mark` is vocdet's own note
    on whether annotations refer to images with their EXIF orientation applied.
    """
    try:
        header = image_files.read_header(path)
    except ImageError as error:
        hint = terms.replace_image(error.hint)
        findings.append(Finding("image.corrupt", "error", error.problem, Place(Path(path)), hint))
        return None
    size = header.width, header.height
    usual = header.orientation == 1 and not header.deep
    if usual and (stated == size or stated is None or stated == (None, None)):
        return ImageSize(*size)
    known = None
    if stated is not None and stated[0] is not None and stated[1] is not None and min(stated[0], stated[1]) > 0:
        known = stated[0], stated[1]
    place = Place(Path(source), inside=inside)
    if known is None and stated is not None and stated != (None, None):
        findings.append(size_finding(stated, size, place, terms))
        if usual:
            return ImageSize(*size)
    facts = ImageFacts(header, known, place, terms, terms.shown, mark if mark in MARKS else "")
    turned = header.orientation >= 5 and facts.applies_exif() is not False
    return ImageSize(*(size[::-1] if turned else size), facts)
