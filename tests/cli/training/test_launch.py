"""`--device 0,1`: one process per device, and what the user sees of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from vocdet_cli.training import launch, processes

from vocdet.errors import ManyErrors, Place, VocdetError

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", processes.ERRORS)
Start = Callable[[str], int]

HEAD = """
import os, signal, sys, time
from pathlib import Path
from vocdet.errors import ManyErrors, Place, VocdetError
from vocdet_cli.training import launch
rank = int(os.environ["RANK"])
def await_(name):
    while not Path(name).exists():
        time.sleep(.01)
"""


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No processes around the test, and a folder for what its own write."""
    for name in (*PLACE, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VOCDET_CPU_TUNING", "0")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Run a script in two processes, each with all the time that it needs."""
    monkeypatch.setattr(processes, "FAILURE_GRACE", 120)
    monkeypatch.setattr(processes, "STOP_GRACE", 120)
    return lambda script: processes.run([sys.executable, "-c", HEAD + script], 2)


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("auto", ["auto"]),
        ("cuda", ["cuda"]),
        ("cuda:3", ["cuda:3"]),
        ("2", ["cuda:2"]),
        ("0,1", ["cuda:0", "cuda:1"]),
        ("cuda:1, 0", ["cuda:1", "cuda:0"]),
        ("cpu,cpu", ["cpu", "cpu"]),
        ("tpu", ["tpu"]),  # what there is, torch knows
    ],
)
def test_devices_are_named_by_number_or_in_full(option: str, names: list[str]) -> None:
    assert launch.devices(option) == names


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("0,", "invalid device '' in --device 0,"),
        ("0,gpu", "invalid device 'gpu' in --device 0,gpu"),
        ("auto,auto", "invalid device 'auto' in --device auto,auto"),
        ("0,-1", "invalid device '-1' in --device 0,-1"),
        ("0,cpu", "--device 0,cpu mixes CPUs and CUDA devices"),
        ("0,cuda:0", "--device 0,cuda:0 names cuda:0 twice"),
    ],
)
def test_invalid_devices_are_refused_with_a_hint(option: str, problem: str) -> None:
    with pytest.raises(VocdetError) as caught:
        launch.devices(option)
    assert caught.value.problem == problem
    assert caught.value.hint


def test_one_device_starts_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch.device_here("auto") == "auto"
    assert launch.device_here("1") == "cuda:1"
    assert launch.is_first()
    monkeypatch.setenv("WORLD_SIZE", "1")  # as some platforms set it for everything they run
    assert launch.device_here("1") == "cuda:1"


def test_several_devices_run_the_same_command_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], int]] = []

    def run(command: list[str], count: int) -> int:
        ran.append((command, count))
        return 7

    monkeypatch.setattr(launch, "run", run)
    monkeypatch.setattr(sys, "argv", ["/bin/vocdet", "train-ssd", "a b", "--device", "0,1,2"])
    with pytest.raises(typer.Exit) as caught:
        launch.device_here("0,1,2")
    assert caught.value.exit_code == 7
    ((command, count),) = ran
    assert count == 3
    assert command[0] == sys.executable
    assert command[-6:] == ["-m", "vocdet_cli", "train-ssd", "a b", "--device", "0,1,2"]


@pytest.mark.parametrize(("rank", "device"), [("0", "cuda:2"), ("1", "cuda:5")])
def test_a_process_takes_the_device_at_its_place(rank: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(PLACE, ("7", "8", rank, "2"), strict=False):
        monkeypatch.setenv(name, value)  # the last of four machines
    assert launch.device_here("2,5") == device
    assert launch.device_here("cpu,cpu") == launch.device_here("cpu") == "cpu"
    assert not launch.is_first()
    monkeypatch.setenv("RANK", "0")
    assert launch.is_first()


@pytest.mark.parametrize("option", ["1", "0,1", "0,1,2"])
def test_too_few_devices_for_the_processes_are_an_error(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(PLACE, ("3", "4", "3", "4"), strict=False):
        monkeypatch.setenv(name, value)
    with pytest.raises(VocdetError, match=r"of the 4 devices that this machine's processes need"):
        launch.device_here(option)


def test_without_cuda_auto_is_the_cpu_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for name, value in zip(PLACE, ("1", "2", "1", "2"), strict=False):
        monkeypatch.setenv(name, value)
    assert launch.device_here("auto") == "cpu"
    with pytest.raises(VocdetError, match="0 CUDA devices for 2 processes"):
        launch.device_here("cuda")


def test_with_cuda_auto_is_the_device_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for name, value in zip(PLACE, ("1", "2", "1", "2"), strict=False):
        monkeypatch.setenv(name, value)
    assert launch.device_here("auto") == launch.device_here("cuda") == "cuda:1"


def test_the_processes_have_the_environment_of_torchrun(start: Start) -> None:
    code = start("""
names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR OMP_NUM_THREADS".split()
Path(f"environment{rank}").write_text(" ".join(os.environ[name] for name in names))
Path(f"port{rank}").write_text(os.environ["MASTER_PORT"])
""")
    assert code == 0
    threads = max(1, len(os.sched_getaffinity(0)) // 2) if sys.platform == "linux" else (os.cpu_count() or 1) // 2
    assert Path("environment0").read_text() == f"0 0 2 2 127.0.0.1 {threads}"
    assert Path("environment1").read_text() == f"1 1 2 2 127.0.0.1 {threads}"
    assert int(Path("port0").read_text()) == int(Path("port1").read_text()) > 0


def test_the_number_of_threads_set_by_the_user_is_preserved(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert start('Path(f"threads{rank}").write_text(os.environ["OMP_NUM_THREADS"])') == 0
    assert Path("threads1").read_text() == "5"


def test_only_the_first_process_prints(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    assert start('print("out", rank, flush=True); print("err", rank, file=sys.stderr)') == 0
    assert capfd.readouterr() == ("out 0\n", "err 0\n")


def test_the_error_of_any_process_ends_the_others_and_is_raised_with_place_and_hint(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "FAILURE_GRACE", 0.1)
    begin = time.monotonic()
    with pytest.raises(VocdetError) as caught:
        start("""
if rank == 0:
    time.sleep(600)  # as one that waits for the other
launch.failed(VocdetError("too many legs: 5", place=Place(Path("a.xml"), 14, "legs"), hint="count again"))
sys.exit(1)
""")
    assert str(caught.value) == "a.xml:14: legs: too many legs: 5 (count again)"
    assert time.monotonic() - begin < 300


def test_the_same_error_of_all_processes_is_raised_once(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ManyErrors) as caught:
        start("""
launch.failed(ManyErrors([VocdetError("one", place=Path("a")), VocdetError("two")]))
sys.exit(1)
""")
    assert [str(error) for error in caught.value.errors] == ["a: one", "two"]
    assert capfd.readouterr() == ("", "")


ECHO = """
from vocdet.errors import PeerError
echo = PeerError("another process of this training ended")
"""


def test_the_cause_is_raised_and_not_its_consequences(start: Start) -> None:
    with pytest.raises(VocdetError, match=r"^the cause$"):
        start(
            ECHO
            + """
if rank == 0:
    launch.failed(echo)
    Path("reported").touch()
else:
    await_("reported")
    launch.failed(VocdetError("the cause"))
sys.exit(1)
"""
        )


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_a_killed_process_is_named(start: Start) -> None:
    with pytest.raises(VocdetError, match=r"^process 2 of 2 was ended by SIGKILL \(it may have run out of memory"):
        start(
            ECHO
            + """
if rank == 1:
    Path("dying").touch()
    os.kill(os.getpid(), signal.SIGKILL)
await_("dying")
launch.failed(echo)
sys.exit(1)
"""
        )


def test_a_broken_group_without_a_known_cause_is_an_error(start: Start) -> None:
    with pytest.raises(VocdetError, match="another process of this training ended"):
        start(ECHO + "launch.failed(echo); sys.exit(1)")


def test_a_traceback_of_another_process_is_shown(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    assert start("assert rank == 0, 'a bug'") == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("AssertionError: a bug") == 1


@pytest.fixture
def press() -> Iterator[Callable[[str, signal.Signals], None]]:
    """Send this process a signal when a file is there."""
    threads = []

    def when(name: str, number: signal.Signals) -> None:
        def wait() -> None:
            while not Path(name).exists():
                time.sleep(0.01)
            os.kill(os.getpid(), number)

        threads.append(threading.Thread(target=wait, daemon=True))
        threads[-1].start()

    yield when
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


STOPPING = """
presses = []
def pressed(number, _):
    presses.append(number)
    Path(f"pressed{rank}-{len(presses)}").write_text(signal.Signals(number).name)
signal.signal(signal.SIGINT, pressed)
signal.signal(signal.SIGTERM, pressed)
Path(f"ready{rank}").touch()
await_("ready0"), await_("ready1"), Path("ready").touch()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C goes another way")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_process_once_and_they_end_normally(
    start: Start, press: Callable[[str, signal.Signals], None], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    press("ready", number)
    code = start(
        STOPPING
        + """
while not presses:
    time.sleep(.01)
if rank == 0:
    await_("saved1"), time.sleep(.2)  # it has more to write, and is given the time, however long it takes
Path(f"saved{rank}").touch()
sys.exit(130)
"""
    )
    assert code == 130
    assert Path("saved0").exists()
    assert Path("pressed0-1").read_text() == Path("pressed1-1").read_text() == number.name
    assert not Path("pressed0-2").exists()
    assert not Path("pressed1-2").exists()
    assert signal.getsignal(number) is before


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C goes another way")
def test_a_signal_while_processes_start_ends_those_that_have(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess_popen(*arguments, **options))
        os.kill(os.getpid(), signal.SIGINT)
        return started[-1]

    subprocess_popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    assert start("time.sleep(600)") == 130
    assert [one.returncode for one in started] == [-signal.SIGKILL]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C goes another way")
def test_a_second_ctrl_c_ends_processes_that_do_not_stop(
    start: Start, press: Callable[[str, signal.Signals], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_GRACE", 2)
    press("ready", signal.SIGINT)
    press("pressed1-1", signal.SIGINT)
    assert start(STOPPING + "time.sleep(600)") == 130
    assert Path("pressed1-2").read_text() == "SIGINT"


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C goes another way")
def test_a_process_that_fails_because_another_ended_is_no_error_after_ctrl_c(
    start: Start, press: Callable[[str, signal.Signals], None]
) -> None:
    press("ready", signal.SIGINT)
    script = """
while not presses:
    time.sleep(.01)
if rank == 0:
    sys.exit(130)
launch.failed(echo)
sys.exit(1)
"""
    assert start(ECHO + STOPPING + script) == 130


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_the_processes_do_not_outlive_their_parent() -> None:
    script = (
        HEAD
        + """
os.environ["VOCDET_CPU_TUNING"] = "0"
assert launch.device_here("cpu,cpu") == "cpu"
Path(f"pid{rank}").write_text(str(os.getpid()))
time.sleep(600)
"""
    )
    start = (
        f"import sys; from vocdet_cli.training import processes; processes.run([sys.executable, '-c', {script!r}], 2)"
    )
    starter = subprocess.Popen([sys.executable, "-c", start])
    until = time.monotonic() + 120
    files = [Path("pid0"), Path("pid1")]
    while not all(file.exists() and file.read_text() for file in files):  # a new file is empty at first
        assert time.monotonic() < until
        time.sleep(0.02)
    starter.kill()
    starter.wait()
    pids = [int(file.read_text()) for file in files]
    while any(map(is_running, pids)):
        assert time.monotonic() < until
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    if state.parent.parent.joinpath("self").exists():  # a zombie has an entry, too
        return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_places_of_errors_survive_the_transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.ERRORS, str(tmp_path))
    monkeypatch.setenv("RANK", "3")
    launch.failed(VocdetError("unreadable", place=Place(Path("b\udcff.xml"), 3)))
    (path,) = tmp_path.iterdir()
    assert path.name == "3.json"
    (error,) = processes._read_report(path).errors
    assert error.place == Place(Path("b\udcff.xml"), 3)


def test_in_a_process_of_the_user_an_error_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    launch.failed(VocdetError("unreadable", hint="even"))
    assert capsys.readouterr().err == "error: unreadable\n  hint: even\n"
