"""Names of files and folders on any system."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from vocdet.errors import RunError

LONGEST_NAME = 200  # bytes; file systems allow 255, including suffixes
LONGEST_STEM = 180  # bytes of a stem that gets numbers

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]")
# Device names of Windows, with any suffix.
_DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)))
)


def safe_names(names: Sequence[str]) -> tuple[str, ...]:
    """A unique file name for each of these unique names.

    Most stay unchanged. Characters that a system forbids become underscores, and names that a system would confuse get
    a number.
    """
    taken = {folded(name) for name in names if safe_name(name) == name}
    seen: set[str] = set()
    found = []
    for name in names:
        safe = safe_name(name)
        number = 1
        free = safe
        while folded(free) in seen or (free != name and folded(free) in taken):
            number += 1
            free = f"{safe}_{number}"
        seen.add(folded(free))
        found.append(free)
    return tuple(found)


def distinct_names(names: Iterable[tuple[str, str]]) -> list[str]:
    """Names of these stems and suffixes: long stems are shortened, and equal names get a number, in any case."""
    taken: set[str] = set()
    found = []
    for stem, suffix in names:
        while len(os.fsencode(stem)) > LONGEST_STEM:
            stem = stem[:-1]
        name, number = f"{stem}{suffix}", 1
        while folded(name) in taken:
            number += 1
            name = f"{stem}_{number}{suffix}"
        taken.add(folded(name))
        found.append(name)
    return found


def safe_name(name: str) -> str:
    """A name that is valid for files and folders on every system, and not hidden."""
    safe = _FORBIDDEN.sub("_", name).rstrip(". ")
    while len(safe.encode("utf-8", "replace")) > LONGEST_NAME:
        safe = safe[:-1].rstrip(". ")
    if not safe or safe.startswith(".") or safe.split(".")[0].casefold() in _DEVICES:
        safe = f"_{safe.lstrip('.')}"
    return safe


def folded(name: str) -> str:
    """A name as case-insensitive file systems compare it: without case, in one Unicode form."""
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def check_recordable(path: Path) -> None:
    """Raise a `RunError` if a path is not UTF-8, which no record can hold."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise RunError("a path that is not UTF-8, which no run can record", place=path, hint="rename it") from None
