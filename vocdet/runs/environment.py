"""The environment of a training, recorded to understand and reproduce its results."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path

from vocdet import __version__
from vocdet.machine import memory

LIBRARIES = {"torch": "torch", "torchvision": "torchvision", "numpy": "numpy", "opencv": "cv2"}  # package: module
TIMEOUT = 5.0  # seconds for a program


def environment() -> dict[str, object]:
    """Versions, machine, devices, command line, git commit of the working folder and date, as plain JSON.

    Unknown values are left out. No library is imported: for one that is not loaded, the installed version counts.
    """
    facts: dict[str, object] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "vocdet": __version__,
        "python": platform.python_version(),
        **{name: version for name, module in LIBRARIES.items() if (version := _version(name, module))},
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 0,
        "memory_gb": round(memory().total / 2**30, 1),
        **_devices(),
        "command": shlex.join(sys.orig_argv),
        "folder": str(Path.cwd()),
        **git_state(Path()),
    }
    return {name: value for name, value in facts.items() if value not in ("", 0, None)}


def cpu_name() -> str:
    """The vendor's name of the processor; "" if unknown."""
    if sys.platform == "linux":
        with suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
                if line.startswith(("model name", "Model", "Hardware")):
                    return line.partition(":")[2].strip()
    if sys.platform == "darwin" and (name := _output("sysctl", "-n", "machdep.cpu.brand_string")):
        return name
    return platform.processor() or platform.machine()


def git_state(folder: Path) -> dict[str, object]:
    """The commit of a folder, and whether tracked files differ from it; empty outside a repository."""
    commit = _output("git", "-C", str(folder.absolute()), "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = _output("git", "-C", str(folder.absolute()), "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_changed": bool(changes)}


def _version(name: str, module: str) -> str:
    loaded = sys.modules.get(module)
    if loaded is not None:
        return str(getattr(loaded, "__version__", ""))
    for package in (name, f"{name}-python", f"{name}-python-headless"):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return ""


def _devices() -> dict[str, object]:
    """Threads and GPUs, if torch is loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    devices: dict[str, object] = {"threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        devices["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        devices["cuda"] = torch.version.cuda or ""
    return devices


def _output(*command: str) -> str:
    """The output of a program; "" if it is missing, fails or takes too long."""
    try:
        result = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.decode(errors="replace").strip() if result.returncode == 0 else ""
