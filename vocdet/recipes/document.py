"""Recipe files as they are found and read: by name or path, TOML, unchecked."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from vocdet.errors import Place, VocdetError
from vocdet.recipes.values import plain
from vocdet.resources import bundled_text
from vocdet.wording import nearest, reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "recipe.toml"  # of a run folder
FOLDER = "recipes"  # of the templates

_LARGEST = 1 << 15  # bytes; more would keep the parser busy: keys with thousands of dots take it a square of time
_SUFFIX = ".toml"


def bundled_recipes() -> tuple[str, ...]:
    """The names of the recipes that vocdet hands to its user, sorted."""
    folder = files("vocdet") / "templates" / FOLDER
    if not folder.is_dir():
        folder = Path(__file__).parents[2] / "templates" / FOLDER  # an editable install
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


@dataclass(frozen=True, slots=True)
class Document:
    """What a recipe file says, unchecked."""

    content: dict[str, Any]
    place: Place

    def at(self, *key: str) -> Place:
        """Where in the file a key is, given table by table."""
        return Place(self.place.path, inside=".".join(map(plain, key)))


def read_document(name: str) -> Document:
    """What a recipe says, unchecked; a `VocdetError` where it cannot be read."""
    known = bundled_recipes()
    if name in known:
        return _parsed(bundled_text(f"{FOLDER}/{name}{_SUFFIX}"), Place(Path(f"{name}{_SUFFIX}")))
    path = Path(name)
    if _is_folder(path):
        path /= FILE
    elif not name.endswith(_SUFFIX) and "/" not in name and "\\" not in name:
        close = nearest(name, known)
        hint = "give a name that vocdet recipes lists, or a file that ends in .toml"
        hint = f"did you mean {close}?" if close else hint
        raise VocdetError(f"there is no recipe {name[:80]!r}", hint=hint)
    return _parsed(_text(path), Place(path))


def read_word(raw: str, *, as_text: bool) -> object:
    """A value as the command line gives it: TOML, or a bare word; where a text is wanted, 2024 is one, too."""
    try:
        found = tomllib.loads(f"value = {raw}")
    except (ValueError, RecursionError):
        return raw
    value = found.get("value")
    return raw if len(found) > 1 or (as_text and not isinstance(value, str)) else value


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long to be one
        return False


def _text(path: Path) -> str:
    hint = "give a file, or a name that vocdet recipes lists"
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for someone to write
            raise VocdetError("is not a file", place=path, hint=hint)
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        problem = f"no recipe can be read: {reason(error)}"
        close = nearest(path.name.removesuffix(_SUFFIX), bundled_recipes())
        raise VocdetError(problem, place=path, hint=f"did you mean the recipe {close}?" if close else hint) from error
    if len(data) > _LARGEST:
        raise VocdetError(f"is larger than {_LARGEST >> 10} kB", place=path, hint="is it a recipe?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VocdetError("is not UTF-8 text", place=path, hint="save it as UTF-8") from error


def _parsed(text: str, place: Place) -> Document:
    try:
        return Document(tomllib.loads(text), place)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), text, place) from error
    except (RecursionError, ValueError) as error:
        problem = "has too many brackets, or too many digits in a number"
        raise VocdetError(problem, place=place, hint="is it a recipe?") from error


def _syntax_error(said: str, text: str, place: Place) -> VocdetError:
    """What tomllib says, with the line it means."""
    lines = text.rstrip().split("\n")
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", said, re.DOTALL)
    problem, number = (match[1], int(match[2] or len(lines))) if match else (said, 0)
    hint = 'lines are as in net = "mb1" and lr = 0.01; a text has quotes'
    if problem.startswith(("Cannot overwrite", "Cannot declare", "Duplicate", "Cannot mutate")):
        problem, hint = "a key or a table is there twice", "delete one of the two"
    elif problem.startswith("Illegal character '\\n'"):
        problem = "a text without a quote at its end"
    line = lines[number - 1].strip()[:80] if 0 < number <= len(lines) else ""
    problem = f"is not TOML: {problem[:1].lower()}{problem[1:100]}" + (f" in {line!r}" if line else "")
    return VocdetError(problem, place=Place(place.path, number), hint=hint)
