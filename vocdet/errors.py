"""Errors that a user can fix.

    VocdetError                  base class; catch this one
    ├── DatasetError             a file or folder is not a usable dataset
    │   ├── AnnotationError      an annotation file, or an object in it
    │   ├── ImageError           an image file
    │   └── SplitError           a split file, or an impossible split
    ├── CheckpointError          weights or a checkpoint
    ├── RunError                 a run folder
    ├── RecipeError              a recipe, or a value in it
    ├── ArgumentError            the value of any other argument
    ├── DeviceError              a device, or its memory
    ├── TrainingError            a training that cannot continue
    │   ├── NotFiniteError       a loss or a gradient
    │   └── PeerError            another process of the training
    ├── MediaError               a video, a camera or a screen
    ├── DownloadError            a download
    ├── DependencyError          an optional package that is not installed
    ├── ExportError              a model that cannot be exported, or an export that differs from it
    ├── OutputError              a file that cannot be written
    └── ManyErrors               several of these, found together

Programming errors stay `ValueError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the user's files: a file, a line in it (from 1), or a path inside it.

    >>> from pathlib import Path
    >>> print(vocdet.Place(Path("Annotations/a.xml"), line=14))
    Annotations/a.xml:14
    """

    path: Path
    line: int = 0  # 0: the file as a whole
    inside: str = ""  # as in annotations[3].bbox

    def __str__(self) -> str:
        line = f":{self.line}" if self.line else ""
        inside = f": {self.inside}" if self.inside else ""
        return f"{self.path}{line}{inside}"


class VocdetError(Exception):
    """The problem with the offending value, its place, and a hint that says how to fix it.

    >>> try:
    ...     vocdet.load("photo.jpg")
    ... except vocdet.VocdetError as error:
    ...     print(error.place)
    photo.jpg
    """

    def __init__(self, problem: str, *, place: Place | Path | None = None, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.place = Place(place) if isinstance(place, Path) else place
        self.hint = hint
        self.remedy = ""  # what to do about all errors that were found together; the last line

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        hint = f" ({self.hint})" if self.hint else ""
        last = f"\n{self.remedy}" if self.remedy else ""
        return f"{where}{self.problem}{hint}{last}"


class DatasetError(VocdetError):
    """A file or folder is not a usable dataset."""


class AnnotationError(DatasetError):
    """An annotation file, or an object in it, cannot be used."""


class ImageError(DatasetError):
    """An image file cannot be used."""


class SplitError(DatasetError):
    """A split file is invalid, or a split is impossible."""


class CheckpointError(VocdetError):
    """Weights or a checkpoint cannot be used."""


class RunError(VocdetError):
    """A run folder cannot be used."""


class RecipeError(VocdetError):
    """A recipe, or a value in it, is invalid."""


class ArgumentError(VocdetError):
    """The value of an argument is invalid."""


class DeviceError(VocdetError):
    """A device is missing, or its memory is too small."""


class TrainingError(VocdetError):
    """A training cannot continue."""


class NotFiniteError(TrainingError):
    """The loss or its gradient is not finite; `rows` are the samples of the step."""

    def __init__(self, problem: str, *, rows: Sequence[int], hint: str) -> None:
        super().__init__(problem, hint=hint)
        self.rows = tuple(rows)


class PeerError(TrainingError):
    """Another process of the training ended or hangs; it reports the cause itself."""


class MediaError(VocdetError):
    """A video, a camera or a screen cannot be used."""


class DownloadError(VocdetError):
    """A download failed."""


class DependencyError(VocdetError):
    """An optional package is not installed."""


class ExportError(VocdetError):
    """A model cannot be exported, or its export differs from it."""


class OutputError(VocdetError):
    """A file cannot be written."""


class ManyErrors(VocdetError):
    """Several errors, found together."""

    def __init__(self, errors: Sequence[VocdetError]) -> None:
        super().__init__("\n".join(str(e) for e in errors))
        self.errors = tuple(errors)


def raise_all(errors: Sequence[VocdetError], *, remedy: str = "") -> None:
    """Raise the error, or all of them together, with a remedy for all; return if there are none."""
    if errors:
        error = errors[0] if len(errors) == 1 else ManyErrors(errors)
        error.remedy = remedy
        raise error
