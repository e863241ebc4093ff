"""The memory and the processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

SAME_START = 2.0  # seconds: the system's clock, from which start times are computed, may be adjusted by that much


@dataclass(frozen=True, slots=True)
class MemorySize:
    """Main memory in bytes."""

    total: int
    available: int  # without swapping


@dataclass(frozen=True, slots=True)
class _ControlGroup:
    """The files in which a version of Linux's control groups reports the memory of a group."""

    root: str
    limit: str
    used: str
    reclaimable: str  # the entry of memory.stat that counts pages of files, which the kernel gives up on demand


_V1 = _ControlGroup(
    "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
)  # fmt: skip
_V2 = _ControlGroup("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def memory(root: Path = Path("/")) -> MemorySize:
    """The memory of this machine, or of the container or job that limits this process, whichever is smaller.

    `root` is the root of the file system with the kernel's files.
    """
    system = psutil.virtual_memory()
    total, available = int(system.total), int(system.available)
    for limit, used in _container_limits(root):
        total = min(total, limit)
        available = min(available, max(0, limit - used))
    return MemorySize(total, available)


def started_at(pid: int) -> float:
    """When a process started, in seconds since the epoch; with the pid it identifies a process. 0 if unknown."""
    with suppress(psutil.Error, ValueError, OverflowError):
        return float(psutil.Process(pid).create_time())
    return 0.0


def is_running(pid: int, started: float) -> bool | None:
    """Whether the process with this pid and start time runs on this machine; None if that is unknown."""
    if pid <= 0 or not started:
        return None
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < SAME_START and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return None
    except (psutil.Error, OverflowError):
        return False


def _container_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of every control group that this process belongs to and that has a limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:  # hierarchy:controllers:path
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            group = _V2
        elif "memory" in controllers.split(","):
            group = _V1
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for folder in (inside, *inside.parents):  # a limit holds for all groups below it
            with suppress(OSError, ValueError):  # "max": no limit; in a container, outer groups are not visible
                yield _limit(root / group.root / folder, group)


def _limit(folder: Path, group: _ControlGroup) -> tuple[int, int]:
    limit = int((folder / group.limit).read_text())
    used = int((folder / group.used).read_text())
    with suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == group.reclaimable:
                used = max(0, used - int(value))
    return limit, used
