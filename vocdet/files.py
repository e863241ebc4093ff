"""Writing files so that they appear whole or not at all."""

from __future__ import annotations

import os
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
