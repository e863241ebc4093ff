"""Find and parse recipe files, without checking their values."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from vocdet.errors import Place, RecipeError
from vocdet.recipes.values import plain
from vocdet.resources import bundled_text
from vocdet.wording import nearest, reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "recipe.toml"  # of a run folder
RECIPES_FOLDER = "recipes"  # of the templates

_LARGEST = 1 << 15  # bytes; the parser needs quadratic time for keys with thousands of dots
_SUFFIX = ".toml"


def bundled_recipes() -> tuple[str, ...]:
    """The names of the bundled recipes, sorted."""
    folder = files("vocdet") / "templates" / RECIPES_FOLDER
    if not folder.is_dir():
        folder = Path(__file__).parents[2] / "templates" / RECIPES_FOLDER  # an editable install
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a recipe file, unchecked."""

    content: dict[str, Any]
    place: Place

    def at(self, *key: str) -> Place:
        """The place of a key in the file; the key is given table by table."""
        return Place(self.place.path, inside=".".join(map(plain, key)))


def read_document(name: str) -> Document:
    """The content of a recipe, unchecked; a `RecipeError` if it cannot be read."""
    known = bundled_recipes()
    if name in known:
        return _parsed_toml(bundled_text(f"{RECIPES_FOLDER}/{name}{_SUFFIX}"), Place(Path(f"{name}{_SUFFIX}")))
    path = Path(name)
    if _is_folder(path):
        path /= FILE
    elif not name.endswith(_SUFFIX) and "/" not in name and "\\" not in name:
        close = nearest(name, known)
        hint = "give the name of a bundled recipe, or a file that ends in .toml"
        hint = f"did you mean {close}?" if close else hint
        raise RecipeError(f"unknown recipe {name[:80]!r}", hint=hint)
    return _parsed_toml(_recipe_text(path), Place(path))


def parse_value(raw: str, *, as_text: bool) -> object:
    """A value from the command line: TOML, or a string without quotes; with `as_text`, 2024 is a string, too."""
    try:
        table = tomllib.loads(f"value = {raw}")
    except (ValueError, RecursionError):
        return raw
    value = table.get("value")
    return raw if len(table) > 1 or (as_text and not isinstance(value, str)) else value


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the name is too long
        return False


def _recipe_text(path: Path) -> str:
    hint = "give a file, or the name of a bundled recipe"
    try:
        if path.exists() and not path.is_file():  # opening a pipe would block
            raise RecipeError("is not a file", place=path, hint=hint)
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        problem = f"no recipe can be read: {reason(error)}"
        close = nearest(path.name.removesuffix(_SUFFIX), bundled_recipes())
        raise RecipeError(problem, place=path, hint=f"did you mean the recipe {close}?" if close else hint) from error
    if len(data) > _LARGEST:
        raise RecipeError(f"is larger than {_LARGEST >> 10} kB", place=path, hint="is it a recipe?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError("is not UTF-8 text", place=path, hint="save it as UTF-8") from error


def _parsed_toml(text: str, place: Place) -> Document:
    try:
        return Document(tomllib.loads(text), place)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), text, place) from error
    except (RecursionError, ValueError) as error:
        problem = "has too many brackets, or too many digits in a number"
        raise RecipeError(problem, place=place, hint="is it a recipe?") from error


def _syntax_error(message: str, text: str, place: Place) -> RecipeError:
    """The error of tomllib, with its line."""
    lines = text.rstrip().split("\n")
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message, re.DOTALL)
    problem, number = (match[1], int(match[2] or len(lines))) if match else (message, 0)
    hint = 'write lines such as net = "mb1" and lr = 0.01, with strings in quotes'
    if problem.startswith(("Cannot overwrite", "Cannot declare", "Duplicate", "Cannot mutate")):
        problem, hint = "a key or a table occurs twice", "delete one of the two"
    elif problem.startswith("Illegal character '\\n'"):
        problem = "a string without a closing quote"
    line = lines[number - 1].strip()[:80] if 0 < number <= len(lines) else ""
    problem = f"is not TOML: {problem[:1].lower()}{problem[1:100]}" + (f" in {line!r}" if line else "")
    return RecipeError(problem, place=Place(place.path, number), hint=hint)
