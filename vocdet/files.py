"""Writing files so that they appear whole or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vocdet.errors import OutputError


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` when the block ends well, and leaves nothing when it does not.

    The bytes are on the disk (fsync) before the name changes. Folders above are made, and leave with it. A disk
    that is full or read-only is an `OutputError` that names the file.
    """
    temporary, missing = "", list[Path]()
    try:
        missing += [folder for folder in path.parents if not folder.exists()]  # innermost first
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        for folder in missing:
            with suppress(OSError):  # something else is in it
                folder.rmdir()
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


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


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill that takes the name `folder` when the block ends well, and is gone when it does not.

    What is at that name already, but for an empty folder, is an `OutputError`. Where the process is killed, what it
    had written stays under a hidden name beside it, and goes when the next one writes there.
    """
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        hint = "name a new folder, or delete what is there"
        raise OutputError("is there already", place=folder, hint=hint)
    parent, missing = folder.absolute().parent, list[Path]()
    try:
        missing += [above for above in folder.absolute().parents if not above.exists()]  # innermost first
        parent.mkdir(parents=True, exist_ok=True)
        _clear_left(parent, folder.name)
        temporary = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name[:100]}.{os.getpid()}."))
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if hasattr(os, "sync"):
            os.sync()  # every file is on the disk before the folder takes its name
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for above in missing:
            with suppress(OSError):  # something else is in it
                above.rmdir()
        if isinstance(error, OSError):
            raise unwritable(folder, error) from error
        raise


def _clear_left(parent: Path, name: str) -> None:
    """Delete what processes that are gone had begun to write under this name."""
    for left in parent.glob(f".{glob.escape(name[:100])}.*.*"):
        pid = left.name[len(name[:100]) + 2 :].split(".")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is somebody else's
    return True


def make_folder(path: Path) -> None:
    """Make a folder and those above it; no complaint where it exists."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """What to tell a user who asked for a file that cannot be written."""
    hint = "choose another folder, or free some space" if error.errno == 28 else "choose a folder you may write to"
    return OutputError(f"cannot be written: {(error.strerror or str(error)).lower()}", place=path, hint=hint)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
