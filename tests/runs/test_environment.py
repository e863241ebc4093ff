"""The environment that a training records."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vocdet import __version__
from vocdet.machine import MemorySize
from vocdet.runs import environment as module
from vocdet.runs.environment import environment, git_state


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody without a configuration."""
    who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    names = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *names, *arguments], cwd=folder, env={**os.environ, **who}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_environment_names_versions_machine_and_command() -> None:
    found = environment()
    assert (found["vocdet"], found["python"]) == (__version__, platform.python_version())
    assert found["numpy"] == np.__version__
    assert {
        "date",
        "torch",
        "torchvision",
        "opencv",
        "platform",
        "cpu",
        "cores",
        "memory_gb",
        "command",
    } <= found.keys()


def test_the_command_is_recorded_as_typed() -> None:
    script = "from vocdet.runs.environment import environment; print(environment()['command'])"
    done = subprocess.run([sys.executable, "-c", script, "a b"], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith(" 'a b'")


def test_versions_are_read_without_loading_libraries() -> None:
    code = (
        "import sys\nfrom vocdet.runs.environment import environment\nfound = environment()\n"
        "assert found['torch'] and found['opencv'] and 'threads' not in found, found\n"
        "assert not {'torch', 'cv2', 'torchvision'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commit_is_recorded_and_whether_tracked_files_differ(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "recipe.toml").write_text("a")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "new").write_text("untracked files are no change")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path / "runs") == {"git_commit": commit, "git_changed": False}
    (tmp_path / "recipe.toml").write_text("b")
    assert git_state(tmp_path) == {"git_commit": commit, "git_changed": True}


def test_outside_a_repository_no_commit_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert git_state(tmp_path) == {}
    assert "git_commit" not in environment()


def test_unknown_values_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_name", lambda: "")
    monkeypatch.setattr(module, "memory", lambda: MemorySize(0, 0))
    assert not {"cpu", "memory_gb"} & environment().keys()
