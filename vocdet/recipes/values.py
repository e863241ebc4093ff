"""The values of recipe fields: checked against their types, and formatted as TOML."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from vocdet.errors import RecipeError
from vocdet.wording import listed

AUTO = "auto"  # for a batch: 0

_MOST_SHOWN = 60  # characters of a value
_LARGEST_INT = 2**63  # TOML's whole numbers have 64 bits


def typed(section: Any, field: str, value: object) -> Any:
    """A value converted to the type of its field: an integer to a float, a list to a tuple.

    Any other type is a `RecipeError` that names the expected one. The constructor of the section checks the limits.
    """
    type_ = get_type_hints(type(section))[field]
    example = f"as in {field} = {toml(getattr(section, field))}"
    if get_origin(type_) is tuple:
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{field} is {shown(value)}, not a list of numbers", hint=f"write a list, {example}")
        return tuple(_one(float, f"{field}[{i}]", item, example) for i, item in enumerate(value))
    if field == "batch" and value == AUTO:
        return 0
    choices = get_args(type_) or type(section).__dataclass_fields__[field].metadata["choices"]
    return _one(str if get_origin(type_) is Literal else type_, field, value, example, choices)


def _one(type_: type, name: str, value: object, example: str, choices: tuple[object, ...] = ()) -> object:
    if isinstance(value, int) and abs(value) >= _LARGEST_INT:
        raise RecipeError(f"{name} has more than 64 bits", hint=f"write a smaller number, {example}")
    if type_ is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if type_ is not float and type(value) is type_:
        if isinstance(value, str) and not _is_utf8(value):
            raise RecipeError(f"{name} is {value!r}, which is not UTF-8", hint="rename the file")
        return value
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a string in quotes"}[type_]
    if choices:
        raise RecipeError(f"{name} is {shown(value)}", hint=f"give one of {listed(choices)}")
    raise RecipeError(f"{name} is {shown(value)}, not {expected}", hint=f"write {expected}, {example}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a file name in another encoding
        return False
    return True


def toml(value: object) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    return tomli_w.dumps({"_": value}).removeprefix("_ = ").rstrip("\n")


def shown(value: object) -> str:
    """Any TOML value for an error message: short, on one line."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= _LARGEST_INT:
        return "a number of more than 64 bits"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def plain(key: str) -> str:
    """A key for an error message: short, and without control characters."""
    return key[:40] if key.isprintable() else ascii(key[:40])
