"""The folders and pictures that tools write: recognized, so that they never become images of a dataset.

A marker, a hidden JSON file, names the kind of folder that it is in, and has a digest of the files that were written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import msgspec

from vocdet.errors import OutputError
from vocdet.files import write_bytes

MARKER = ".vocdet.json"
FILES = "files"  # the kind of a folder that is no output itself: only the files in its marker are

_LARGEST = 100_000_000  # bytes of a marker
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

    kind: str  # run, predictions, drawings, crops, or `FILES`
    files: dict[str, str] = field(default_factory=dict)  # path from the folder, with forward slashes: digest


def write_marker(folder: Path, kind: str, files: Mapping[str, str] | None = None) -> None:
    """Mark an existing folder as output: inside a dataset, it is passed over."""
    marker = Marker(kind, dict(sorted((files or {}).items())))
    write_bytes(folder / MARKER, msgspec.json.format(msgspec.json.encode(marker), indent=1) + b"\n", sync=False)


def read_marker(folder: Path) -> Marker | None:
    """The marker of a folder; None if there is none that can be read."""
    path = folder / MARKER
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        return msgspec.json.decode(path.read_bytes(), type=Marker)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def mark_file(path: Path) -> None:
    """Note a file that was written beside files of the user, such as a picture: it is no image of a dataset there.

    Without the right to write a marker, there is none.
    """
    marker = read_marker(path.parent) or Marker(FILES)
    with suppress(OutputError, OSError):
        write_marker(path.parent, marker.kind, marker.files | {path.name: digest_of(path)})


def digest(data: bytes) -> str:
    """A digest of the content of a file."""
    return blake2b(data, digest_size=16).hexdigest()


def digest_of(path: Path) -> str:
    """The digest of a file, read in pieces."""
    hashed = blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return hashed.hexdigest()


def is_output_folder(folder: Path) -> bool:
    """Whether a folder is output of vocdet, or of Ultralytics: it has a marker, or the files of a run or a result."""
    marker = folder / MARKER
    if marker.is_file():
        known = read_marker(folder)
        return known is None or known.kind != FILES
    return _has_sign(folder) or _holds_runs(folder)


def written_files(folder: Path, names: Iterable[str]) -> frozenset[str]:
    """Those of the files in a folder that are in its marker and unchanged since: pictures beside images of the user."""
    if not (folder / MARKER).is_file():
        return frozenset()
    marker = read_marker(folder)
    if marker is None or marker.kind != FILES:
        return frozenset()
    return frozenset(name for name in names if _is_unchanged(folder / name, marker.files.get(name, "")))


def _is_unchanged(path: Path, known: str) -> bool:
    try:
        return bool(known) and path.is_file() and digest_of(path) == known
    except OSError:
        return False


def _has_sign(folder: Path) -> bool:
    return any(
        (folder / one).is_file() and any((folder / other).exists() for other in others) for one, others in _SIGNS
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
