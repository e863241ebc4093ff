"""Which device this process trains on, and a process for each where several are asked for.

`--device 0,1` starts the same command again, once a device. Inside such a process it makes no difference whether it was
started here or by torchrun.
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

from vocdet.errors import VocdetError
from vocdet_cli import render
from vocdet_cli.training.processes import ERRORS, run, tell

_NAME = re.compile(r"(?:cuda:)?(\d{1,4})|cpu")


def is_first() -> bool:
    """Whether this is the process that prints: the first, or the only one."""
    return _number("WORLD_SIZE", 1) == 1 or _number("RANK", 0) == 0


def device_here(asked: str) -> str:
    """The device of this process, from what `--device` says: `auto`, `cuda:1`, `1`, or `0,1` for one process each.

    In the process that the user started, several devices mean that the command is run by one process for each: then
    this does not return, but raises `typer.Exit` with what they ended with, or the error of the first that failed. Call
    it before anything slow is loaded and before anything is written.
    """
    names = devices(asked)
    if _number("WORLD_SIZE", 1) > 1:
        if ERRORS in os.environ:
            threading.Thread(target=_end_with_starter, daemon=True).start()
        return _own(names)
    if len(names) == 1:
        return names[0]
    raise typer.Exit(run([*_python(), "-m", "vocdet_cli", *sys.argv[1:]], len(names)))


def devices(asked: str) -> list[str]:
    """What `--device` names, one a device: `0,1` is cuda:0 and cuda:1; several may be CPUs, to try it out."""
    names = [name.strip() for name in asked.split(",")]
    if len(names) == 1 and not names[0].isdecimal():
        return names  # auto, cuda, mps: whoever loads torch knows them
    hint = "give CUDA devices as in 0,1 or cuda:0,cuda:1; cpu,cpu is to try it out"
    found = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            raise VocdetError(f"there is no device {name!r} in --device {asked}", hint=hint)
        found.append(f"cuda:{int(match[1])}" if match[1] else name)
    if len({name[:3] for name in found}) > 1:
        raise VocdetError(f"--device {asked} mixes CPUs and CUDA devices", hint=hint)
    twice = [name for name in found if name != "cpu" and found.count(name) > 1]
    if twice:
        raise VocdetError(f"--device {asked} names {twice[0]} twice", hint="name each device once, for one process")
    return found


def failed(error: VocdetError) -> None:
    """Print an error; in a process that was started for a device, hand it to the one that started it."""
    # asked without loading it: torch takes seconds, and where it was not loaded nothing was done together
    distributed = sys.modules.get("vocdet.training.distributed")
    echo = distributed is not None and isinstance(error, distributed.PeerEnded)
    if not tell(error, _number("RANK", 0), echo=echo):
        render.error(error)


def _own(names: Sequence[str]) -> str:
    """The device of this process among its machine's."""
    rank, count = _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", 1)
    if names[0] == "cpu":
        return "cpu"
    if names[0] not in {"auto", "cuda"}:
        if len(names) < count or rank >= len(names):
            raise VocdetError(
                f"--device names {len(names)} of the {max(count, rank + 1)} devices that this machine's processes need",
                hint="name one for each process, as in --device 0,1, or let auto do it",
            )
        return names[rank]
    from vocdet_cli.startup import load_torch

    load_torch()
    import torch

    there = torch.cuda.device_count()
    if names[0] == "auto" and not there:
        return "cpu"
    if rank >= there:
        raise VocdetError(
            f"there are {there} CUDA devices for {max(count, rank + 1)} processes",
            hint="start one process for each, or use --device cpu",
        )
    return f"cuda:{rank}"


def _end_with_starter() -> None:
    """Stop this process, as SIGTERM does, when the one that started it is gone and with it the pipe to read from."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _python() -> list[str]:
    """Python as it runs here: without the current folder among its modules, where this one is without it."""
    here = not sys.path or sys.path[0] in {"", str(Path.cwd())}
    return [sys.executable] if here or sys.version_info < (3, 11) else [sys.executable, "-P"]


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default
