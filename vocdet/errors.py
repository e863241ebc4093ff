"""Errors a user can cure.

    VocdetError              something given to vocdet is wrong: a file, a folder, an option
    ├── AnnotationError      an annotation file, or an object in it
    ├── ImageError           an image file
    ├── SplitError           a split file, or a split that cannot be made
    ├── CheckpointError      weights or a run folder
    ├── OutputError          something could not be written
    └── ManyErrors           several of the above, found together

Mistakes of a program that calls vocdet stay `ValueError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the user's files something is: a file, a line of it (from 1), or a path inside it."""

    path: Path
    line: int = 0  # 0: the file as a whole
    inside: str = ""  # as in annotations[3].bbox

    def __str__(self) -> str:
        line = f":{self.line}" if self.line else ""
        inside = f": {self.inside}" if self.inside else ""
        return f"{self.path}{line}{inside}"


class VocdetError(Exception):
    """What is wrong, with the offending value; where; and the cure."""

    def __init__(self, problem: str, *, place: Place | Path | None = None, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.place = Place(place) if isinstance(place, Path) else place
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.problem}{hint}"


class AnnotationError(VocdetError):
    """An annotation file, or an object in it, cannot be used."""


class ImageError(VocdetError):
    """An image file cannot be used."""


class SplitError(VocdetError):
    """A split file is wrong, or a split cannot be made."""


class CheckpointError(VocdetError):
    """Weights or a run folder cannot be used."""


class OutputError(VocdetError):
    """Something could not be written."""


class ManyErrors(VocdetError):
    """Several errors that were found together."""

    def __init__(self, errors: Sequence[VocdetError]) -> None:
        super().__init__("\n".join(str(e) for e in errors))
        self.errors = tuple(errors)


def raise_all(errors: Sequence[VocdetError]) -> None:
    """Raise what was found: nothing, the one error, or all of them together."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ManyErrors(errors)
