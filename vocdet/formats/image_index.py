"""The files of a dataset by the names that its annotations give them. Nothing outside its folder is ever opened."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from pathlib import Path

from vocdet.data.findings import Finding
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import Place
from vocdet.wording import reason

IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img")
NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8

_PARTS = {"train": "train", "training": "train", "valid": "val", "val": "val", "validation": "val", "test": "test",
          "testing": "test"}  # fmt: skip
_PART_FOLDER = re.compile(rf"({'|'.join(_PARTS)})(?:(?:19|20)\d\d)?")
_DRIVE = re.compile(r"^[A-Za-z]:")
_OUTSIDE = "is a link that leads out of the dataset"
_COPY = "copy what it points to into the dataset"


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a file as another file gives it, as far as it may be followed."""

    path: str  # relative, with forward slashes, no . or .. in it; "" where it may not be followed
    last: str  # its last part, to be looked for inside the dataset; "" where that, too, may not be followed
    code: str = ""  # why not: path.absolute, path.traversal, path.name (control characters), path.empty


def safe_relative(text: str) -> Name:
    r"""A name as it stands in a file: `.\train\a.jpg` is train/a.jpg; an absolute one or one with `..` is refused."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    if NO_TEXT.search(text):
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
    """A path without its suffix, and the suffix in small letters: a/b.v2.JPG is a/b.v2 and .jpg."""
    name = file.rpartition("/")[2]
    dot = name.rfind(".")
    if dot <= 0 or dot == len(name) - 1:
        return file, ""
    cut = len(file) - len(name) + dot
    return file[:cut], file[cut:].lower()


def walk(root: Path, folders: Sequence[str] = ("",), *, deep: bool = True) -> tuple[list[str], list[Finding]]:
    """The files in these folders of `root` and below: paths relative to it, sorted, each once; and what was refused.

    Without `deep` those in folders below are not among them. Hidden files and folders are passed over. Links are
    followed as long as they stay inside, though not those that are behind another link to a folder, nor those that
    lead back up. No file is opened or sized.
    """
    found: set[str] = set()
    findings: list[Finding] = []
    inside = _real(root)
    waiting: list[tuple[str, bool]] = []  # a folder, and whether it is behind a link
    for folder in folders:
        if _real(root / folder).is_relative_to(inside):
            waiting.append((folder.strip("/"), False))
        else:
            findings.append(_refused(root / folder))
    while waiting:
        folder, linked = waiting.pop()
        prefix = f"{folder}/" if folder else ""
        for entry in _visible(root / folder, findings):
            is_link = entry.is_symlink()
            if is_link and not (target := _real(entry.path)).is_relative_to(inside):
                if deep or not is_kind(entry.is_dir):
                    findings.append(_refused(Path(entry.path)))
            elif is_kind(entry.is_dir):
                if deep and (not is_link or not (linked or _real(root / folder).is_relative_to(target))):
                    waiting.append((prefix + entry.name, linked or is_link))
            elif is_kind(entry.is_file):
                found.add(prefix + entry.name)
    return sorted(found), list(dict.fromkeys(findings))


def listing(root: Path, folder: str = "") -> tuple[list[str], list[str]]:
    """The names of the folders and of the files directly in a folder of `root`, sorted; none that leads out of it."""
    inside = _real(root)
    if not _real(root / folder).is_relative_to(inside):
        return [], []
    entries = [
        entry
        for entry in _visible(root / folder, [])
        if not entry.is_symlink() or _real(entry.path).is_relative_to(inside)
    ]
    folders = sorted(entry.name for entry in entries if is_kind(entry.is_dir))
    return folders, sorted(entry.name for entry in entries if is_kind(entry.is_file))


def _visible(folder: Path, findings: list[Finding]) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden and whose names are text; what is wrong goes to `findings`."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if entry.name[0] != "."]
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        findings.append(Finding("path.unreadable", "error", problem, Place(folder), "see whether you may read it"))
        return []
    if not NO_TEXT.search("/".join([entry.name for entry in visible])):
        return visible
    for entry in visible:
        if NO_TEXT.search(entry.name):
            problem = f"holds a file whose name is no text: {entry.name!a}"
            findings.append(Finding("path.name", "error", problem, Place(folder), "rename it, and what belongs to it"))
    return [entry for entry in visible if not NO_TEXT.search(entry.name)]


def _real(path: Path | str) -> Path:
    """A path with its links followed, also where they lead in a circle and `Path.resolve` raises."""
    return Path(os.path.realpath(path))


def is_kind(question: Callable[[], bool]) -> bool:
    """What an entry of a folder answers; False where its link leads in a circle."""
    try:
        return question()
    except OSError:
        return False


def _refused(path: Path) -> Finding:
    return Finding("path.outside", "error", _OUTSIDE, Place(path), _COPY)


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """The images of a dataset; looking one up touches no file."""

    root: Path
    files: tuple[str, ...]  # images, relative to the root with forward slashes, sorted
    findings: tuple[Finding, ...] = ()

    def exact(self, name: str) -> str | None:
        """The image of this relative path; else the only one whose path differs in case or accents alone."""
        if name in self._exact:
            return name
        alike = self._looks.get(_folded(name), [])
        return alike[0] if len(alike) == 1 else None

    def by_stem(self, stem: str) -> list[str]:
        """All images of this stem, in any folder; else those whose stem differs in case or accents alone."""
        return list(self._stems.get(stem) or self._folded_stems.get(_folded(stem), []))

    def ending_in(self, name: str) -> list[str]:
        """All images whose path ends in this relative one, as a/b.jpg ends x/a/b.jpg; case and accents apart."""
        ending = "/" + _folded(name)
        same_name = self._names.get(ending.rpartition("/")[2], ())
        found = [file for file in same_name if ("/" + _folded(file)).endswith(ending)]
        return [file for file in found if ("/" + file).endswith("/" + name)] or found

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _looks(self) -> dict[str, list[str]]:
        return self._by(_folded)

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        return self._by(lambda file: _folded(file.rpartition("/")[2]))

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        return self._by(_stem)

    @cached_property
    def _folded_stems(self) -> dict[str, list[str]]:
        return self._by(lambda file: _folded(_stem(file)))

    def _by(self, key: Callable[[str], str]) -> dict[str, list[str]]:
        table = defaultdict[str, list[str]](list)
        for file in self.files:
            table[key(file)].append(file)
        return dict(table)


def find_images(root: Path, folders: Sequence[str] | None = None) -> ImageIndex:
    """The images below these folders of `root` (None: all of it), found in one walk that follows no link out of it."""
    files, findings = walk(root, ("",) if folders is None else folders)
    return ImageIndex(root, tuple(images_among(files)), tuple(findings))


def images_among(files: Iterable[str]) -> list[str]:
    """Those of these files that are images, by their suffix."""
    return [file for file in files if split_suffix(file)[1] in IMAGE_SUFFIXES]


def unique_stems(files: Sequence[str]) -> list[str]:
    """A stem for each of these paths, no two the same: that of its name, or of its path where others share it.

    b/2.jpg is 2; images/train/1.jpg beside images/val/1.jpg is train/1.
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
    """The files in folders called train, valid, test2017 and the like, by train, val and test."""
    found: dict[str, list[str]] = {}
    for file in files:
        matches = map(_PART_FOLDER.fullmatch, reversed(file.lower().split("/")[:-1]))
        match = next(filter(None, matches), None)
        if match:
            found.setdefault(_PARTS[match[1]], []).append(file)
    return found


def _without_image_folders(path: str) -> str:
    *folders, name = path.split("/")
    return "/".join([*(folder for folder in folders if folder.lower() not in IMAGE_FOLDERS), name])


def _stem(file: str) -> str:
    return split_suffix(file)[0].rpartition("/")[2]


def _folded(text: str) -> str:
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text).casefold()
