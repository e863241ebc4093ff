"""Load recipe files: TOML, checked against the schema, with overrides.

    task = "ssd"

    [model]
    net = "mb3-small"

    [train]
    lr = 0.004

Missing values have the defaults of the schema.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar, overload

from vocdet.errors import ManyErrors, Place, RecipeError, VocdetError, raise_all
from vocdet.recipes.document import Document, parse_value, read_document
from vocdet.recipes.schema import TASKS, BackboneRecipe, MaskRcnnRecipe, Recipe, SsdRecipe, changed
from vocdet.recipes.values import plain, shown, toml, typed
from vocdet.wording import listed, nearest

Origin = Literal["default", "recipe", "settings", "values"]  # where a value comes from
NO_REASONS: Mapping[str, str] = MappingProxyType({})
_TOP = ("task", "description")  # the keys that stand outside of any table
START = "start"  # the table of a run's recipe with the weights that it started from, which is not read

R_co = TypeVar("R_co", bound=Recipe, covariant=True)


@dataclass(frozen=True, slots=True)
class Resolved(Generic[R_co]):
    """A recipe with all its values and their origins."""

    recipe: R_co
    source: str  # the file, or the name of a bundled recipe; "": the defaults
    origin: Mapping[str, Origin]  # of every key, such as train.lr
    description: str = ""

    def values(self) -> dict[str, object]:
        """The values that are not defaults of the schema, by the names of their fields."""
        keys = (key.split(".") for key, origin in self.origin.items() if origin != "default")
        return {name: getattr(getattr(self.recipe, section), name) for section, name in keys}


@dataclass(frozen=True, slots=True)
class _Override:
    """A valid value for a field."""

    section: str
    field: str
    value: object
    origin: Origin


@overload
def load_recipe(
    task: Literal["ssd"],
    name: str | None = None,
    *,
    settings: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> Resolved[SsdRecipe]: ...
@overload
def load_recipe(
    task: Literal["maskrcnn"],
    name: str | None = None,
    *,
    settings: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> Resolved[MaskRcnnRecipe]: ...
@overload
def load_recipe(
    task: Literal["backbone"],
    name: str | None = None,
    *,
    settings: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> Resolved[BackboneRecipe]: ...
@overload
def load_recipe(
    task: str,
    name: str | None = None,
    *,
    settings: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> Resolved[Recipe]: ...
def load_recipe(
    task: str,
    name: str | None = None,
    *,
    settings: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> Resolved[Recipe]:
    """The recipe for a task: `values` over `settings` over the recipe `name` over the defaults.

    `name` is a file ending in .toml, a run folder (its recipe), or the name of a bundled recipe. `settings` are strings
    like `train.lr=0.01`, whose value is TOML; quotes are optional. `values` are values by field name. All errors
    are raised together, including those in values that are overridden.
    """
    base: Any = TASKS[task]()
    errors: list[VocdetError] = []
    document = Document({}, Place(Path()))
    try:
        document = read_document(name) if name is not None else document
    except VocdetError as error:
        errors.append(error)
    changes: dict[str, object] = {}
    origin: dict[str, Origin] = {
        f"{section}.{field}": "default" for section, fields in _sections(task).items() for field in fields
    }
    in_file = _of_file(document, task) if name is not None and not errors else ()
    for override in chain(in_file, _of_settings(settings, task), _of_values(values or {}, task)):
        if isinstance(override, VocdetError):
            errors.append(override)
        else:
            changes[override.field] = override.value
            origin[f"{override.section}.{override.field}"] = override.origin
    raise_all(errors)
    return Resolved(changed(base, **changes), name or "", origin, str(document.content.get("description", "")))


def task_of(name: str) -> str:
    """The task of a recipe: a key of `TASKS`."""
    document = read_document(name)
    raise_all(list(_task_errors(document, None)))
    return str(document.content["task"])


def dump_recipe(
    recipe: Recipe,
    task: str,
    *,
    description: str = "",
    notes: Mapping[str, str] | None = None,
    start: Mapping[str, str] | None = None,
    reasons: Mapping[str, str] = NO_REASONS,
) -> str:
    """A recipe as TOML, every field with a comment; `load_recipe` reads the same recipe from it.

    The comments are the fields' help, or with `notes` the note for a key like train.lr, if there is one. The reason for
    a value, by the name of its field, comes first. `start` is a record of the weights that a run started from, which
    `load_recipe` passes over.
    """
    lines = [f"task = {toml(task)}"] + ([f"description = {toml(description)}"] if description else [])
    for section, fields in _sections(task).items():
        lines += ["", f"[{section}]"]
        for field in fields.values():
            note = field.metadata["help"] if notes is None else notes.get(f"{section}.{field.name}", "")
            note = "; ".join(filter(None, (reasons.get(field.name), note)))
            text = f"{field.name} = {toml(getattr(getattr(recipe, section), field.name))}"
            note = note if note.isprintable() else ascii(note)  # a file name may contain a line break
            lines.append(f"{text:28}  # {note}" if note else text)
    if start:
        lines += ["", f"[{START}]  # a record of the weights that this run started from, not a setting"]
        lines += [f"{key} = {toml(value)}" for key, value in start.items()]
    return "\n".join(lines) + "\n"


def _sections(task: str) -> dict[str, dict[str, dataclasses.Field[Any]]]:
    """The fields of every section of a task's recipe, by their names."""
    recipe = TASKS[task]()
    names = [section.name for section in dataclasses.fields(recipe)]
    return {name: {field.name: field for field in dataclasses.fields(getattr(recipe, name))} for name in names}


def _of_file(document: Document, task: str) -> Iterator[_Override | RecipeError]:
    """The values and errors of a recipe file; a recipe of another task is checked against that task."""
    yield from _task_errors(document, task)
    own = document.content.get("task")
    if isinstance(own, str) and own in TASKS:
        task = own
    sections = _sections(task)
    for key, value in document.content.items():
        place = document.at(key)
        if key in sections and isinstance(value, dict):
            for field, one in value.items():
                yield from _value(task, key, field, one, "recipe", document.at(key, field))
        elif key in sections:
            hint = f"write [{key}] on a separate line, and its values below"
            yield RecipeError(f"{key} is {shown(value)}, not a table", place=place, hint=hint)
        elif key == START and isinstance(value, dict):
            continue
        elif key == "description" and not isinstance(value, str):
            yield RecipeError(f"description is {shown(value)}, not a string", place=place, hint="put it in quotes")
        elif key not in _TOP:
            yield _unknown(task, "", key, place, table=isinstance(value, dict))


def _task_errors(document: Document, task: str | None) -> Iterator[RecipeError]:
    """Errors in the task of a recipe."""
    own, names = document.content.get("task"), " or ".join(map(toml, TASKS))
    if own is None:
        hint = f"write task = {toml(task) if task else names} at the top"
        yield RecipeError("has no task", place=document.place, hint=hint)
    elif not isinstance(own, str) or own not in TASKS:
        close = nearest(own, TASKS) if isinstance(own, str) else ""
        hint = f"did you mean {toml(close)}?" if close else f"write {names}"
        yield RecipeError(f"task is {shown(own)}", place=document.at("task"), hint=hint)
    elif task is not None and own != task:
        hint = f"use it for task {own}, or name another recipe"
        yield RecipeError(f"is a recipe of task {own}, not {task}", place=document.at("task"), hint=hint)


def _of_settings(settings: Sequence[str], task: str) -> Iterator[_Override | RecipeError]:
    """The values of strings like train.lr=0.01."""
    sections = _sections(task)
    for text in settings:
        place = Place(Path(text[:80]))
        key, equals, raw = text.partition("=")
        section, dot, field = key.strip().partition(".")
        if not equals or not key.strip():
            yield RecipeError("has no key and value", place=place, hint="write a key and a value, as in train.lr=0.01")
        elif not dot:
            yield _unknown(task, "", section, place)
        elif section not in sections:
            yield _unknown(task, "", section, place, table=True)
        else:
            known = sections[section].get(field)
            value = parse_value(raw.strip(), as_text=known is not None and isinstance(known.default, str))
            yield from _value(task, section, field, value, "settings", place)


def _of_values(values: Mapping[str, object], task: str) -> Iterator[_Override | RecipeError]:
    """Values by field name."""
    homes = {field: section for section, fields in _sections(task).items() for field in fields}
    for field, value in values.items():
        if field not in homes:
            raise ValueError(f"no recipe of task {task} has {field}")
        yield from _value(task, homes[field], field, value, "values", None)


def _value(
    task: str, section: str, field: str, value: object, origin: Origin, place: Place | None
) -> Iterator[_Override | RecipeError]:
    """A value with the type and within the limits of its field, or its errors."""
    if field not in _sections(task)[section]:
        yield _unknown(task, section, field, place)
        return
    default = getattr(TASKS[task](), section)
    try:
        converted = typed(default, field, value)
        dataclasses.replace(default, **{field: converted})
    except VocdetError as error:
        for one in error.errors if isinstance(error, ManyErrors) else (error,):
            yield RecipeError(one.problem, place=place, hint=one.hint)
    else:
        yield _Override(section, field, converted, origin)


def _unknown(task: str, section: str, key: str, place: Place | None, *, table: bool = False) -> RecipeError:
    """An unknown key or table, with the nearest match."""
    sections = _sections(task)
    homes = {field: name for name, fields in sections.items() for field in fields}
    where = f"[{section}] has no {plain(key)}" if section else f"unknown table [{plain(key)}]"
    if table:
        close = nearest(key, sections)
        tables = [f"[{name}]" for name in sections]
        return RecipeError(where, place=place, hint=_suggestion(f"[{close}]" if close else "", tables))
    if not section:
        where = f"{key} is outside of the tables" if key in homes else f"a recipe has no {plain(key)}"
    if key in homes:
        return RecipeError(where, place=place, hint=f"it is in [{homes[key]}]: {homes[key]}.{key}")
    having = [other for other in TASKS if any(key in fields for fields in _sections(other).values())]
    if having:
        hint = f"only {'tasks' if having[1:] else 'task'} {' and '.join(having)} {'have' if having[1:] else 'has'} it"
        return RecipeError(f"a recipe of task {task} has no {key}", place=place, hint=hint)
    close = nearest(key, sections.get(section, _TOP)) or nearest(key, homes)
    if close in homes and homes[close] != section:
        close = f"{homes[close]}.{close}"
    return RecipeError(where, place=place, hint=_suggestion(close, sections.get(section, (*_TOP, *sections))))


def _suggestion(close: str, choices: Iterable[str]) -> str:
    return f"did you mean {close}?" if close else f"it has {listed(choices)}"
