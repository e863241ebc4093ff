"""Receipts: the list of files that an archive unpacked to, to verify them later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vocdet.fetching.catalog import Archive
from vocdet.fetching.unpack import UnpackedFile
from vocdet.files import write_text

FETCH_STATE = ".vocdet-fetch"  # folder of the receipts, beside the archives


def write_receipt(archive: Archive, folder: Path, files: Sequence[UnpackedFile]) -> None:
    """Record that these files came from this archive, by its checksum."""
    lines = [f"md5 {archive.md5}", *(f"{file.size} {file.name}" for file in files)]
    write_text(_receipt_path(archive, folder), "\n".join(lines) + "\n")


def read_receipt(archive: Archive, folder: Path) -> list[UnpackedFile] | None:
    """The files unpacked from this archive; None if it was not unpacked, or if its checksum differs."""
    try:
        first, *lines = _receipt_path(archive, folder).read_text(encoding="utf-8").split("\n")[:-1]
        files = [UnpackedFile(name, int(size)) for size, _, name in (line.partition(" ") for line in lines)]
    except (OSError, ValueError):
        return None
    return files if first == f"md5 {archive.md5}" else None


def compare_files(files: Sequence[UnpackedFile], folder: Path) -> tuple[list[str], list[str]]:
    """Names of missing files, and of files with another size."""
    missing, changed = [], []
    for file in files:
        try:
            if (folder / file.name).stat().st_size != file.size:
                changed.append(file.name)
        except OSError:
            missing.append(file.name)
    return missing, changed


def _receipt_path(archive: Archive, folder: Path) -> Path:
    return folder / FETCH_STATE / f"{archive.name}.txt"
