"""The splits of a YOLO dataset."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocdet.data.findings import Notes
from vocdet.files import first_bytes
from vocdet.formats.images.lookup import ImageIndex, safe_relative, splits_by_folder
from vocdet.formats.shared.limited import noted_text
from vocdet.formats.yolo.rows import looks_like_rows
from vocdet.formats.yolo.settings import SPLIT_KEYS, Settings
from vocdet.wording import and_more, counted

LARGEST_LIST = 64 * 2**20  # bytes; a million paths

_DEEPEST = 20  # folders of a path that are used
_OUTSIDE = ("path.absolute", "path.traversal")


@dataclass(frozen=True, slots=True)
class _Files:
    """What an entry may refer to."""

    index: ImageIndex
    texts: set[str]
    images_in: dict[str, list[str]]  # by folder, including its subfolders


def find_splits(
    index: ImageIndex, settings: Settings | None, texts: Iterable[str], notes: Notes
) -> tuple[dict[str, list[str]], list[str]]:
    """The images of train, val and test, and the text files that are lists of images.

    They come from the data.yaml or obj.data, else from lists such as train.txt, else from the names of folders.
    """
    files = _Files(index, set(texts), _images_in(index.files))
    if settings is not None and settings.splits:
        found, lists = _by_settings(files, settings, notes)
        if found:
            return found, lists
    top = {file.lower(): file for file in sorted(files.texts) if "/" not in file}
    listed = {split: top[f"{key}.txt"] for key, split in SPLIT_KEYS.items() if f"{key}.txt" in top}
    listed = {split: file for split, file in listed.items() if not looks_like_rows(first_bytes(index.root / file))}
    found = {split: images for split, file in listed.items() if (images := _listed_images(files, file, notes))}
    return found or splits_by_folder(index.files), list(listed.values())


def _images_in(images: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"": []}
    for file in images:
        folder = file
        while folder:
            folder = folder.rpartition("/")[0]
            found.setdefault(folder, []).append(file)
    return found


def _by_settings(files: _Files, settings: Settings, notes: Notes) -> tuple[dict[str, list[str]], list[str]]:
    path = files.index.root / settings.source
    here = settings.source.rpartition("/")[0]
    folders = [_base_folder(files, settings, here, path, notes), here, ""]  # what a path may be relative to
    found: dict[str, list[str]] = {}
    lists: list[str] = []
    for split, entries in settings.splits.items():
        line = settings.lines[split]
        images: set[str] = set()
        for entry in entries:
            place = _locate(files, entry, folders)
            if place is None:
                problem = f"{split} is {entry[:80]!r}, which is not in the dataset"
                hint = "correct the path, or add the images"
                notes.add("yolo.split.missing", "warning", problem, path, hint, line=line)
                continue
            code = safe_relative(entry).code
            if code in _OUTSIDE:
                problem = f"{split} is {entry[:80]!r}, outside the dataset: {place or 'its folder'} is used"
                notes.add(code, "warning", problem, path, "write it relative to the folder of this file", line=line)
            if place in files.texts:
                lists.append(place)
            images.update(_listed_images(files, place, notes) if place in files.texts else files.images_in[place])
        if images:
            found[split] = sorted(images)
    return found, lists


def _base_folder(files: _Files, settings: Settings, here: str, path: Path, notes: Notes) -> str:
    """The folder to which the `path` of the settings refers."""
    name = safe_relative(settings.base)
    if name.code in _OUTSIDE:
        problem = f"path is {settings.base[:80]!r}, outside the dataset: the folder of this file is used"
        hint, line = "delete the line: it is the folder of this file", settings.lines.get("path", 0)
        notes.add(name.code, "warning", problem, path, hint, line=line)
    return next((place for place in (_path_below(here, name.path), name.path) if place in files.images_in), here)


def _locate(files: _Files, entry: str, folders: Sequence[str]) -> str | None:
    """The folder or list to which an entry refers, by its longest end that exists; "" for the root."""
    name = safe_relative(entry)
    ends = [""] if name.code == "path.empty" else _ends(entry)
    places = (_path_below(folder, end) for end in ends for folder in folders)
    return next((place for place in places if place in files.texts or place in files.images_in), None)


def _listed_images(files: _Files, source: str, notes: Notes) -> list[str]:
    """The images in a list, each once, in the order of their paths."""
    path = files.index.root / source
    here = source.rpartition("/")[0]
    found: set[str] = set()
    missing: list[tuple[str, int]] = []
    outside = 0
    for line, number in _listed_lines(path, notes):
        image = _image(files.index, line, here)
        if image is None:
            missing.append((line, number))
        else:
            outside += safe_relative(line).code != ""
            found.add(image)
    if outside:
        problem = f"names {counted(outside, 'image')} by paths outside the dataset: those with the same end are used"
        notes.add("path.absolute", "warning", problem, path, "write paths relative to this file")
    if missing:
        line, number = missing[0]
        more = and_more(len(missing) - 1, "image")
        problem = f"names {line[:80]!r}{more}, not in the dataset"
        hint = "delete the line, or restore the image"
        notes.add("yolo.list.missing", "error", problem, path, hint, line=number)
    return sorted(found)


def _image(index: ImageIndex, text: str, here: str) -> str | None:
    """The image of a line: from the folder of the list, else from the root, else by its longest end that exists."""
    name = safe_relative(text)
    for place in [_path_below(here, name.path), name.path, *_ends(text)]:
        image = index.exact(place) if place else None
        if image is not None:
            return image
    same = index.ending_in(name.last) if name.last else []
    return same[0] if len(same) == 1 else None


def _ends(text: str) -> Iterable[str]:
    """The ends of a path, longest first: /data/set/a.jpg gives data/set/a.jpg, set/a.jpg, a.jpg; none has `..`."""
    names = [name for name in text.replace("\\", "/").split("/") if name not in ("", ".")]
    last_up = max((i for i, name in enumerate(names) if name == ".."), default=-1)
    names = names[last_up + 1 :][-_DEEPEST:]
    return ("/".join(names[i:]) for i in range(len(names)))


def _path_below(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder and path else folder or path


def _listed_lines(path: Path, notes: Notes) -> list[tuple[str, int]]:
    code = "yolo.list.unreadable"
    text = noted_text(path, notes, LARGEST_LIST, (code, code, code), "use a shorter list of images")
    lines = re.split(r"\r\n|\r|\n", text or "")
    return [(line.strip(), number) for number, line in enumerate(lines, 1) if line.strip()]
