"""Texts of the library name its Python API in backticks; here they become commands and options."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator

# The command of every function that a text may name, with the options it needs to do the same.
COMMANDS: dict[str, tuple[str, ...]] = {
    "audit": ("audit",),
    "bench": ("bench",),
    "check": ("check",),
    "choose_thresholds": ("thresholds",),
    "compare": ("compare",),
    "convert": ("convert",),
    "crop": ("crops",),
    "evaluate": ("eval",),
    "export": ("export",),
    "fetch": ("fetch",),
    "frames": ("frames",),
    "learning_curve": ("learning-curve",),
    "load": ("predict",),
    "merge": ("merge",),
    "predict": ("predict",),
    "prelabel": ("predict", "--to-annotate"),
    "progress": ("progress",),
    "read": ("check",),
    "remap": ("remap",),
    "repair": ("check", "--fix"),
    "runs": ("runs",),
    "sample": ("sample",),
    "split": ("split",),
    "statistics": ("stats",),
    "train": ("train",),
    "train_backbone": ("train-backbone",),
    "train_detector": ("train-ssd",),
    "train_maskrcnn": ("train-maskrcnn",),
    "write": ("convert",),
    "write_splits": ("split",),
}

# Options whose names differ from their arguments: of one function, or ("") of all others.
OPTION_NAMES: dict[tuple[str, str], str] = {
    ("", "count"): "--count",
    ("", "format"): "--from",
    ("", "image_sets"): "--imagesets",
    ("", "file"): "--map",
    ("write", "format"): "--to",
    ("convert", "format"): "--from",
    ("export", "format"): "--format",
    ("train", "target"): "--for",
}

# Values of recipes that have no option, with their keys for --set.
SETTINGS = {"sync_norm": "train.sync_norm"}

# Arguments of the API that no command has.
API_ONLY = frozenset(("channels",))

_CODE = re.compile(r"`([^`]+)`")
_CALL = re.compile(r"vocdet\.\w+\(")
_ARGUMENT = re.compile(r"[a-z_][a-z_0-9]*=[^ =]")


def as_commands(text: str) -> str:
    """A text of the library with commands in place of calls and options in place of arguments.

    `vocdet.split(dataset, trainval=0.9)` becomes vocdet split --trainval 0.9, and `flip=False` becomes --no-flip.
    All other code in backticks is unchanged.
    """
    return _CODE.sub(lambda code: rendered(code[1]) or code[0], text)


def rendered(code: str) -> str:
    """The command of a call, or the options of keyword arguments; "" for any other code."""
    try:
        if _CALL.match(code):
            return _command(ast.parse(code, mode="eval").body)
        return " ".join(_options(_arguments(code))) if _ARGUMENT.match(code) else ""
    except (SyntaxError, KeyError, ValueError):
        return ""


def calls(node: ast.expr) -> Iterator[tuple[str, ast.Call]]:
    """The functions of the API that an expression calls, outermost first."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and (name := ast.unparse(inner.func)).startswith("vocdet."):
            yield name.removeprefix("vocdet."), inner


def _command(node: ast.expr) -> str:
    (outer, _), *_ = every = list(calls(node))
    words = [*COMMANDS[outer]]
    for name, call in every:
        words += _options(call.keywords, name)
    return " ".join(["vocdet", *words])


def _arguments(code: str) -> list[ast.keyword]:
    call = ast.parse(f"_({code})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError(code)
    return call.keywords


def _options(keywords: list[ast.keyword], function: str = "") -> Iterator[str]:
    for keyword in keywords:
        name = keyword.arg or ""
        if name in API_ONLY:
            raise ValueError(name)
        if key := SETTINGS.get(name):
            yield f"--set {key}={json.dumps(ast.literal_eval(keyword.value))}"
            continue
        option = OPTION_NAMES.get((function, name)) or OPTION_NAMES.get(("", name)) or f"--{name.replace('_', '-')}"
        yield from _option_words(option, keyword.value)


def _option_words(option: str, value: ast.expr) -> Iterator[str]:
    """An option with its value as typed on a command line; names stand for values that the user knows."""
    if isinstance(value, (ast.Name, ast.Attribute)):
        yield f"{option} {ast.unparse(value).upper()}"
    elif isinstance(value, (ast.List, ast.Tuple)):
        for item in value.elts:
            yield from _option_words(option, item)
    else:
        constant = ast.literal_eval(value)
        if constant is ... or constant is True:
            yield option
        elif constant is False:
            yield f"--no-{option[2:]}"
        elif isinstance(constant, dict):
            yield from (f"{option} {shlex.quote(f'{old}={new}')}" for old, new in constant.items())
        else:
            yield f"{option} {shlex.quote(str(constant).lower() if constant is None else str(constant))}"
