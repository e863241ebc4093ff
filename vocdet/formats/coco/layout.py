"""Which files of a folder are COCO files, the split of each, and where their images are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vocdet.data.findings import Finding, Severity, raise_errors
from vocdet.errors import AnnotationError, DatasetError, Place
from vocdet.formats.images.folders import files_of, listing
from vocdet.formats.images.lookup import ImageIndex, stem_of
from vocdet.wording import json_reason, reason

_COCO_KEYS = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_BEGIN = re.compile(rb'\s*\{\s*"(images|annotations|categories|info|licenses|type|voc)"\s*:')
_FIRST_KEY = re.compile(rb'\s*\{\s*"')
_NO_ANNOTATIONS = re.compile(rb'"annotations"\s*:\s*\[\s*\]')
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")')
_SPLIT_IN_NAME = re.compile(r"(?:^|[^a-z])(trainval|train|valid|validation|val|test)(?:[^a-z]|$)")
_SPLIT_NAMES = {"valid": "val", "validation": "val"}
_FOLDERS = ("annotations", "annotation")
_ROBOFLOW_FILES = ("_annotations.coco.json",)
# What COCO publishes beside instances_*.json, about the same images.
_OTHER_TASKS = ("captions_", "person_keypoints_", "stuff_", "panoptic_", "image_info_")
_INSPECTED = 1 << 16  # bytes at either end of a file
_LARGEST_OTHER = 1 << 24  # bytes of a JSON file that is looked at
_OTHER_FILES = 100  # JSON files without COCO's keys that are looked at
_EXPORT = "export it again, or delete it"
_SAMPLED_IMAGES = 200  # images whose names decide about their folder


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One COCO file of a dataset."""

    path: Path
    source: str  # from the root, with forward slashes
    split: str  # trainval, train, val or test, according to its name; "" where the name has none

    @property
    def folder(self) -> str:
        """The folder of the file from the root, with a slash; "" for the root."""
        return f"{self.source.rpartition('/')[0]}/".lstrip("/")


@dataclass(frozen=True, slots=True)
class Layout:
    """The COCO files of a dataset."""

    root: Path
    files: list[CocoFile]
    findings: list[Finding] = field(default_factory=list)


def find_layout(path: Path) -> Layout:
    """Find the COCO files of a folder, or take the one that `path` is.

    The root of a single file is its folder, or the folder above where that is called annotations.
    """
    if path.is_file():
        path = path if path.parent.name else path.absolute()  # the current folder has a name, too
        root = path.parent.parent if path.parent.name.lower() in _FOLDERS else path.parent
        return Layout(root, [CocoFile(path, path.relative_to(root).as_posix(), "")])
    if not path.is_dir():
        raise DatasetError("no such file or folder", place=path, hint="use a COCO file, or the folder that holds it")
    every = _json_paths(path)
    paths = [one for one in every if looks_like_coco(one)]
    broken = _broken_files(path, [one for one in every if one not in paths])
    if not paths:
        raise_errors(broken)
        raise AnnotationError("no COCO file found", place=path, hint="use the path of the JSON file")
    if any(one.name.startswith("instances_") for one in paths):
        others = [one for one in paths if one.name.startswith(_OTHER_TASKS)]
    else:
        others = []
    hint = "to read it, use the path of the file"
    skipped = [Finding("coco.file.skipped", "warning", "is not read beside instances_*.json", Place(one), hint)
               for one in others]  # fmt: skip
    files = [CocoFile(one, one.relative_to(path).as_posix(), split_of(one, path)) for one in paths if one not in others]
    return Layout(path, files, [*skipped, *broken])


def looks_like(folder: Path) -> str:
    """Why a folder looks like a COCO dataset: the names of its COCO files; "" where it has none."""
    if folder.is_file():
        return folder.name if looks_like_coco(folder) else ""
    paths = coco_paths(folder) or [path for path in _json_paths(folder) if _is_expected(path) and _file_fault(path)[0]]
    return ", ".join(path.relative_to(folder).as_posix() for path in paths[:3])


def annotated(root: Path, files: Sequence[str]) -> list[str]:  # noqa: ARG001 COCO files are in few places
    """The stems of the images in the COCO files that have annotations; files that are cut off count."""
    found: list[str] = []
    for path in coco_paths(root):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            data = data.replace(b"\0", b"")
        if _NO_ANNOTATIONS.search(data) or (b'"annotations"' not in data and data.rstrip()[-1:] == b"}"):
            continue
        names = (match[1].decode("utf-8", "replace") for match in _FILE_NAME.finditer(data))
        found += [stem_of((json.loads(name) if "\\" in name else name[1:-1]).replace("\\", "/")) for name in names]
    return found


def coco_paths(folder: Path) -> list[Path]:
    """The COCO files in a folder, in its `annotations`, or in the folders of its splits, sorted."""
    return [path for path in _json_paths(folder) if looks_like_coco(path)]


def _broken_files(folder: Path, paths: Sequence[Path]) -> list[Finding]:
    """Findings for those of these JSON files that are broken, or named like a COCO file of a split.

    The latter are errors: the split would vanish.
    """
    others = [path for path in paths if not path.name.startswith(_OTHER_TASKS)]
    expected = {path for path in others if _is_expected(path) or split_of(path, folder)}
    findings = []
    for path in others if len(others) <= _OTHER_FILES else sorted(expected):
        problem, broken = _file_fault(path)
        if problem and (broken or path in expected):
            severity: Severity = "error" if path in expected else "warning"
            findings.append(Finding("coco.file.broken", severity, problem, Place(path), _EXPORT))
    return findings


def _is_expected(path: Path) -> bool:
    """Whether only a COCO file has such a name."""
    return path.name.lower().startswith("instances_") or path.name in _ROBOFLOW_FILES


def _file_fault(path: Path) -> tuple[str, bool]:
    """Why a file is no COCO file, and whether it is broken JSON; "" for the files of other programs."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_OTHER + 1)
    except OSError as error:
        return f"cannot be read: {reason(error)}", True
    if not data.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        return "is empty", True
    if len(data) > _LARGEST_OTHER:
        return "", False
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {json_reason(error)}", True
    if isinstance(value, list):
        results = bool(value) and isinstance(value[0], dict) and "score" in value[0]
        return "" if results else "holds a list, not a COCO file", False
    return ("" if isinstance(value, dict) and value else "holds no images and no annotations"), False


def _json_paths(folder: Path) -> list[Path]:
    """The JSON files in the places of COCO files, sorted."""
    if not folder.is_dir():
        return []
    found = files_of(folder, (".json",))
    for name in listing(folder)[0]:
        inside = files_of(folder, (".json",), name)
        found += [file for file in inside if name.lower() in _FOLDERS or file.rpartition("/")[2] in _ROBOFLOW_FILES]
        for deep in (f"{name}/{one}" for one in listing(folder, name)[0] if one.lower() in _FOLDERS):
            found += files_of(folder, (".json",), deep)
    return sorted(folder / name for name in found)


def looks_like_coco(path: Path) -> bool:
    """Whether a file begins, or ends, like a COCO file."""
    try:
        with path.open("rb") as file:
            begin = file.read(_INSPECTED).removeprefix(b"\xef\xbb\xbf")
            if begin[:2] in (b"\xff\xfe", b"\xfe\xff"):
                begin = begin.replace(b"\0", b"")[2:]
            if not _FIRST_KEY.match(begin):
                return False
            file.seek(max(0, path.stat().st_size - _INSPECTED))
            lists = {match[1] for end in (begin, file.read()) for match in _COCO_KEYS.finditer(end)}
    except OSError:
        return False
    first = _BEGIN.match(begin)
    if (first and first[1] in (b"images", b"annotations")) or {b"annotations", b"categories"} <= lists:
        return True
    return b"images" in lists and (first is not None or len(lists) > 1)  # other programs have files with categories


def split_of(path: Path, root: Path | None = None) -> str:
    """The split in the name of a file, or of a folder that holds it; "" where there is none.

    The folders are those below `root`, or without it the parent alone.
    """
    folders = path.relative_to(root).parents if root is not None else path.absolute().parents[:1]
    for name in (path.stem, *(folder.name for folder in folders)):
        found = _SPLIT_IN_NAME.search(re.sub(r"\d+", "", name.lower()).replace("_", " "))
        if found:
            return _SPLIT_NAMES.get(found[1], found[1])
    return ""


def image_prefix(file: CocoFile, names: Sequence[str], index: ImageIndex) -> str:
    """The folder, from the root, that holds most images of a file under the names in it; with a slash."""
    sample = names[:: max(1, len(names) // _SAMPLED_IMAGES)]
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
    """The order of folders that hold as many of the images: the file's own, that of its split, one called images."""
    last = folder.rpartition("/")[2].lower()
    stem = file.path.stem.lower()
    of_split = bool(file.split) and (last.startswith(file.split) or (file.split == "val" and last == "valid"))
    named = last.rstrip("0123456789") in stem.replace("_", " ").split() or last in stem
    return folder != own, not (of_split or named), last not in ("images", "jpegimages"), folder.count("/"), folder
