"""What is directly in a folder. All formats judge a dataset by the same listing of each of its folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8


@dataclass(frozen=True)
class Entries:
    """The names of the visible entries of a folder, sorted."""

    files: tuple[str, ...]  # links to files included
    folders: tuple[str, ...]  # links to folders included
    others: tuple[str, ...]  # pipes, sockets and devices, and links that lead nowhere
    links: frozenset[str]  # those of all these that are links
    invalid: tuple[str, ...]  # names that are not valid text, in none of the others

    @cached_property
    def by_suffix(self) -> Mapping[str, list[str]]:
        """The files by their suffix in lower case, sorted; "" for those without one."""
        table: dict[str, list[str]] = {}
        for name in self.files:
            table.setdefault(_suffix(name), []).append(name)
        return table

    @cached_property
    def suffixes(self) -> frozenset[str]:
        """The suffixes of all names, in lower case."""
        return frozenset((*self.by_suffix, *map(_suffix, self.folders), *map(_suffix, self.others))) - {""}


_listed: ContextVar[dict[str, Entries] | None] = ContextVar("listed", default=None)


@contextmanager
def listed_once() -> Iterator[None]:
    """Inside, each folder is listed once: `entries_of` does not see what changes in the meantime."""
    token = _listed.set({})
    try:
        yield
    finally:
        _listed.reset(token)


def entries_of(folder: Path | str) -> Entries:
    """The entries of a folder; an `OSError` if it cannot be listed."""
    listed, path = _listed.get(), os.fspath(folder)
    if listed is None:
        return _entries_of(path)
    if path not in listed:
        listed[path] = _entries_of(path)
    return listed[path]


def _suffix(name: str) -> str:
    return name[name.rfind(".") :].lower() if "." in name else ""


def _entries_of(folder: str) -> Entries:
    files, folders, others, links = list[str](), list[str](), list[str](), list[str]()
    with os.scandir(folder) as found:
        for entry in found:
            name = entry.name
            if name[0] == ".":
                continue
            if entry.is_symlink():
                links.append(name)
            try:
                (files if entry.is_file() else folders if entry.is_dir() else others).append(name)
            except OSError:  # a circular link
                others.append(name)
    names = (*files, *folders, *others)
    invalid = {name for name in names if NOT_TEXT.search(name)} if NOT_TEXT.search("/".join(names)) else set[str]()
    kinds = [tuple(sorted(name for name in kind if name not in invalid)) for kind in (files, folders, others)]
    return Entries(kinds[0], kinds[1], kinds[2], frozenset(links), tuple(sorted(invalid)))
