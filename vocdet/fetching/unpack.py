"""Unpacking a tar or a zip into a folder, and nowhere else."""

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

from vocdet.errors import OutputError, Place, VocdetError
from vocdet.fetching.download import Progress, size_text
from vocdet.files import unwritable

BLOCK = 1 << 20  # bytes
MOST_ENTRIES = 1_000_000
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A file that was in an archive."""

    name: str  # relative, with forward slashes
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str  # as the archive has it
    size: int
    folder: bool
    odd: str  # why it is neither a file nor a folder to be had, as in `a link`; "" where it is
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, *, most: int, progress: Progress | None = None) -> tuple[Unpacked, ...]:
    """Unpack into an empty folder; what was unpacked, without the folders.

    The whole list of contents is looked at before anything is written. Refused are names that are absolute, climb
    out, stand twice or cannot be had everywhere; links, devices and encrypted files; and archives that say to hold
    more than `most` bytes, hold more than they say, or are cut or damaged.
    """
    with _entries(archive, folder) as entries:
        files = _checked(archive, entries, folder, most)
        total, done = sum(file.size for file in files), 0
        for file, entry in zip(files, (entry for entry in entries if not entry.folder), strict=True):
            for count in _copy(archive, entry, folder / file.name):
                done += count
                if progress:
                    progress(done, total)
    return files


def place(staged: Path, target: Path) -> None:
    """Move all that is in one folder into another, which may hold the same files, but no different ones.

    A folder that is not there yet appears at once and whole. Otherwise files are added, or, where something stands in
    the way, none of them; split files come last, so that what they list is there.
    """
    moves, clashes = _moves(staged, target)
    if clashes:
        problem = f"is there already, and not as the archive has it{_and_more(len(clashes))}"
        hint = "nothing was changed: move it away, or choose another folder"
        raise VocdetError(problem, place=Place(clashes[0]), hint=hint)
    begun = []
    try:
        for source, to in sorted(moves, key=lambda move: "ImageSets" in move[1].parts):
            begun.append((source, to))
            source.rename(to)
    except BaseException as error:
        for source, to in reversed(begun):
            if not source.exists() and to.exists():
                to.rename(source)
        if isinstance(error, OSError):
            raise unwritable(begun[-1][1], error) from error
        raise


def _moves(staged: Path, target: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    moves, clashes = [], []
    for source in sorted(staged.iterdir()):
        to = target / source.name
        if source.is_dir() and to.is_dir():
            more_moves, more_clashes = _moves(source, to)
            moves += more_moves
            clashes += more_clashes
        elif not to.exists() and not to.is_symlink():
            moves.append((source, to))
        elif not (source.is_file() and to.is_file() and filecmp.cmp(source, to, shallow=False)):
            clashes.append(to)
    return moves, clashes


def _and_more(count: int) -> str:
    return f", like {count - 1} more" if count > 1 else ""


@contextmanager
def _entries(archive: Path, folder: Path) -> Iterator[list[_Entry]]:
    with ExitStack() as stack:
        try:
            if archive.suffix == ".zip":
                opened = stack.enter_context(zipfile.ZipFile(archive))
                entries = [_zip_entry(opened, info) for info in opened.infolist()]
            else:  # "r:" is a plain tar: those of datasets are not compressed, and a plain one cannot swell
                tar = stack.enter_context(tarfile.open(archive, "r:"))
                entries = [_tar_entry(tar, member, folder) for member in tar]
        except BROKEN as error:
            raise _damaged(archive, error) from error
        yield entries


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    kind = stat.S_IFMT(info.external_attr >> 16)
    odd = "encrypted" if info.flag_bits & 1 else "a link" if kind == stat.S_IFLNK else ""
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        odd = "a device"
    return _Entry(info.orig_filename, info.file_size, info.is_dir(), odd, partial(archive.open, info))


def _tar_entry(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> _Entry:
    odd = "a link" if member.issym() or member.islnk() else "a device" if member.isdev() else ""
    if member.issparse() or not (odd or member.isfile() or member.isdir()):
        odd = "of a kind that is not unpacked"
    second_opinion = getattr(tarfile, "data_filter", None)  # in late releases of Python only
    if second_opinion and not odd and not _odd_name(member.name):
        try:
            second_opinion(member, str(folder))
        except tarfile.TarError as error:
            odd = f"refused by tarfile: {error}"
    return _Entry(member.name, member.size, member.isdir(), odd, partial(archive.extractfile, member))


def _checked(archive: Path, entries: Sequence[_Entry], folder: Path, most: int) -> tuple[Unpacked, ...]:
    if len(entries) > MOST_ENTRIES:
        raise _refused(archive, f"holds {len(entries)} entries")
    files: dict[str, Unpacked] = {}
    folders: set[str] = set()
    for entry in entries:
        odd = entry.odd or _odd_name(entry.name)
        name = str(PurePosixPath(entry.name)) if not odd else ""
        if not odd and not entry.folder and name in files:
            odd = "there twice"
        if odd:
            raise _refused(archive, f"holds {entry.name[:100]!r}, which is {odd}")
        folders.update(map(str, PurePosixPath(name).parents))
        if not entry.folder:
            files[name] = Unpacked(name, entry.size)
    both = folders & files.keys()
    total = sum(file.size for file in files.values())
    if both:
        raise _refused(archive, f"holds {min(both)!r} both as a file and as a folder")
    if not files:
        raise _refused(archive, "holds no files")
    if total > most:
        raise _refused(archive, f"would unpack to {size_text(total)}, where at most {size_text(most)} are expected")
    free = shutil.disk_usage(folder).free
    if total > free:
        problem = f"{size_text(total)} are to be unpacked, and {size_text(free)} are free"
        raise OutputError(problem, place=folder, hint="free some space, then run the same command again")
    return tuple(files.values())


def _odd_name(name: str) -> str:
    """Why a name cannot be unpacked; "" where it can."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute name"
    if ".." in parts:
        return "a name that climbs out of the folder"
    if "\\" in name or ":" in name or not name.isprintable():  # folders, drives and streams on Windows; surrogates
        return "a name that cannot be had on every system"
    return "" if any(part not in ("", ".") for part in parts) else "no name"


def _copy(archive: Path, entry: _Entry, path: Path) -> Iterator[int]:
    """Write one file; the bytes of every block."""
    done = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for block in _blocks(archive, entry):
                done += len(block)
                if done > entry.size:
                    raise _refused(archive, f"holds {entry.name!r}, which is longer than it says")
                file.write(block)
                yield len(block)
    except FileExistsError as error:  # names that differ in case only, on a disk that does not tell them apart
        raise _refused(archive, f"holds {entry.name!r}, which this disk takes for another of its files") from error
    except OSError as error:
        raise unwritable(path, error) from error
    if done < entry.size:
        raise _refused(archive, f"holds {entry.name!r}, which ends after {done} of {entry.size} bytes")


def _blocks(archive: Path, entry: _Entry) -> Iterator[bytes]:
    try:
        opened = entry.open()
        if opened is None:
            raise _refused(archive, f"holds {entry.name!r}, which is no file")
        with opened as file:
            while block := file.read(BLOCK):
                yield block
    except BROKEN as error:
        raise _damaged(archive, error) from error


def _refused(archive: Path, problem: str) -> VocdetError:
    return VocdetError(problem, place=Place(archive), hint="nothing was unpacked: delete it, and fetch it again")


def _damaged(archive: Path, error: Exception) -> VocdetError:
    return VocdetError(
        f"cannot be unpacked: {str(error).lower()}", place=Place(archive), hint="delete it, and fetch it again"
    )
