"""The ids of images and categories, and what refers to them: numbers, or texts where a file has them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from vocdet.formats.coco.types import LARGEST_ID

Id: TypeAlias = "int | str"

_NUMBER = re.compile(r"\s*([+-]?\d{1,40})(?:\.0*)?\s*", re.ASCII)


def as_id(value: object) -> Id | None:
    """The id in a JSON value: a text, or a whole number, which may be written as a decimal; None for other values."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def exact(value: Id) -> bool:
    """Whether an id is a number that every JSON reader keeps."""
    return isinstance(value, int) and abs(value) < LARGEST_ID


def whole_number(value: object) -> int | None:
    """The number in a JSON value that is, or spells, a whole number."""
    identity = as_id(value)
    return None if identity is None else _spelled(identity)


def _spelled(value: Id) -> int | None:
    """The number that an id is or spells, as 7 in "007"."""
    if isinstance(value, int):
        return value
    number = _NUMBER.fullmatch(value)
    return int(number[1]) if number else None


@dataclass(slots=True)
class Ids:
    """The ids that a list defines, as numbers: texts, and numbers that are not exact, get others in their place.

    A reference means the id that is equal to it; else the only one that spells the same number, as "7" and 7; else
    the entry with that name.
    """

    texts: dict[int, Id]  # number in place of an id -> the id in the file; shared by all lists of a file
    findings: dict[str, int] = field(default_factory=dict)  # key -> its finding, which counts all of its ids
    _numbers: dict[Id, int] = field(default_factory=dict)
    _spellings: dict[int, set[Id]] = field(default_factory=dict)
    _names: dict[str, set[Id]] = field(default_factory=dict)

    def define(self, value: Id, name: str) -> int:
        """The number of an id that an entry of this name has."""
        number = self._number(value)
        if (spelled := _spelled(value)) is not None:
            self._spellings.setdefault(spelled, set()).add(value)
        self._names.setdefault(name, set()).add(value)
        return number

    def find(self, value: Id) -> tuple[int, str]:
        """The number of a referenced id, and the id in other words if the reference differs from it."""
        if value in self._numbers:
            return self._numbers[value], ""
        same = self._spellings.get(spelled, set()) if (spelled := _spelled(value)) is not None else set()
        if len(same) == 1:
            (meant,) = same
            return self._numbers[meant], f"read as the id {meant!r}"
        named = self._names.get(value, set()) if isinstance(value, str) else set()
        if len(named) == 1:
            (meant,) = named
            return self._numbers[meant], f"read as the name of the entry with the id {meant!r}"
        return (value, "") if isinstance(value, int) and exact(value) else (self._number(value), "")

    def _number(self, value: Id) -> int:
        if value not in self._numbers:
            self._numbers[value] = value if isinstance(value, int) and exact(value) else LARGEST_ID + len(self.texts)
            if not exact(value):
                self.texts[self._numbers[value]] = value
        return self._numbers[value]
