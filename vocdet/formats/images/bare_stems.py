"""Stems without the hashes that annotation tools add to file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vocdet.formats.images.lookup import split_suffix

_PREFIX = re.compile(r"[0-9a-f]{8}(?:[0-9a-f]{24}|(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?[-_]+", re.IGNORECASE)
_ADDED_SUFFIX = re.compile(
    r"(?:_(?:jpe?g|png|bmp|webp|tiff?))?\.rf\.[0-9a-zA-Z]+$"  # of Roboflow
    r"|[._-](?=[0-9a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,64}$",
    re.IGNORECASE,
)
_LETTER, _DIGIT = re.compile("[a-fA-F]"), re.compile("[0-9]")


@dataclass(frozen=True, slots=True)
class BareStems:
    """Removes hashes from stems; prefixes only where they are hashes, not dates."""

    prefixed: bool

    @classmethod
    def of(cls, names: Sequence[str]) -> BareStems:
        prefixes = [match[0] for name in names if (match := _PREFIX.match(name.rpartition("/")[2]))]
        return cls(any(_LETTER.search(prefix) and _DIGIT.search(prefix) for prefix in prefixes))

    def stem(self, name: str) -> str:
        """The stem of a path without a hash, in lower case."""
        stem = split_suffix(name.rpartition("/")[2])[0]
        shorter = _ADDED_SUFFIX.sub("", stem)
        shorter = _PREFIX.sub("", shorter, count=1) if self.prefixed else shorter
        return (shorter or stem).casefold()
