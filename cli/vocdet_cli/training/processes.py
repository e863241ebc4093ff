"""One command in several processes that find each other, and what becomes of their signals, output and errors.

They are told what torchrun would tell them: `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and so on. torchrun itself is not asked
to start them: up to torch 2.10 it kills whatever has not ended 30 seconds after Ctrl-C, in the middle of a last
validation too, and for an error in a process it shows a traceback of its own. As there, each process leaves its error
in a file; here the first one is raised, once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from vocdet.errors import ManyErrors, Place, VocdetError, raise_all

ERRORS = "VOCDET_ERRORS"  # the folder for errors: told to the processes that are started here, and to no others
GRACE = 15.0  # seconds that the others have to end by themselves after one failed
LEAVE = 5.0  # seconds that all have after a second Ctrl-C
LOOK = 0.05  # seconds between looks at the processes
STOPPED = 130  # exit code after Ctrl-C
_POSIX = sys.platform != "win32"


@dataclass(frozen=True, slots=True, eq=False)
class _Process:
    """A process that was started."""

    rank: int
    popen: subprocess.Popen[bytes]
    log: Path  # what it printed, unless it is the first

    @property
    def failed(self) -> bool:
        return self.popen.poll() not in (None, 0, STOPPED)

    def send(self, number: int) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(number)

    def end(self) -> None:
        """End it at once, and what it started."""
        if self.popen.poll() is None:
            if sys.platform == "win32":
                self.popen.kill()
            else:
                os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


@dataclass(frozen=True, slots=True)
class _Told:
    """What a process told of its end."""

    rank: int
    time: float
    echo: bool  # nothing but that another process ended
    errors: tuple[VocdetError, ...]


def run(command: Sequence[str], count: int) -> int:
    """Run a command in `count` processes; their exit code: 0, 130 where they were stopped, or the failed one's.

    The first process prints where this one does; what the others print is kept, and shown where one of them fails
    with a traceback. Ctrl-C, SIGTERM and SIGHUP are passed on to all, who stop when they can; at the second they have
    seconds left. When one fails the others are ended. An error that a process told with `tell` is raised here: that
    of the first which failed by itself. So is the end of a process by a signal.
    """
    with TemporaryDirectory(prefix="vocdet-") as name, ExitStack() as stack:
        folder = Path(name)
        common = _environment(count, folder)
        started = [stack.enter_context(_started(command, rank, common, folder)) for rank in range(count)]
        with _passed_on(started) as signals:
            failures = _wait(started, signals)
        return _outcome(started, failures, folder, interrupted=bool(signals))


def tell(error: VocdetError, rank: int, *, echo: bool) -> bool:
    """Leave an error to the process that started this one; whether there is such a process to leave it to.

    An `echo` only says that another process ended, and is of no interest where that one told why.
    """
    folder = os.environ.get(ERRORS)
    if not folder:
        return False
    errors = [
        {
            "problem": e.problem,
            "hint": e.hint,
            "place": asdict(e.place) | {"path": str(e.place.path)} if e.place else None,
        }
        for e in (error.errors if isinstance(error, ManyErrors) else (error,))
    ]
    told = {"rank": rank, "time": time.time(), "echo": echo, "errors": errors}
    try:
        half = Path(folder) / f"{rank}.half"  # this process may be killed while it writes
        half.write_text(json.dumps(told), encoding="utf-8")
        half.replace(half.with_suffix(".json"))
    except OSError:
        return False
    return True


def _environment(count: int, folder: Path) -> dict[str, str]:
    """What all processes are told; as they are on one machine they talk over its loopback device."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {**os.environ, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), ERRORS: str(folder)}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    told.setdefault("OMP_NUM_THREADS", str(max(1, cores // count)))
    loopback = [name for _, name in socket.if_nameindex() if name in {"lo", "lo0"}]
    if loopback:
        told.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    return told


@contextmanager
def _started(command: Sequence[str], rank: int, common: dict[str, str], folder: Path) -> Iterator[_Process]:
    """A running process, ended on leaving.

    Its standard input is a pipe that closes when this process is gone, however it went. A session of its own keeps the
    terminal's Ctrl-C from it, so that it gets each from here, once; Windows gives it to all, and nothing is passed on.
    """
    environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    log = folder / f"{rank}.log"
    with log.open("wb") as file:
        output = file if rank else None
        popen = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=_POSIX
        )
    process = _Process(rank, popen, log)
    try:
        yield process
    finally:
        process.end()
        if popen.stdin:
            popen.stdin.close()


@contextmanager
def _passed_on(started: Sequence[_Process]) -> Iterator[list[float]]:
    """Inside, signals to end go to all processes; gives the times at which they came."""
    came: list[float] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        came.append(time.monotonic())
        if _POSIX:
            for process in started:
                process.send(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        numbers.append(signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    heeded = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # as under nohup
    for number in heeded:
        signal.signal(number, on_signal)
    try:
        yield came
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)


def _wait(started: Sequence[_Process], signals: Sequence[float]) -> list[_Process]:
    """Wait until all have ended, or end those that outlive a failed one; those that failed by themselves, in order."""
    failures: list[_Process] = []
    until = float("inf")
    while any(process.popen.poll() is None for process in started):
        failures += [process for process in started if process.failed and process not in failures]
        if failures:
            until = min(until, time.monotonic() + GRACE)
        if len(signals) > 1:
            until = min(until, signals[1] + LEAVE)
        if time.monotonic() > until:
            break
        time.sleep(LOOK)
    failures += [process for process in started if process.failed and process not in failures]
    for process in started:
        process.end()
    return failures


def _outcome(started: Sequence[_Process], failures: Sequence[_Process], folder: Path, *, interrupted: bool) -> int:
    """The exit code, or the error, that stands for all."""
    told = sorted((_told(path) for path in folder.glob("*.json")), key=lambda one: (one.echo, one.time))
    known = {one.rank for one in told}
    silent = [process for process in failures if process.rank not in known]
    if told and not told[0].echo:
        raise_all(told[0].errors)
    for process in silent:
        code: int = process.popen.returncode
        if code > 0:
            sys.stderr.write(process.log.read_text(encoding="utf-8", errors="replace"))
            return code
        if not interrupted:
            raise _ended(process, len(started))
    if interrupted:
        return STOPPED
    if told:
        raise_all(told[0].errors)
    return max(process.popen.returncode for process in started)


def _ended(process: _Process, count: int) -> VocdetError:
    number = -process.popen.returncode
    names = {each.value: each.name for each in signal.Signals}
    hint = "it may be that memory ran out: a smaller --batch takes less" if names.get(number) == "SIGKILL" else ""
    return VocdetError(f"process {process.rank + 1} of {count} was ended by {names.get(number, number)}", hint=hint)


def _told(path: Path) -> _Told:
    told = json.loads(path.read_text(encoding="utf-8"))
    errors = tuple(
        VocdetError(
            each["problem"],
            hint=each["hint"],
            place=Place(**each["place"] | {"path": Path(each["place"]["path"])}) if each["place"] else None,
        )
        for each in told["errors"]
    )
    return _Told(told["rank"], told["time"], told["echo"], errors)
