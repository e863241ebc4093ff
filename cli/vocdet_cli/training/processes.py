"""Run one command in several processes that train together, and handle their signals, output and errors.

The processes get torchrun's environment: `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and so on, so that everything after the
start is torch's. Its launchers do not fit. `torch.distributed.launcher.api.elastic_launch`, in the oldest supported
version, kills all processes 30 seconds after Ctrl-C, even during a last validation; a second Ctrl-C does not end them
earlier; they keep running when the launcher is killed. `torch.multiprocessing.start_processes` does not forward
signals, and terminates the other processes as soon as one fails. Both show an error as a traceback, without its place
and hint, mix the output of all processes, and load torch before they start one. As with torchrun, each process writes
its error to a file; here the first one is raised, once.
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

from vocdet.errors import ManyErrors, Place, TrainingError, VocdetError, raise_all

ERRORS = "VOCDET_ERRORS"  # environment variable: the folder for errors of the processes started here
FAILURE_GRACE = 15.0  # seconds that the others have to end after one failed
STOP_GRACE = 5.0  # seconds that all have to end after a second Ctrl-C
POLL = 0.05  # seconds between polls of the processes
STOPPED = 130  # exit code after Ctrl-C
_POSIX = sys.platform != "win32"


@dataclass(frozen=True, slots=True, eq=False)
class _Process:
    """A started process."""

    rank: int
    popen: subprocess.Popen[bytes]
    log: Path  # its output, unless it is the first

    @property
    def failed(self) -> bool:
        return self.popen.poll() not in (None, 0, STOPPED)

    def send(self, number: int) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(number)

    def end(self) -> None:
        """Kill it with its own child processes."""
        if self.popen.poll() is None:
            if sys.platform == "win32":
                self.popen.kill()
            else:
                os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


@dataclass(frozen=True, slots=True)
class _ErrorReport:
    """The errors that ended a process."""

    rank: int
    time: float
    echo: bool  # only says that another process ended
    errors: tuple[VocdetError, ...]
    remedy: str


def run(command: Sequence[str], count: int) -> int:
    """Run a command in `count` processes; their exit code: 0, 130 if they were stopped, or that of the failed one.

    The first process shares this one's output; the output of the others goes to a log, which is shown if one of them
    fails with a traceback. Ctrl-C, SIGTERM and SIGHUP are forwarded to all processes, which stop when they can; after
    a second one they have a few seconds left. When one fails, the others are ended. An error that a process reported
    with `report_error` is raised here: that of the first process to fail on its own. A process that is ended by a
    signal raises an error, too.
    """
    with TemporaryDirectory(prefix="vocdet-") as name, ExitStack() as stack:
        folder = Path(name)
        common = _environment(count, folder)
        started: list[_Process] = []
        with _forwarded_signals(started) as signals:  # before the first starts, or Ctrl-C could end this process alone
            for rank in range(count):
                process = stack.enter_context(_started_process(command, rank, common, folder))
                started.append(process)
                if signals:  # not all have it, and none has done anything yet: they end with the block
                    return STOPPED
            failures = _wait(started, signals)
        return _outcome(started, failures, folder, interrupted=bool(signals))


def report_error(error: VocdetError, rank: int, *, echo: bool) -> bool:
    """Pass an error to the process that started this one; False if no process of vocdet started it.

    An `echo` only says that another process ended; it counts if that process reported nothing.
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
    report = {"rank": rank, "time": time.time(), "echo": echo, "errors": errors, "remedy": error.remedy}
    try:
        half = Path(folder) / f"{rank}.half"  # the process may be killed while it writes
        half.write_text(json.dumps(report), encoding="utf-8")
        half.replace(half.with_suffix(".json"))
    except OSError:
        return False
    return True


def _environment(count: int, folder: Path) -> dict[str, str]:
    """The environment of all processes; on one machine they communicate over its loopback device."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), ERRORS: str(folder)}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // count)))
    loopback = [name for _, name in socket.if_nameindex() if name in {"lo", "lo0"}]
    if loopback:
        environment.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    return environment


@contextmanager
def _started_process(command: Sequence[str], rank: int, common: dict[str, str], folder: Path) -> Iterator[_Process]:
    """A running process, which ends with the block.

    Its standard input is a pipe that closes when this process ends for any reason. It gets its own session, so that
    the terminal's Ctrl-C reaches it once, from here; on Windows every process gets Ctrl-C, and none is forwarded.
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
def _forwarded_signals(started: Sequence[_Process]) -> Iterator[list[float]]:
    """Forward signals to all processes inside the block; the times at which they arrived."""
    times: list[float] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        times.append(time.monotonic())
        if _POSIX:
            for process in started:
                process.send(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        numbers.append(signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    handled = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # as under nohup
    for number in handled:
        signal.signal(number, on_signal)
    try:
        yield times
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


def _wait(started: Sequence[_Process], signals: Sequence[float]) -> list[_Process]:
    """Wait until all processes end, or end those that outlive a failed one; the failed ones, in order."""
    failures: list[_Process] = []
    until = float("inf")
    while any(process.popen.poll() is None for process in started):
        failures += [process for process in started if process.failed and process not in failures]
        if failures:
            until = min(until, time.monotonic() + FAILURE_GRACE)
        if len(signals) > 1:
            until = min(until, signals[1] + STOP_GRACE)
        if time.monotonic() > until:
            break
        time.sleep(POLL)
    failures += [process for process in started if process.failed and process not in failures]
    for process in started:
        process.end()
    return failures


def _outcome(started: Sequence[_Process], failures: Sequence[_Process], folder: Path, *, interrupted: bool) -> int:
    """The exit code, or the error, of all processes together."""
    reports = sorted((_read_report(path) for path in folder.glob("*.json")), key=lambda one: (one.echo, one.time))
    reported = {report.rank for report in reports}
    silent = [process for process in failures if process.rank not in reported]
    if reports and not reports[0].echo:
        raise_all(reports[0].errors, remedy=reports[0].remedy)
    for process in silent:
        code: int = process.popen.returncode
        if code > 0:
            sys.stderr.write(process.log.read_text(encoding="utf-8", errors="replace"))
            return code
        if not interrupted:
            raise _ended_by_signal(process, len(started))
    if interrupted:
        return STOPPED
    if reports:
        raise_all(reports[0].errors, remedy=reports[0].remedy)
    return max(process.popen.returncode for process in started)


def _ended_by_signal(process: _Process, count: int) -> TrainingError:
    number = -process.popen.returncode
    names = {each.value: each.name for each in signal.Signals}
    hint = "it may have run out of memory: use a smaller --batch" if names.get(number) == "SIGKILL" else ""
    return TrainingError(f"process {process.rank + 1} of {count} was ended by {names.get(number, number)}", hint=hint)


def _read_report(path: Path) -> _ErrorReport:
    report = json.loads(path.read_text(encoding="utf-8"))
    errors = tuple(
        TrainingError(
            each["problem"],
            hint=each["hint"],
            place=Place(**each["place"] | {"path": Path(each["place"]["path"])}) if each["place"] else None,
        )
        for each in report["errors"]
    )
    return _ErrorReport(report["rank"], report["time"], report["echo"], errors, report["remedy"])
