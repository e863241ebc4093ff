"""Which files of a folder are COCO's, which part each is, and where their images lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vocdet.data.findings import Finding
from vocdet.errors import AnnotationError, Place, VocdetError
from vocdet.formats.images import ImageIndex, listing

_KEYS = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_BEGIN = re.compile(rb'\s*\{\s*"(images|annotations|categories|info|licenses|type|voc)"\s*:')
_OBJECT = re.compile(rb'\s*\{\s*"')
_PART = re.compile(r"(?:^|[^a-z])(trainval|train|valid|validation|val|test)(?:[^a-z]|$)")
_PART_NAMES = {"valid": "val", "validation": "val"}
# What COCO publishes beside instances_*.json, about the same images.
_FOLDERS = ("annotations", "annotation")
_ROBOFLOW = ("_annotations.coco.json",)
_ASIDE = ("captions_", "person_keypoints_", "stuff_", "panoptic_", "image_info_")
_SNIFFED = 1 << 16  # bytes
_SAMPLE = 200  # images that are looked for to find their folder


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One file of a dataset."""

    path: Path
    source: str  # from the root, with forward slashes
    split: str  # trainval, train, val or test, as its name says; "": it does not


def find_coco(path: Path) -> tuple[Path, list[CocoFile], list[Finding]]:
    """The root of a dataset and its COCO files: those of a folder, or the one that was named.

    The root of one file is the folder it is in, or the one above where that is called annotations.
    """
    if path.is_file():
        root = path.parent.parent if path.parent.name.lower() in ("annotations", "annotation") else path.parent
        return root, [CocoFile(path, path.relative_to(root).as_posix(), "")], []
    if not path.is_dir():
        raise VocdetError("no such file or folder", place=path, hint="give a COCO file, or the folder with one in it")
    paths = coco_paths(path)
    if not paths:
        raise AnnotationError("no COCO file found", place=path, hint="name the JSON file itself")
    instances = [one for one in paths if one.name.startswith("instances_")]
    beside = [one for one in paths if instances and one.name.startswith(_ASIDE)]
    hint = "to read it, name the file itself"
    skipped = [Finding("coco.file.skipped", "warning", "is not read beside instances_*.json", Place(one), hint)
               for one in beside]  # fmt: skip
    files = [CocoFile(one, one.relative_to(path).as_posix(), part_of(one, path)) for one in paths if one not in beside]
    return path, files, skipped


def looks_like(folder: Path) -> str:
    """Why a folder looks like one of COCO's: its COCO files; "" where it has none."""
    return ", ".join(path.relative_to(folder).as_posix() for path in coco_paths(folder)[:3])


def coco_paths(folder: Path) -> list[Path]:
    """The COCO files in a folder, in its `annotations`, or in the folders of its parts, sorted."""
    if not folder.is_dir():
        return []
    folders, files = listing(folder)
    found = [name for name in files if name.lower().endswith(".json")]
    for name in folders:
        below, inside = listing(folder, name)
        every = name.lower() in _FOLDERS
        found += [
            f"{name}/{file}" for file in inside if file.lower().endswith(".json") and (every or file in _ROBOFLOW)
        ]
        for deep in (f"{name}/{one}" for one in below if one.lower() in _FOLDERS):
            found += [f"{deep}/{file}" for file in listing(folder, deep)[1] if file.lower().endswith(".json")]
    return sorted(path for path in (folder / name for name in found) if looks_like_coco(path))


def looks_like_coco(path: Path) -> bool:
    """Whether a file begins, or ends, as a COCO file does."""
    try:
        with path.open("rb") as file:
            begin = file.read(_SNIFFED).removeprefix(b"\xef\xbb\xbf")
            if begin[:2] in (b"\xff\xfe", b"\xfe\xff"):
                begin = begin.replace(b"\0", b"")[2:]
            if not _OBJECT.match(begin):
                return False
            file.seek(max(0, path.stat().st_size - _SNIFFED))
            lists = {match[1] for split in (begin, file.read()) for match in _KEYS.finditer(split)}
    except OSError:
        return False
    if _BEGIN.match(begin):
        return bool(lists) or b'"annotations"' in begin
    return len(lists) > 1  # it begins with a key of somebody's own


def part_of(path: Path, root: Path | None = None) -> str:
    """The part a file is, by its own name, or by that of a folder it is in; "" where neither says.

    The folders are those below `root`, or without it the one that holds the file.
    """
    folders = path.relative_to(root).parents if root is not None else path.absolute().parents[:1]
    for name in (path.stem, *(folder.name for folder in folders)):
        found = _PART.search(re.sub(r"\d+", "", name.lower()).replace("_", " "))
        if found:
            return _PART_NAMES.get(found[1], found[1])
    return ""


def image_prefix(file: CocoFile, names: Sequence[str], index: ImageIndex) -> str:
    """The folder, from the root, in which most images of a file lie under the names it gives them; with a slash."""
    sample = names[:: max(1, len(names) // _SAMPLE)]
    folders = {one.rpartition("/")[0] or "." for one in index.files}
    folders |= {PurePosixPath(folder).parent.as_posix() for folder in folders}
    folders |= {"."}
    own = PurePosixPath(file.source).parent.as_posix()
    prefixes = [
        "" if folder == "." else f"{folder}/" for folder in sorted(folders, key=lambda one: _rank(one, own, file))
    ]
    known = set(index.files)
    hits = {prefix: sum(prefix + name in known for name in sample) for prefix in prefixes}
    return max(prefixes, key=lambda prefix: hits[prefix])  # the first of equals


def _rank(folder: str, own: str, file: CocoFile) -> tuple[bool, bool, bool, int, str]:
    """Which folder to prefer of several with the same names: the file's own, that of its part, one called images."""
    last = folder.rpartition("/")[2].lower()
    stem = file.path.stem.lower()
    of_part = bool(file.split) and (last.startswith(file.split) or (file.split == "val" and last == "valid"))
    named = last.rstrip("0123456789") in stem.replace("_", " ").split() or last in stem
    return folder != own, not (of_part or named), last not in ("images", "jpegimages"), folder.count("/"), folder
