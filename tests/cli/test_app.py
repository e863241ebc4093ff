"""The command line as a whole: help, exit codes, and what is not loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
import typer
import vocdet_cli
from vocdet_cli import app as module
from vocdet_cli.app import app, main

from vocdet.errors import ManyErrors, Place, VocdetError

LAZY: Any = typer.main.get_command(app)
COMMANDS = {name: command.load() for name, command in LAZY.commands.items()}
MAIN = "vocdet_cli.__main__"
COMPLETE = {"_VOCDET_COMPLETE": "complete_bash"}
Run = Callable[..., tuple[int, str, str]]


def test_the_commands_from_annotations_to_a_detector_exist() -> None:
    way = {"check", "split", "train-backbone", "train-ssd", "eval", "predict", "live", "demo"}
    assert way <= COMMANDS.keys()


@pytest.mark.parametrize("command", sorted(name for name, one in COMMANDS.items() if not one.hidden))
def test_every_command_and_option_has_help(vocdet: Run, command: str) -> None:
    code, out, err = vocdet(command, "--help")
    assert (code, err) == (0, "")
    assert f"{command} [OPTIONS]" in out
    assert COMMANDS[command].help
    for parameter in COMMANDS[command].params:
        if parameter.name != "context":
            assert parameter.help, f"{command} {parameter.name} says nothing"


def test_help_lists_every_command_with_the_first_paragraph_of_its_own_help() -> None:
    modules = [import_module(one.name) for one in walk_packages(vocdet_cli.__path__, "vocdet_cli.") if one.name != MAIN]
    groups: list[Any] = [typer.main.get_group(one.app) for one in modules if hasattr(one, "app") and one is not module]
    own = {name: command for group in groups for name, command in group.commands.items()}
    assert own.keys() == LAZY.commands.keys()
    for name, command in own.items():
        listed = LAZY.commands[name]
        assert command.hidden or " ".join(command.help.split("\n\n")[0].split()) == listed.help
        assert (command.hidden, command.callback.__module__) == (listed.hidden, listed.module)


def test_a_command_loads_the_module_of_no_other(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['vocdet', 'convert', sys.argv[1], 'out', '--to', 'coco']\n"
        "from vocdet_cli.app import COMMAND_MODULES, main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 1\n"
        "assert {f'vocdet_cli.{one}' for one, _ in COMMAND_MODULES.values()} & set(sys.modules) == {'vocdet_cli.convert'}"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("words", "expected"), [("vocdet conv", "convert"), ("vocdet convert --stri", "--strict")])
def test_the_shell_completes_commands_and_their_options(words: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from vocdet_cli.app import main; sys.argv = ['vocdet']; main()"],
        env={**os.environ, **COMPLETE, "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.returncode) == ([expected], 0)


def test_help_loads_nothing_slow() -> None:
    code = (
        "import sys; sys.argv = ['vocdet', '--help']\n"
        "from vocdet_cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "loaded = {'torch', 'torchvision', 'cv2', 'sklearn', 'pycocotools', 'numpy'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train-ssd" in done.stdout


def test_help_is_printed_without_a_command(vocdet: Run) -> None:
    code, out, err = vocdet()
    assert code in (0, 2)  # Click changed its mind on this
    assert "train-backbone" in out + err


@pytest.mark.parametrize(
    "arguments",
    [
        ("trian",),
        ("train-ssd", "--epoch", "3"),
        ("train-ssd", "--epochs", "many"),
        ("train-ssd", "--anchors", "best"),
        ("train-ssd", "--batch", "some"),
        ("demo", "--images", "3"),
        ("demo", "--labels", "1"),
        ("eval", "a", "b"),
    ],
)
def test_wrong_usage_ends_with_2(vocdet: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = vocdet(*arguments)
    assert (code, out) == (2, "")
    assert "Usage" in err


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let any command end with this."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(module, "app", fail)


def test_an_error_is_printed_once_with_its_place_and_hint(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, VocdetError("[bold]x[/] is no number", place=Place(Path("a.xml"), 14), hint="write [1]"))
    assert vocdet("check") == (1, "", "error: a.xml:14: [bold]x[/] is no number\n  hint: write [1]\n")


def test_many_errors_are_counted(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ManyErrors([VocdetError(f"problem {i}") for i in range(100)]))
    code, _, err = vocdet("check")
    lines = err.splitlines()
    assert code == 1
    assert lines[0] == "error: problem 0"
    assert len(lines) < 30
    assert "more" in lines[-1]


def test_a_bug_is_not_hidden(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        main()


def test_a_full_disk_is_an_error_not_a_bug(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, OSError(28, "No space left on device"))
    assert vocdet("check") == (1, "", "error: no space left on device\n")
    fail_with(monkeypatch, PermissionError(13, "Permission denied", "a.jpg"))
    assert vocdet("check") == (1, "", "error: a.jpg: permission denied\n")


def test_a_console_without_unicode_gets_replacements(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from vocdet_cli.app import main; main()", "check", str(tmp_path / "größe")],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, b"gr??e: no such folder" in done.stderr) == (1, True)


def test_the_version_is_printed(vocdet: Run) -> None:
    from vocdet import __version__

    assert vocdet("--version") == (0, f"{__version__}\n", "")
