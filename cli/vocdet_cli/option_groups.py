"""Options that travel together: a command takes a dataclass, and Typer sees one option for each of its fields."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Without:
    """Fields of a group that a command does not offer: `Annotated[ReadOptions, Without("crowds")]`."""

    names: str  # separated by spaces


def grouped(command: Command) -> Command:
    """Give a command one option for each field of its dataclass parameters, in their places."""
    signature = inspect.signature(command, eval_str=True)
    own = signature.parameters.values()
    groups = {one.name: group_options(one.annotation) for one in own if is_dataclass(group_class(one.annotation))}

    @functools.wraps(command)
    def call(**arguments: Any) -> None:
        for name, group in groups.items():
            values = {field.name: arguments.pop(field.name) for field in group}
            arguments[name] = group_class(signature.parameters[name].annotation)(**values)
        command(**arguments)

    return with_options(call, [field for one in own for field in groups.get(one.name, [one])])


def group_options(annotation: Any) -> list[inspect.Parameter]:
    """The options of a group: its annotated fields with their defaults, before those of the groups that it extends."""
    group = group_class(annotation)
    hints, defaults = get_type_hints(group, include_extras=True), {one.name: one.default for one in fields(group)}
    left_out = [name for note in get_args(annotation) if isinstance(note, Without) for name in note.names.split()]
    names = dict.fromkeys(name for kind in group.__mro__ for name in inspect.get_annotations(kind))
    return [
        command_option(name, hints[name], defaults[name])
        for name in names if get_origin(hints[name]) is Annotated and name not in left_out
    ]  # fmt: skip


def command_option(name: str, annotation: object, default: object) -> inspect.Parameter:
    """A parameter of a command."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def with_options(call: Command, options: list[inspect.Parameter]) -> Command:
    """The function, with these parameters for Typer."""
    options = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in options]
    call.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in options}
    return call


def group_class(annotation: Any) -> Any:
    """The dataclass of a group, which may be annotated."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
