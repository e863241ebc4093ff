"""The folders and pictures that tools write: recognized, so that they never become images of a dataset.

A marker, a hidden JSON file, names the kind of folder that it is in, and has a digest of the files that were written.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from vocdet.errors import OutputError
from vocdet.files import check_writable, first_link, hasher, is_file, replacing, write_bytes

MARKER = ".vocdet.json"
BEST = "best.safetensors"  # the checkpoint of a run
LAST = "last.safetensors"  # the newest averaged weights of a run
FILES_KIND = "files"  # the kind of a folder that is no output itself: only the files in its marker are

_LARGEST = 100_000_000  # bytes of a marker
_BYTES = 16  # of a digest
_ANNOTATIONS = (".xml", ".json", ".txt")  # detections that are written as annotations are to be read
# Files of a folder that is output without a marker: each of the first, with any of the second.
_SIGNS = (
    ("run.json", ("recipe.toml", "recipe.json", "metrics.csv")),  # runs and results of vocdet before it wrote markers
    ("detections.json", ("labels.txt",)),
    ("args.yaml", ("weights", "results.csv")),  # Ultralytics
    ("opt.yaml", ("weights", "results.csv", "results.txt", "hyp.yaml")),  # YOLOv5, YOLOv7
)
_RUNS = "runs"  # the folder of Ultralytics; in runs/detect/predict there are only pictures
_TASKS = frozenset(("detect", "segment", "classify", "pose", "obb"))
_YOLOV5_TASKS = frozenset(
    ("train", "val", "predict-seg", "train-seg", "val-seg", "predict-cls", "train-cls", "val-cls")
)
_RUN = re.compile(r"(train|val|predict|track|exp)-?\d*")


@dataclass(frozen=True, slots=True)
class Marker:
    """The content of a marker."""

    kind: str  # run, predictions, drawings, crops, or `FILES_KIND`
    files: dict[str, str] = field(default_factory=dict)  # path from the folder, with forward slashes: digest
    kept: tuple[str, ...] = ()  # files that were to be replaced or deleted, and stay: a user changed or added them


def checkpoint_of(run: Path) -> Path:
    """The checkpoint in a run folder; any other path is one itself."""
    return run / BEST if run.is_dir() else run


def write_marker(folder: Path, kind: str, files: Mapping[str, str] | None = None, kept: Iterable[str] = ()) -> None:
    """Mark an existing folder as output: inside a dataset, it is passed over."""
    write_bytes(folder / MARKER, marker_bytes(kind, files, kept), sync=False)


def marker_bytes(kind: str, files: Mapping[str, str] | None = None, kept: Iterable[str] = ()) -> bytes:
    """The content of a marker."""
    marker = Marker(kind, dict(sorted((files or {}).items())), tuple(kept))
    return msgspec.json.format(msgspec.json.encode(marker), indent=1) + b"\n"


def read_marker(folder: Path) -> Marker | None:
    """The marker of a folder; None if there is none that can be read."""
    path = folder / MARKER
    try:
        if not is_file(path) or path.stat().st_size > _LARGEST:
            return None
        return msgspec.json.decode(path.read_bytes(), type=Marker)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def mark_file(path: Path) -> None:
    """Note a file that was written beside files of the user, such as a picture: it is no image of a dataset there.

    Without the right to write a marker, there is none.
    """
    marker = read_marker(path.parent) or Marker(FILES_KIND)
    with suppress(OutputError, OSError):
        write_marker(path.parent, marker.kind, marker.files | {_key(path.name): digest_of(path)}, marker.kept)


def check_output(path: Path, hint: str = "choose another name", *, force: bool = False) -> None:
    """Raise an `OutputError` for a file that cannot be written, or, without `force`, must not be replaced.

    That is a file that vocdet did not write, or that was changed since; `mark_file` notes what vocdet writes.
    """
    check_writable(path)
    if force or not os.path.lexists(path):
        return
    marker = read_marker(path.parent)
    known = marker.files.get(_key(path.name), "") if marker else ""
    if not _is_unchanged(path, known):
        problem = "exists, and was changed since vocdet wrote it" if known else "exists, and vocdet did not write it"
        raise OutputError(problem, place=path, hint=hint)


class OutputFiles:
    """The files of an output folder: what vocdet wrote there earlier is replaced, what a user changed or added stays.

    Files are named by their paths from the folder, with forward slashes. `save` writes the marker.
    """

    def __init__(self, folder: Path, kind: str, *, force: bool = False) -> None:
        """With `force`, all files may be replaced."""
        marker = read_marker(folder)
        self.folder, self.kind, self.force = folder, kind, force
        self.earlier = dict(marker.files) if marker else {}
        self.files: dict[str, str] = {}  # written by now, with their digests
        self.kept: dict[str, None] = {}

    def may_write(self, name: str) -> bool:
        """Whether there is no such file yet, or it is unchanged; otherwise it is noted as kept."""
        path = self.folder / name
        if link := first_link(path.parent, self.folder):
            problem, hint = (
                "is a link: nothing is written through it",
                "replace it by a folder, or choose another folder",
            )
            raise OutputError(problem, place=link, hint=hint)
        known = self.files.get(_key(name)) or self.earlier.get(_key(name), "")
        if self.force or not os.path.lexists(path) or _is_unchanged(path, known):
            return True
        self.kept[_key(name)] = None
        return False

    def write(self, name: str, data: bytes) -> bool:
        """Write a file, unless one of a user has its name: then nothing is written, and False returned."""
        if not self.may_write(name):
            return False
        write_bytes(self.folder / name, data)
        self.files[_key(name)] = hasher(data, size=_BYTES).hexdigest()
        return True

    def place(self, name: str, source: Path) -> bool:
        """Give a file of the user a name in the folder, by a hard link or a copy; like `write` if the name is taken."""
        path = self.folder / name
        if not _is_same(source, path):
            if not self.may_write(name):
                return False
            place_copy(source, path)
        self.record(name, large=True)
        return True

    def record(self, name: str, *, large: bool = False) -> None:
        """Note a file that was written in another way; a large one by its size and time, without reading it."""
        path = self.folder / name
        with suppress(OSError):
            self.files[_key(name)] = _signature(path) if large else digest_of(path)

    def delete_earlier(self, needed: Callable[[str], bool]) -> None:
        """Delete earlier files that were neither written again nor changed, nor are needed."""
        for name in sorted(self.earlier.keys() - self.files.keys() - self.kept.keys()):
            path = self.folder / name
            if needed(name):
                self.files[name] = self.earlier[name]
            elif _is_unchanged(path, self.earlier[name]):
                with suppress(OSError):
                    path.unlink()
                    path.parent.rmdir()  # unless it is not empty
            elif os.path.lexists(path):
                self.kept[name] = None

    def save(self) -> None:
        """Write the marker; what earlier results left there and was not written again stays known."""
        left = {name: known for name, known in self.earlier.items() if os.path.lexists(self.folder / name)}
        write_marker(self.folder, self.kind, left | self.files, self.kept)


def place_copy(source: Path, path: Path) -> None:
    """Give a file a second name by a hard link, or a copy if the disk has none. An `OutputError` names the new file."""
    with replacing(path) as temporary:
        temporary.unlink()
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _is_same(source: Path, path: Path) -> bool:
    """Whether a file exists and has the content of another."""
    try:
        return path.is_file() and (path.samefile(source) or filecmp.cmp(path, source, shallow=False))
    except OSError:
        return False


def _signature(path: Path) -> str:
    """What tells a large file from a changed one without reading it."""
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns}"


def _key(name: str) -> str:
    """A name as JSON can hold it: one that is not UTF-8 has surrogates."""
    return name.encode(errors="backslashreplace").decode()


def digest_of(path: Path) -> str:
    """The digest of a file, read in pieces."""
    hashed = hasher(size=_BYTES)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return hashed.hexdigest()


def is_output_folder(folder: Path) -> bool:
    """Whether a folder is output of vocdet, or of Ultralytics: it has a marker, or the files of a run or a result."""
    if is_file(f"{folder}/{MARKER}"):
        known = read_marker(folder)
        return known is None or known.kind != FILES_KIND
    return _has_sign(folder) or _holds_runs(folder)


def written_files(folder: Path, names: Iterable[str]) -> frozenset[str]:
    """Those of the files in a folder that are in its marker and unchanged since: pictures beside images of the user."""
    if not is_file(folder / MARKER):
        return frozenset()
    marker = read_marker(folder)
    if marker is None or marker.kind != FILES_KIND:
        return frozenset()
    pictures = (name for name in names if not name.lower().endswith(_ANNOTATIONS))
    return frozenset(name for name in pictures if _is_unchanged(folder / name, marker.files.get(_key(name), "")))


def _is_unchanged(path: Path, known: str) -> bool:
    try:
        return bool(known) and path.is_file() and (_signature if ":" in known else digest_of)(path) == known
    except OSError:
        return False


def _has_sign(folder: Path) -> bool:
    base = str(folder)  # joined as text: every folder of a dataset is inspected
    return any(
        is_file(f"{base}/{one}") and any(os.path.lexists(f"{base}/{other}") for other in others)
        for one, others in _SIGNS
    )


def _holds_runs(folder: Path) -> bool:
    """Whether a folder is that of a task in Ultralytics' or YOLOv5's `runs`, and holds nothing but runs."""
    if folder.parent.name != _RUNS or folder.name not in _TASKS | _YOLOV5_TASKS:
        return False
    try:
        runs = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if not runs or not all(path.is_dir() and _RUN.fullmatch(path.name) for path in runs):
            return False
        return folder.name in _TASKS or any(_has_sign(path) for path in folder.parent.glob("*/*"))
    except OSError:
        return False
