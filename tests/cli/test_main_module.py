"""`python -m vocdet_cli` is the command `vocdet`."""

from __future__ import annotations

import subprocess
import sys

import vocdet


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "vocdet_cli", *arguments], capture_output=True, text=True)


def test_the_package_runs_as_a_module() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{vocdet.__version__}\n", "")


def test_wrong_usage_ends_with_2_as_the_command_does() -> None:
    done = run("train-sdd")
    assert done.returncode == 2
    assert "No such command 'train-sdd'" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_module_runs_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", "import vocdet_cli.__main__"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
