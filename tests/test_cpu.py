"""What is said to the process before torch is loaded, and by whom."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from vocdet.cpu import OFF, prepare_cpu


class C:
    """Stands in for the C library."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.calls.append((option, value))
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> C:
    made = C()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: made)
    monkeypatch.delenv(OFF, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")  # and so whatever is set in the test is gone after it
    return made


def test_threads_sleep_and_memory_is_kept(libc: C, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert prepare_cpu()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert libc.calls == [(-4, 0), (-1, 1 << 30)]  # M_MMAP_MAX, M_TRIM_THRESHOLD in malloc.h


def test_what_the_user_has_set_stays(libc: C, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert prepare_cpu()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_it_can_be_switched_off(libc: C, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFF, "0")
    assert not prepare_cpu()
    assert "OMP_WAIT_POLICY" not in os.environ
    assert libc.calls == []


def test_another_system_or_c_library_is_no_error(libc: C, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(sys, "platform", "darwin")
    assert prepare_cpu()
    assert libc.calls == []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert prepare_cpu()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert prepare_cpu()
