"""Unpacking a tar or zip archive safely: nothing is written outside the target folder."""

from __future__ import annotations

import filecmp
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from vocdet.errors import DownloadError, OutputError
from vocdet.fetching.download import size_text
from vocdet.files import READ_BLOCK, unwritable
from vocdet.formats.scan import Progress

MOST_ENTRIES = 1_000_000
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)


@dataclass(frozen=True, slots=True)
class UnpackedFile:
    """A file from an archive."""

    name: str  # relative, with forward slashes
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class _Member:
    name: str  # as the archive has it
    size: int
    folder: bool
    refusal: str  # why it is not unpacked, as in `a link`; "" for a regular file or folder
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, *, most: int, progress: Progress | None = None) -> tuple[UnpackedFile, ...]:
    """Unpack into an empty folder and return the files.

    The list of contents is checked before anything is written. A `DownloadError` refuses names that are absolute,
    lead out of the folder, are duplicates or are not portable; links, devices and encrypted files; and archives that
    declare more than `most` bytes, hold more than they declare, or are truncated or damaged.
    """
    with _archive_entries(archive, folder) as entries:
        files = _checked_entries(archive, entries, folder, most)
        total, done = sum(file.size for file in files), 0
        for file, entry in zip(files, (entry for entry in entries if not entry.folder), strict=True):
            for count in _copy_entry(archive, entry, folder / file.name):
                done += count
                if progress:
                    progress(done, total)
    return files


def place(staged: Path, target: Path) -> None:
    """Move the contents of one folder into another, which may hold the same files but no different ones.

    A new folder appears whole. In an existing folder, either all files are added or none; split files come last, so
    that the images they list exist.
    """
    moves, clashes = _moves(staged, target)
    if clashes:
        problem = f"is one of {len(clashes)} files that differ" if len(clashes) > 1 else "differs"
        hint = "nothing was changed: move it away, or choose another folder"
        raise DownloadError(f"{problem} from the archive", place=clashes[0], hint=hint)
    started = []
    try:
        for source, to in sorted(moves, key=lambda move: "ImageSets" in move[1].parts):
            started.append((source, to))
            source.rename(to)
    except BaseException as error:
        for source, to in reversed(started):
            if not source.exists() and to.exists():
                to.rename(source)
        if isinstance(error, OSError):
            raise unwritable(started[-1][1], error) from error
        raise


def _moves(staged: Path, target: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    moves, clashes = [], []
    for source in sorted(staged.iterdir()):
        to = target / source.name
        if source.is_dir() and to.is_dir():
            more_moves, more_clashes = _moves(source, to)
            if more_moves and to.is_symlink():
                problem, hint = "is a link: nothing is written through it", "choose another folder"
                raise DownloadError(problem, place=to, hint=hint)
            moves += more_moves
            clashes += more_clashes
        elif not to.exists() and not to.is_symlink():
            moves.append((source, to))
        elif not (source.is_file() and to.is_file() and filecmp.cmp(source, to, shallow=False)):
            clashes.append(to)
    return moves, clashes


@contextmanager
def _archive_entries(archive: Path, folder: Path) -> Iterator[list[_Member]]:
    with ExitStack() as stack:
        try:
            if archive.suffix == ".zip":
                opened = stack.enter_context(zipfile.ZipFile(archive))
                entries = [_zip_entry(opened, info) for info in opened.infolist()]
            else:  # "r:" is a plain tar: those of datasets are not compressed
                tar = stack.enter_context(tarfile.open(archive, "r:"))
                entries = [_tar_entry(tar, member, folder) for member in tar]
        except BROKEN as error:
            raise _damaged(archive, error) from error
        yield entries


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    refusal = "encrypted" if info.flag_bits & 1 else "a link" if kind == stat.S_IFLNK else ""
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        refusal = "a device"
    return _Member(info.orig_filename, info.file_size, info.is_dir(), refusal, partial(archive.open, info))


def _tar_entry(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> _Member:
    refusal = "a link" if member.issym() or member.islnk() else "a device" if member.isdev() else ""
    if member.issparse() or not (refusal or member.isfile() or member.isdir()):
        refusal = "not a regular file"
    data_filter = getattr(tarfile, "data_filter", None)  # in recent Python versions only
    if data_filter and not refusal and not _name_refusal(member.name):
        try:
            data_filter(member, str(folder))
        except tarfile.TarError as error:
            refusal = f"refused by tarfile: {error}"
    return _Member(member.name, member.size, member.isdir(), refusal, partial(archive.extractfile, member))


def _checked_entries(archive: Path, entries: Sequence[_Member], folder: Path, most: int) -> tuple[UnpackedFile, ...]:
    if len(entries) > MOST_ENTRIES:
        raise _refusal(archive, f"holds {len(entries)} entries")
    files: dict[str, UnpackedFile] = {}
    folders: set[str] = set()
    for entry in entries:
        refusal = entry.refusal or _name_refusal(entry.name)
        name = str(PurePosixPath(entry.name)) if not refusal else ""
        if not refusal and not entry.folder and name in files:
            refusal = "a duplicate"
        if refusal:
            raise _refusal(archive, f"holds {entry.name[:100]!r}, which is {refusal}")
        folders.update(map(str, PurePosixPath(name).parents))
        if not entry.folder:
            files[name] = UnpackedFile(name, entry.size)
    both = folders & files.keys()
    total = sum(file.size for file in files.values())
    if both:
        raise _refusal(archive, f"holds {min(both)!r} both as a file and as a folder")
    if not files:
        raise _refusal(archive, "holds no files")
    if total > most:
        raise _refusal(archive, f"would unpack to {size_text(total)}, more than the expected {size_text(most)}")
    free = shutil.disk_usage(folder).free
    if total > free:
        problem = f"unpacking takes {size_text(total)}, but {size_text(free)} are free"
        raise OutputError(problem, place=folder, hint="free some space, then run the same command again")
    return tuple(files.values())


def _name_refusal(name: str) -> str:
    """Why a name cannot be unpacked; "" for a portable relative name."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute name"
    if ".." in parts:
        return "a name that leads out of the folder"
    if "\\" in name or ":" in name or not name.isprintable():  # folders, drives and streams on Windows; surrogates
        return "a name that is not portable"
    return "" if any(part not in ("", ".") for part in parts) else "an empty name"


def _copy_entry(archive: Path, entry: _Member, path: Path) -> Iterator[int]:
    """Write one file and yield the bytes of every block."""
    done = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for block in _member_blocks(archive, entry):
                done += len(block)
                if done > entry.size:
                    raise _refusal(archive, f"holds {entry.name!r}, which is longer than declared")
                file.write(block)
                yield len(block)
    except FileExistsError as error:  # names that differ only in case, on a case-insensitive disk
        raise _refusal(archive, f"holds {entry.name!r}, whose name is taken on this disk") from error
    except OSError as error:
        raise unwritable(path, error) from error
    if done < entry.size:
        raise _refusal(archive, f"holds {entry.name!r}, which ends after {done} of {entry.size} bytes")


def _member_blocks(archive: Path, entry: _Member) -> Iterator[bytes]:
    try:
        opened = entry.open()
        if opened is None:
            raise _refusal(archive, f"holds {entry.name!r}, which is not a file")
        with opened as file:
            while block := file.read(READ_BLOCK):
                yield block
    except BROKEN as error:
        raise _damaged(archive, error) from error


def _refusal(archive: Path, problem: str) -> DownloadError:
    return DownloadError(problem, place=archive, hint="nothing was unpacked: delete it, and fetch it again")


def _damaged(archive: Path, error: Exception) -> DownloadError:
    problem = f"cannot be unpacked: {str(error).lower()}"
    return DownloadError(problem, place=archive, hint="delete it, and fetch it again")
