"""Bytes for decoded images: in this process, between processes, or in a file on the disk."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.machine import memory

MEMORY_SHARE = 0.25  # of the machine's memory, for decoded images
SUFFIX = ".pixels"
LARGEST = 32 << 30  # bytes of other files in the folder; those that have not been used for longest go first
OLDEST = 90 * 86400  # seconds since a file was last used

_OURS = re.compile(r"[0-9a-f]{32}\.pixels")


class Memory:
    """`size` bytes, zero at first, to be read as `view` (size,) and written by `write`.

    Other processes see what is written where it has a path. A disk that is full ends writing, not the process: a map
    that is written to would end it, so a file is written to by its handle.
    """

    def __init__(self, size: int, handle: int | None = None, path: str | None = None) -> None:
        self.size = size
        self._path = path
        self._handle = handle if hasattr(os, "pwrite") else None
        writable = self._handle is None  # Windows has reserved what it maps
        if handle is None:
            self._map = mmap.mmap(-1, size)
        else:
            self._map = mmap.mmap(handle, size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
            weakref.finalize(self, os.close, handle)
        self._full = False
        self.view: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self.view.setflags(write=False)

    def write(self, place: int, data: NDArray[np.generic]) -> bool:
        """Write an array's bytes; whether there was room for them. After the first time there is none, none is."""
        content = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
        if self._full:
            return False
        if self._handle is None:
            self._map[place : place + len(content)] = content
            return True
        try:
            while content:
                written = os.pwrite(self._handle, content, place)
                place, content = place + written, content[written:]
        except OSError:
            self._full = True
        return not self._full

    @staticmethod
    def of(handle: int, size: int, path: str) -> Memory:
        """The bytes of an open file, which is closed with them, or at once where they cannot be had."""
        try:
            return Memory(size, handle, path)
        except BaseException:
            os.close(handle)
            raise

    def __reduce__(self) -> tuple[Callable[..., Memory | None], tuple[int, str | None]]:
        return _opened_again, (self.size, self._path)


def _opened_again(size: int, path: str | None) -> Memory | None:
    """The same memory in another process; None where it cannot be had."""
    if path is None:
        return None
    try:
        return Memory.of(os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0)), size, path)
    except (OSError, ValueError):
        return None


def shared_memory(size: int, *, shared: bool) -> Memory | None:
    """Memory that is gone when its processes are; None where there is none. `shared`: other processes shall see it."""
    if size <= 0:
        return None
    with suppress(OSError, ValueError, OverflowError):
        if hasattr(os, "memfd_create"):
            handle = os.memfd_create("vocdet-images")
            _lengthen(handle, size)
            return Memory.of(handle, size, f"/proc/{os.getpid()}/fd/{handle}")
    with suppress(OSError, ValueError, OverflowError):
        return _temporary_memory(size) if shared else Memory(size)
    return None


def _temporary_memory(size: int) -> Memory | None:
    if free_bytes(Path(tempfile.gettempdir())) < 2 * size:
        return None
    handle, name = tempfile.mkstemp(prefix="vocdet-", suffix=SUFFIX)
    try:
        _lengthen(handle, size)
        mapped = Memory.of(handle, size, name)
    except BaseException:
        _delete(name)
        raise
    weakref.finalize(mapped, _delete, name)
    return mapped


def _delete(name: str) -> None:
    with suppress(OSError):  # on Windows, while a process that is about to end has it open
        Path(name).unlink()


def _lengthen(handle: int, size: int) -> None:
    """Let an open file be this long; without data in it, it takes nothing on most disks. Closed where it fails."""
    try:
        os.ftruncate(handle, size)
    except BaseException:
        os.close(handle)
        raise


def disk_memory(folder: Path, key: str, size: Callable[[int], int]) -> Memory | None:
    """The bytes of the file of this key, of 32 hexadecimal digits, which is made where it is not there.

    `size` tells how large it is to be, by how many bytes of the disk it has already; a file never shrinks. None where
    the folder or the file cannot be written. Files in the folder that were not used for long are deleted.
    """
    path = folder / f"{key}{SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder, path.name)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(path, flags, 0o600)
    except OSError:
        return None
    with suppress(OSError, ValueError, OverflowError):  # no room for it, or nothing to keep
        facts = os.fstat(handle)
        large = max(size(_used(facts)), facts.st_size)
        if large > facts.st_size:
            _lengthen(handle, large)
        mapped = Memory.of(handle, large, str(path))
        with suppress(OSError):
            os.utime(path)
        return mapped
    return None


def _clear(folder: Path, mine: str) -> None:
    """Delete files of other datasets that are too old, and the oldest where all are too large."""
    files = []
    for file in folder.iterdir():
        if _OURS.fullmatch(file.name) and file.name != mine:
            with suppress(OSError):
                facts = file.stat()
                files.append((facts.st_mtime, _used(facts), file))
    left = sum(used for _, used, _ in files)
    for last_used, used, file in sorted(files):
        if left > LARGEST or last_used < time.time() - OLDEST:
            left -= used
            with suppress(OSError):
                file.unlink()


def _used(facts: os.stat_result) -> int:
    """Bytes that a file takes on the disk."""
    return 512 * facts.st_blocks if hasattr(facts, "st_blocks") else facts.st_size


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk of a folder; 0 where that is not told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def memory_budget() -> int:
    """How many bytes of decoded images to keep: a quarter of the memory of the machine, or of its container.

    The processes that torchrun started on this machine share it.
    """
    processes = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(MEMORY_SHARE * memory().total) // max(1, int(processes) if processes.isdecimal() else 1)
