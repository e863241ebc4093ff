"""Read files of limited size; write files and folders that appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vocdet.errors import OutputError, Place, VocdetError
from vocdet.wording import reason

if TYPE_CHECKING:
    import hashlib

# A pipe is opened without waiting for its other end.
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
READ_BLOCK = 1 << 20  # bytes read at a time


def hasher(data: bytes = b"", *, size: int) -> hashlib.blake2b:
    """BLAKE2b of these bytes, and of more to come, for a digest of `size` bytes."""
    import hashlib  # loads OpenSSL, which most commands do not need

    return hashlib.blake2b(data, digest_size=size)


class FileTooLargeError(OSError):
    """A file is larger than its reader accepts."""


def read_limited(path: Path | str, limit: int) -> bytes:
    """The bytes of a file. An `OSError` for anything but a regular file, which is not read, and for one of more than
    `limit` bytes, a `FileTooLargeError`.

    Twice as fast as `Path.read_bytes`, for thousands of small files.
    """
    file = os.open(path, _READ)
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            if stat.S_ISDIR(facts.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            raise OSError(errno.EINVAL, "not a regular file")
        if facts.st_size > limit:
            raise _too_large(limit)
        data = os.read(file, facts.st_size + 1)
        while len(data) != facts.st_size and (more := os.read(file, READ_BLOCK)):  # it grows, or hides its size
            data += more
            if len(data) > limit:
                raise _too_large(limit)
        return data
    finally:
        os.close(file)


def first_bytes(path: Path | str, count: int = 512) -> bytes:
    """The first bytes of a regular file; b"" if it cannot be read."""
    try:
        file = os.open(path, _READ)
    except OSError:
        return b""
    try:
        return os.read(file, count) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(file)


def _too_large(limit: int) -> FileTooLargeError:
    return FileTooLargeError(errno.EFBIG, f"larger than {limit >> 20} MB")


@contextmanager
def writing(path: Path, *, sync: bool = True, private: bool = False) -> Iterator[IO[bytes]]:
    """A binary file that gets the name `path` when the block succeeds, and is deleted when it fails.

    With `sync` the bytes are on disk (fsync) before the rename. A file that is replaced keeps its permissions; only its
    owner can read a `private` one. Missing parent folders are created, and deleted after a failure. A full or read-only
    disk is an `OutputError` that names the file.
    """
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if not private:
            temporary.chmod(_mode(path))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside `path` that gets its name when the block succeeds, and is deleted when it fails.

    A link at `path` is replaced; its target is unchanged.
    """
    with _making_parents(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path))
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def delete_partial_files(path: Path) -> None:
    """Delete partial files of killed processes; only call it while no other process writes the file."""
    for partial in path.parent.glob(f"{glob.escape(_prefix(path))}*"):
        with suppress(OSError):
            partial.unlink()


def write_bytes(path: Path, data: bytes, *, sync: bool = True, private: bool = False) -> None:
    """Write a whole file, or nothing."""
    with writing(path, sync=sync, private=private) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file, or nothing."""
    write_bytes(path, text.encode())


def write_new(path: str, data: bytes, created: set[str]) -> None:
    """Write a file into a folder that is still hidden (see `appearing`); `created` collects the folders that exist.

    Fast for thousands of files, because only the folder as a whole is renamed.
    """
    folder = path.rpartition("/")[0]
    try:
        if folder not in created:
            Path(folder).mkdir(parents=True, exist_ok=True)
            created.add(folder)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            while data:
                data = data[os.write(file, data) :]
        finally:
            os.close(file)
    except OSError as error:
        raise unwritable(Path(path), error) from error


NO_RIGHT = "choose a writable folder"


def check_writable(path: Path, *, inside: bool = False, hint: str = NO_RIGHT) -> None:
    """Raise an `OutputError` if no file can be written at `path`, or, with `inside`, in the folder `path`.

    Work that takes long calls it before it starts. Nothing is created.
    """
    if not inside and is_folder(path):
        raise unwritable(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    _probe(path / "file" if inside else path, path, hint)


def _probe(path: Path, place: Path, hint: str = NO_RIGHT) -> None:
    """Create and delete a file in the first folder above `path` that exists; an `OutputError` names `place`."""
    try:
        with suppress(FileNotFoundError):
            path.lstat()  # its name may be too long, or a part of it a file
        above = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise unwritable(place, error, hint) from error


def check_new(folder: Path) -> None:
    """Raise an `OutputError` if a new folder cannot be written, or its name is taken; an empty one may be replaced."""
    hint = "name a new folder, or delete this one"
    try:
        empty = folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
        if not empty and (folder.is_symlink() or folder.exists()):
            raise OutputError("exists already", place=folder, hint=hint)
        if empty:
            check_replaceable(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    _probe(folder, folder)


def check_replaceable(folder: Path) -> None:
    """Raise an `OutputError` for an existing folder in whose place no other can be put."""
    if os.path.ismount(folder) or folder.samefile(Path()):
        problem = "is a mount point" if os.path.ismount(folder) else "is the current folder"
        raise OutputError(f"{problem}, which cannot be replaced", place=folder, hint="name a new folder in it")


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill that gets the name `folder` when the block succeeds, and is deleted when it fails.

    An existing file or nonempty folder is an `OutputError`. A killed process leaves a hidden folder beside it, which
    the next one deletes. The place of an error in the block is the final path of the file.
    """
    check_new(folder)
    with _making_parents(folder):
        _delete_unfinished(folder)
        temporary, lock = _temporary_folder(folder)
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            _flush(temporary)  # every file is on the disk before the rename
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
    """Create the parent folders of a path, and delete them if the block fails. An `OSError` names the path."""
    missing: list[Path] = []
    try:
        missing += [above for above in path.absolute().parents if not above.exists()]  # innermost first
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for above in missing:
            with suppress(OSError):  # not empty
                above.rmdir()
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def _flush(folder: Path) -> None:
    """Flush the disk of a folder, if the system supports that.

    Syncing each of thousands of files takes minutes; os.sync() waits for all disks, forever if one does not respond.
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


def _temporary_folder(folder: Path) -> tuple[Path, int | None]:
    """A new hidden folder beside another, and its lock for the life of this process; None without locks."""
    while True:
        path = tempfile.mkdtemp(dir=folder.absolute().parent, prefix=_prefix(folder), suffix=_UNFINISHED)
        try:
            lock = lock_folder(path)
        except OSError:  # this disk has no locks, so unfinished folders are never deleted
            return Path(path), None
        if lock is not None:  # else another process is deleting it as unfinished
            return Path(path), lock


def _delete_unfinished(folder: Path) -> None:
    """Delete unfinished folders of killed processes."""
    for unfinished in folder.absolute().parent.glob(f"{glob.escape(_prefix(folder))}*{_UNFINISHED}"):
        with suppress(OSError):
            lock = lock_folder(str(unfinished))
            if lock is not None:
                shutil.rmtree(unfinished, ignore_errors=True)
                os.close(lock)


def _prefix(path: Path) -> str:
    """The prefix of hidden names; a character takes up to 4 of the 255 bytes of a name."""
    return f".{path.absolute().name[:50]}."


def lock_folder(folder: str) -> int | None:
    """Lock a folder until the process ends; None if another process locks or deletes it.

    Raises an `OSError` without locks: on Windows, and on some network disks.
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


def is_file(path: Path | str) -> bool:
    """Whether there is a file; unlike `Path.is_file`, False where the system refuses to say."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether there is a folder; unlike `Path.is_dir`, False where the system refuses to say."""
    return os.path.isdir(path)  # noqa: PTH112


def is_link(path: Path) -> bool:
    """Whether there is a link; unlike `Path.is_symlink`, False where the system refuses to say."""
    return os.path.islink(path)  # noqa: PTH114


def may_list(folder: Path) -> bool:
    """Whether the files of a folder may be listed and opened, as far as the folder decides that."""
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def first_link(path: Path, root: Path) -> Path | None:
    """The first link on the way from `root`, itself excepted, down to a file or folder; None if there is none.

    What is written into a dataset must not change the files of others, which a link in it may lead to.
    """
    names = path.relative_to(root).parts
    ways = (root.joinpath(*names[: i + 1]) for i in range(len(names)))
    return next((way for way in ways if is_link(way)), None)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, if they do not exist."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


_FULL = "choose another folder, or free some space"
_UNWRITABLE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "choose another name: this is a folder",
    errno.ENOTDIR: "choose another folder: a part of the path is a file",
    errno.EEXIST: "choose another folder: a part of the path is a file",
}


def unwritable(path: Path, error: OSError, hint: str = NO_RIGHT) -> OutputError:
    """The error for a file that cannot be written; `hint` is for one that must not be."""
    hint = _UNWRITABLE.get(error.errno or 0, hint)
    return OutputError(f"cannot be written: {reason(error)}", place=path, hint=hint)


def _mode(path: Path) -> int:
    """The permissions of a file, or those that a new one gets; a link has none of its own."""
    with suppress(OSError):
        found = path.lstat().st_mode
        if stat.S_ISREG(found):
            return found & 0o777
    return 0o666 & ~_umask()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
