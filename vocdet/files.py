"""Writing files so that they appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from vocdet.errors import OutputError, Place, VocdetError
from vocdet.wording import reason


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` when the block ends well, and leaves nothing when it does not.

    The bytes are on the disk (fsync) before the name changes. Folders above are made, and leave with it. A disk
    that is full or read-only is an `OutputError` that names the file.
    """
    with _making_parents(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_begin(path))
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def clear_left(path: Path) -> None:
    """Delete what processes that were killed had written of a file; call it where no other one can be writing it."""
    for left in path.parent.glob(f"{glob.escape(_begin(path))}*"):
        with suppress(OSError):
            left.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, or nothing."""
    with writing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file, or nothing."""
    write_bytes(path, text.encode())


def write_new(path: str, data: bytes, made: set[str]) -> None:
    """Write a file into a folder that nobody sees yet; `made` remembers which folders are there.

    Quick, for thousands of files: the folder as a whole takes its name when all are written (`appearing`).
    """
    folder = path.rpartition("/")[0]
    try:
        if folder not in made:
            Path(folder).mkdir(parents=True, exist_ok=True)
            made.add(folder)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            while data:
                data = data[os.write(file, data) :]
        finally:
            os.close(file)
    except OSError as error:
        raise unwritable(Path(path), error) from error


def check_new(folder: Path) -> None:
    """An `OutputError` where no new folder can take this name: something is there already, but for an empty folder."""
    hint = "name a new folder, or delete what is there"
    try:
        empty = folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
        if not empty and (folder.is_symlink() or folder.exists()):
            raise OutputError("is there already", place=folder, hint=hint)
        if empty and (os.path.ismount(folder) or folder.samefile(Path())):
            problem = "is a disk of its own" if os.path.ismount(folder) else "is the folder you are in"
            raise OutputError(f"{problem}, which cannot be replaced", place=folder, hint="name a new folder in it")
    except OSError as error:
        raise unwritable(folder, error) from error


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill that takes the name `folder` when the block ends well, and is gone when it does not.

    What is at that name already, but for an empty folder, is an `OutputError`. Where the process is killed, what it
    had written stays under a hidden name beside it, and goes when the next one writes there. The place of an error in
    the block is the one that the file would have had.
    """
    check_new(folder)
    with _making_parents(folder):
        _clear_left(folder)
        temporary, lock = _own_folder(folder)
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            _flush(temporary)  # every file is on the disk before the folder takes its name
            if sys.platform == "win32" and folder.exists():
                folder.rmdir()
            temporary.rename(folder)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, VocdetError):
                error.place = _moved(error.place, temporary, folder)
            raise
        finally:
            if lock is not None:
                os.close(lock)


@contextmanager
def _making_parents(path: Path) -> Iterator[None]:
    """Make the folders above a path; they leave again where the block fails. An `OSError` in it is of the path."""
    missing: list[Path] = []
    try:
        missing += [above for above in path.absolute().parents if not above.exists()]  # innermost first
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for above in missing:
            with suppress(OSError):  # something else is in it
                above.rmdir()
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def _flush(folder: Path) -> None:
    """Wait until all that was written on the disk of a folder is there, where the system can be asked for that.

    Syncing each of thousands of files takes minutes; os.sync() waits for all disks, for ever if one does not answer.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if sys.platform == "linux" else None
    if syncfs is None:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(handle):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(handle)


def _moved(place: Place | None, temporary: Path, folder: Path) -> Place | None:
    if place is None or not place.path.is_relative_to(temporary):
        return place
    return replace(place, path=folder / place.path.relative_to(temporary))


_UNFINISHED = ".vocdet-unfinished"


def _own_folder(folder: Path) -> tuple[Path, int | None]:
    """A new hidden folder beside another, and what holds it as long as this process lives, where that can be held."""
    while True:
        made = tempfile.mkdtemp(dir=folder.absolute().parent, prefix=_begin(folder), suffix=_UNFINISHED)
        try:
            lock = _lock(made)
        except OSError:  # no locks on this disk: what is left here by a process that is killed stays
            return Path(made), None
        if lock is not None:  # else another process took it for left, and deletes it
            return Path(made), lock


def _clear_left(folder: Path) -> None:
    """Delete what processes that are gone had begun to write under this name."""
    for left in folder.absolute().parent.glob(f"{glob.escape(_begin(folder))}*{_UNFINISHED}"):
        with suppress(OSError):
            lock = _lock(str(left))
            if lock is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def _begin(path: Path) -> str:
    """How the hidden name begins under which something is written; characters take up to 4 of a name's 255 bytes."""
    return f".{path.absolute().name[:50]}."


def _lock(folder: str) -> int | None:
    """Hold a folder until the process ends; None where another one does, or has deleted it.

    An `OSError` where that cannot be known: on Windows, and on some network disks.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), Path(folder).stat()):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(handle)
        raise
    os.close(handle)
    return None


def make_folder(path: Path) -> None:
    """Make a folder and those above it; no complaint where it exists."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """What to tell a user who asked for a file that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "choose another folder, or free some space" if full else "choose a folder you may write to"
    return OutputError(f"cannot be written: {reason(error)}", place=path, hint=hint)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
