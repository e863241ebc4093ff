"""The device that this process trains on, and one process per device if there are several.

`--device 0,1` starts the same command again, once per device. Such a process behaves as if torchrun had started it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import typer

from vocdet.errors import DeviceError, PeerError, VocdetError
from vocdet_cli import render
from vocdet_cli.training.processes import ERRORS, report_error, run

_DEVICE_NAME = re.compile(r"(?:cuda:)?(\d{1,4})|cpu")


def is_first() -> bool:
    """Whether this is the process that prints: the first, or the only one."""
    return _environment_number("WORLD_SIZE", 1) == 1 or _environment_number("RANK", 0) == 0


def device_here(option: str) -> str:
    """The device of this process for the value of `--device`: `auto`, `cuda:1`, `1`, or `0,1` for one process each.

    In the process that the user started, several devices run the command in one process each: then this does not
    return, but raises `typer.Exit` with their exit code, or the error of the first that failed. Call it before slow
    imports, and before anything is written.
    """
    names = devices(option)
    if _environment_number("WORLD_SIZE", 1) > 1:
        if ERRORS in os.environ:
            threading.Thread(target=_stop_with_parent, daemon=True).start()
        return _own_device(names)
    if len(names) == 1:
        return names[0]
    raise typer.Exit(run([*_python(), "-m", "vocdet_cli", *sys.argv[1:]], len(names)))


def devices(option: str) -> list[str]:
    """The devices that `--device` names: `0,1` is cuda:0 and cuda:1; several CPUs are allowed for a trial run."""
    names = [name.strip() for name in option.split(",")]
    if len(names) == 1 and not names[0].isdecimal():
        return names  # auto, cuda, mps: torch checks them
    hint = "give CUDA devices, as in 0,1 or cuda:0,cuda:1; cpu,cpu is for a trial run"
    chosen = []
    for name in names:
        match = _DEVICE_NAME.fullmatch(name)
        if match is None:
            raise DeviceError(f"invalid device {name!r} in --device {option}", hint=hint)
        chosen.append(f"cuda:{int(match[1])}" if match[1] else name)
    if len({name[:3] for name in chosen}) > 1:
        raise DeviceError(f"--device {option} mixes CPUs and CUDA devices", hint=hint)
    twice = [name for name in chosen if name != "cpu" and chosen.count(name) > 1]
    if twice:
        raise DeviceError(f"--device {option} names {twice[0]} twice", hint="name each device once")
    return chosen


def failed(error: VocdetError) -> None:
    """Print an error, or report it to the process that started this one for a device."""
    if not report_error(error, _environment_number("RANK", 0), echo=isinstance(error, PeerError)):
        render.error(error)


def _own_device(names: Sequence[str]) -> str:
    """The device of this process among those of its machine."""
    rank, count = _environment_number("LOCAL_RANK", 0), _environment_number("LOCAL_WORLD_SIZE", 1)
    if names[0] == "cpu":
        return "cpu"
    if names[0] not in {"auto", "cuda"}:
        if len(names) < count or rank >= len(names):
            raise DeviceError(
                f"--device names {len(names)} of the {max(count, rank + 1)} devices that this machine's processes need",
                hint="name one per process, as in --device 0,1, or use auto",
            )
        return names[rank]
    from vocdet_cli.startup import load_torch

    load_torch()
    import torch

    available = torch.cuda.device_count()
    if names[0] == "auto" and not available:
        return "cpu"
    if rank >= available:
        raise DeviceError(
            f"{available} CUDA devices for {max(count, rank + 1)} processes",
            hint="start one process per device, or use --device cpu",
        )
    return f"cuda:{rank}"


def _stop_with_parent() -> None:
    """Stop this process with SIGTERM when its parent ends, which closes the pipe of standard input."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _python() -> list[str]:
    """The command of this Python, with the current folder on its path only if this process has it there."""
    has_folder = not sys.path or sys.path[0] in {"", str(Path.cwd())}
    return [sys.executable] if has_folder or sys.version_info < (3, 11) else [sys.executable, "-P"]


def _environment_number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default
