"""Texts of the library name its API, and every name in them is a command or an option."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from vocdet_cli.app import app
from vocdet_cli.hints import API_ONLY, COMMANDS, OPTION_NAMES, as_commands, rendered

GROUP: Any = typer.main.get_command(app)
LIBRARY = Path(__file__).parents[2] / "vocdet"

# Options of other programs that the library starts.
FOREIGN = frozenset(("--porcelain", "--untracked-files=no"))

OPTION = re.compile(r"(?<![\w`-])--[a-z][a-z-]*")
COMMAND = re.compile(rf"\bvocdet (?:{'|'.join(map(re.escape, GROUP.commands))})\b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run `vocdet.split(dataset, trainval=0.9)`", "run vocdet split --trainval 0.9"),
        ("use `weights=\"imagenet\"` or `flip=False`", "use --weights imagenet or --no-flip"),
        ("`vocdet.write_splits(vocdet.split(dataset, seed=1), force=True)`", "vocdet split --force --seed 1"),
        ("`vocdet.repair(dataset)` does it", "vocdet check --fix does it"),
        ("`vocdet.write(dataset, folder, format=\"coco\")`", "vocdet convert --to coco"),
        ('`vocdet.export(run, format="openvino")`', "vocdet export --format openvino"),
        ("leave out `int8=True`", "leave out --int8"),
        ("`vocdet.remap(dataset, drop=[\"a b\", \"c\"])`", "vocdet remap --drop 'a b' --drop c"),
        ("`vocdet.remap(dataset, rename={\"old\": \"new\"})`", "vocdet remap --rename old=new"),
        ("give `labels=...`, or `labels=path`", "give --labels, or --labels PATH"),
        ("leave out `strict=True`, give `net=\"mb3-small\", heads=\"standard\"`",
         "leave out --strict, give --net mb3-small --heads standard"),
        ("use `sync_norm=False` on the CPU", "use --set train.sync_norm=false on the CPU"),
        ("`<name>` and `a.b`, `f(x)`, `vocdet.nothing(x)`, `x == 1`, `5`",
         "`<name>` and `a.b`, `f(x)`, `vocdet.nothing(x)`, `x == 1`, `5`"),
        ("`VOCDET_CACHE=off`, `lr = 0.1`, `channels=0`, an unpaired `",
         "`VOCDET_CACHE=off`, `lr = 0.1`, `channels=0`, an unpaired `"),
    ],
)  # fmt: skip
def test_calls_become_commands_and_arguments_become_options(text: str, expected: str) -> None:
    assert as_commands(text) == expected


@cache
def trees() -> list[tuple[Path, ast.Module]]:
    """Every file of the library, parsed once for all tests."""
    paths = sorted(LIBRARY.rglob("*.py"))
    return [(path.relative_to(LIBRARY), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def texts(*, docstrings: bool = True) -> Iterator[tuple[str, str]]:
    """Every text in the library with its file and line; a 0 stands for what an f-string fills in."""
    for place, tree in trees():
        skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and not docstrings}
        for node in ast.walk(tree):
            if id(node) in skipped:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in FOREIGN:
                yield f"{place.as_posix()}:{node.lineno}", node.value
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "0" for part in node.values]
                yield f"{place.as_posix()}:{node.lineno}", "".join(map(str, parts))


def test_no_text_of_the_library_names_a_command_or_an_option() -> None:
    assert [f"{place}: {text[:80]!r}" for place, text in texts() if OPTION.search(text) or COMMAND.search(text)] == []


def options_of(command: str) -> set[str]:
    return {
        option
        for parameter in GROUP.commands[command].load().params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


def options_in(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("--")}


def test_every_function_in_a_text_has_a_command_and_every_keyword_an_option() -> None:
    offenders = []
    for place, text in texts():
        for code in re.findall(r"`(vocdet\.\w+\([^`]*)`", text):
            command = rendered(code).split()
            if code.startswith("vocdet.0("):  # the name is filled in
                continue
            if not command or options_in(command) - options_of(command[1]):
                offenders.append(f"{place}: {code}")
    assert offenders == []


def test_every_keyword_in_a_text_is_an_option_of_some_command() -> None:
    known = set[str]().union(*map(options_of, GROUP.commands))
    assert [
        f"{place}: {code}"
        for place, text in texts(docstrings=False)
        for code in re.findall(r"`([a-z_]+=[^ =`][^`]*)`", text)
        if code.split("=")[0] not in API_ONLY
        if not options_in(rendered(code).split()) or options_in(rendered(code).split()) - known
    ] == []


def test_every_function_leads_to_a_command_and_every_name_to_an_option() -> None:
    assert [name for name, (command, *options) in COMMANDS.items() if not {*options} <= options_of(command)] == []
    known = set[str]().union(*map(options_of, GROUP.commands))
    assert {option for (function, _), option in OPTION_NAMES.items() if not function} <= known
    assert [
        (function, option)
        for (function, _), option in OPTION_NAMES.items()
        if function and option not in options_of(COMMANDS[function][0])
    ] == []
