"""Labels as names of folders and files, on any system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 200  # bytes; file systems end at 255, and something may follow

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]")
# Windows takes these for devices, whatever follows a dot.
_DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)))
)


def safe_names(names: Sequence[str]) -> tuple[str, ...]:
    """A name of a file or folder for each of these names, which are all different.

    Most stay as they are. Characters that some system forbids become underscores, and a number makes those different
    that some system would take for the same.
    """
    taken = {_on_disk(name) for name in names if safe_name(name) == name}
    seen: set[str] = set()
    found = []
    for name in names:
        safe = safe_name(name)
        number = 1
        free = safe
        while _on_disk(free) in seen or (free != name and _on_disk(free) in taken):
            number += 1
            free = f"{safe}_{number}"
        seen.add(_on_disk(free))
        found.append(free)
    return tuple(found)


def safe_name(name: str) -> str:
    """A name that every system lets a file or folder have, and none hides: not empty, no path."""
    safe = _FORBIDDEN.sub("_", name).rstrip(". ")
    while len(safe.encode("utf-8", "replace")) > LONGEST:
        safe = safe[:-1].rstrip(". ")
    if not safe or safe.startswith(".") or safe.split(".")[0].casefold() in _DEVICES:
        safe = f"_{safe.lstrip('.')}"
    return safe


def _on_disk(name: str) -> str:
    """What many file systems compare: they do not tell small letters from capitals."""
    return unicodedata.normalize("NFC", name).casefold()
