"""What the tests of all formats share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vocdet import files


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: what stays after a crash is looked at in tests/test_files.py."""
    monkeypatch.setattr(files, "_flush", lambda _: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files a test writes anew for every example."""
    return tmp_path_factory.mktemp("anew")
