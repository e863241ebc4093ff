"""Hints name the public API: every call in a text of the library is one that a user can make."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import vocdet
from vocdet.recipes.schema import TASKS

LIBRARY = Path(vocdet.__file__).parent
CALL = re.compile(r"`(vocdet\.[^`]*)`")
RECIPE_VALUES = {
    value.name
    for kind in TASKS.values()
    for section in fields(kind())
    for value in fields(getattr(kind(), section.name))
}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every string; what an f-string inserts is the name `value`."""
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "value" for part in node.values]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.lineno, node.value


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of the API in a text of the library, and where it is; inner calls, too."""
    for path in sorted(LIBRARY.rglob("*.py")):
        for line, text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            for code in CALL.findall(text):
                for node in ast.walk(ast.parse(code, mode="eval")):
                    if isinstance(node, ast.Call):
                        yield f"{path.relative_to(LIBRARY).as_posix()}:{line} {code}", node


def fault(call: ast.Call) -> str:
    """Why a user cannot make this call; "" where they can."""
    name = ast.unparse(call.func).removeprefix("vocdet.")
    if name not in vocdet.__all__:
        return f"there is no vocdet.{name}"
    parameters = inspect.signature(getattr(vocdet, name)).parameters
    known = set(parameters)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        known |= RECIPE_VALUES
    unknown = [keyword.arg for keyword in call.keywords if keyword.arg not in known]
    return f"vocdet.{name} has no {', '.join(map(str, unknown))}" if unknown else ""


def test_every_call_in_a_text_can_be_made() -> None:
    every = list(calls())
    assert every
    assert [f"{where}: {problem}" for where, call in every if (problem := fault(call))] == []
