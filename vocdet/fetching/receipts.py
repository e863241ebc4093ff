"""What was unpacked from an archive: written down, and compared with what is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vocdet.fetching.catalog import Archive
from vocdet.fetching.unpack import Unpacked
from vocdet.files import write_text

STATE = ".vocdet-fetch"  # the folder of the receipts, in that of the archives


def write_receipt(archive: Archive, folder: Path, files: Sequence[Unpacked]) -> None:
    """Write down that all of these files came out of this very archive."""
    lines = [f"md5 {archive.md5}", *(f"{file.size} {file.name}" for file in files)]
    write_text(_path(archive, folder), "\n".join(lines) + "\n")


def read_receipt(archive: Archive, folder: Path) -> list[Unpacked] | None:
    """What was unpacked from this archive; None where it was not, or another one was."""
    try:
        first, *lines = _path(archive, folder).read_text(encoding="utf-8").split("\n")[:-1]
        files = [Unpacked(name, int(size)) for size, _, name in (line.partition(" ") for line in lines)]
    except (OSError, ValueError):
        return None
    return files if first == f"md5 {archive.md5}" else None


def compare(files: Sequence[Unpacked], folder: Path) -> tuple[list[str], list[str]]:
    """Names that are missing, and names of another size."""
    missing, changed = [], []
    for file in files:
        try:
            if (folder / file.name).stat().st_size != file.size:
                changed.append(file.name)
        except OSError:
            missing.append(file.name)
    return missing, changed


def _path(archive: Archive, folder: Path) -> Path:
    return folder / STATE / f"{archive.name}.txt"
