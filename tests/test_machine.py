"""Memory is what the container allows, and a process is identified by its pid and start time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from vocdet.machine import is_running, memory, started_at

MB = 1 << 20


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_v2(group: Path, *, limit: str, used: int, inactive_file: int = 0) -> None:
    write(group / "memory.max", f"{limit}\n")
    write(group / "memory.current", f"{used}\n")
    write(group / "memory.stat", f"anon 5\ninactive_file {inactive_file}\nactive_file 7\n")


def test_without_a_container_the_figures_are_those_of_the_system(tmp_path: Path) -> None:
    system = psutil.virtual_memory()
    found = memory(tmp_path)
    assert found.total == system.total
    assert abs(found.available - system.available) < 2048 * MB


def test_the_limit_of_a_container_is_the_smaller_figure_version_2(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    write_v2(tmp_path / "sys/fs/cgroup", limit=str(64 * MB), used=24 * MB)
    assert memory(tmp_path).total == 64 * MB
    assert memory(tmp_path).available == 40 * MB


def test_the_limit_of_a_container_is_the_smaller_figure_version_1(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/\n")
    group = tmp_path / "sys/fs/cgroup/memory"  # the path is that of the host: only the root is visible here
    write(group / "memory.limit_in_bytes", f"{64 * MB}\n")
    write(group / "memory.usage_in_bytes", f"{24 * MB}\n")
    write(group / "memory.stat", f"inactive_file {9 * MB}\ntotal_inactive_file {4 * MB}\n")
    assert memory(tmp_path).total == 64 * MB
    assert memory(tmp_path).available == 44 * MB


def test_a_limit_holds_for_the_groups_below_it(tmp_path: Path) -> None:
    root = tmp_path / "sys/fs/cgroup"
    write(tmp_path / "proc/self/cgroup", "0::/slurm/job_7/step_0\n")
    write_v2(root / "slurm/job_7/step_0", limit="max", used=10 * MB)
    write_v2(root / "slurm/job_7", limit=str(100 * MB), used=30 * MB)
    write_v2(root / "slurm", limit=str(120 * MB), used=110 * MB)
    assert memory(tmp_path).total == 100 * MB
    assert memory(tmp_path).available == 10 * MB


def test_pages_of_files_count_as_available_and_use_beyond_the_limit_as_nothing(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    write_v2(tmp_path / "sys/fs/cgroup", limit=str(64 * MB), used=60 * MB, inactive_file=50 * MB)
    assert memory(tmp_path).available == 54 * MB
    write_v2(tmp_path / "sys/fs/cgroup", limit=str(64 * MB), used=70 * MB)
    assert memory(tmp_path).available == 0


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", "a lot", ""])
def test_no_limit_and_an_unreadable_one_are_ignored(tmp_path: Path, limit: str) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    write_v2(tmp_path / "sys/fs/cgroup", limit=limit, used=24 * MB)
    assert memory(tmp_path).total == psutil.virtual_memory().total


def test_a_process_runs_until_it_ends() -> None:
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = started_at(other.pid)
        assert abs(started - before) < 60  # however busy the machine is
        assert is_running(other.pid, started)
        other.communicate(b"\n")
        assert not is_running(other.pid, started)
    assert started_at(other.pid) == 0


def test_a_pid_alone_does_not_identify_a_process() -> None:
    assert is_running(os.getpid(), started_at(os.getpid()))
    assert is_running(os.getpid(), started_at(os.getpid()) - 60) is False
    assert is_running(os.getpid(), 0.0) is None
    assert is_running(0, 1.0) is None
    assert started_at(-1) == 0
