"""Recipe files: TOML, held to the schema, with what the command line gave on top of them.

    task = "ssd"

    [model]
    net = "mb3-small"

    [train]
    lr = 0.004

What a recipe does not say has the schema's default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

from vocdet.errors import ManyErrors, Place, VocdetError, raise_all
from vocdet.recipes.document import Document, read_document, read_word
from vocdet.recipes.schema import TASKS, BackboneRecipe, MaskRcnnRecipe, Recipe, SsdRecipe, changed
from vocdet.recipes.values import plain, shown, toml, typed
from vocdet.wording import nearest

DEFAULT = "default"  # where a value comes from that nobody gave
_TOP = ("task", "description")  # the keys that stand outside of any table

R_co = TypeVar("R_co", bound=Recipe, covariant=True)


@dataclass(frozen=True, slots=True)
class Resolved(Generic[R_co]):
    """A recipe with all its values, and where they come from."""

    recipe: R_co
    source: str  # the file, or the name of a handed recipe; "": the defaults
    origin: Mapping[str, str]  # of every key, as train.lr: default, the source, --set, or an option as --lr
    description: str = ""


@dataclass(frozen=True, slots=True)
class _Given:
    """A value that makes sense for its field."""

    section: str
    field: str
    value: object
    origin: str


@overload
def load_recipe(
    task: Literal["ssd"],
    name: str | None = None,
    *,
    sets: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> Resolved[SsdRecipe]: ...
@overload
def load_recipe(
    task: Literal["maskrcnn"],
    name: str | None = None,
    *,
    sets: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> Resolved[MaskRcnnRecipe]: ...
@overload
def load_recipe(
    task: Literal["backbone"],
    name: str | None = None,
    *,
    sets: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> Resolved[BackboneRecipe]: ...
@overload
def load_recipe(
    task: str, name: str | None = None, *, sets: Sequence[str] = (), flags: Mapping[str, object] | None = None
) -> Resolved[Recipe]: ...
def load_recipe(
    task: str, name: str | None = None, *, sets: Sequence[str] = (), flags: Mapping[str, object] | None = None
) -> Resolved[Recipe]:
    """The recipe for a task: `flags` over `sets` over the recipe `name` over the defaults.

    `name` is a file ending in .toml, a run folder (its recipe), or the name of a recipe that vocdet hands out. `sets`
    are texts as `train.lr=0.01`, whose value is TOML; a bare word is a text. `flags` are values by the name of their
    field. Everything that is wrong in any of them is raised together, also what another one would have overridden.
    """
    base: Any = TASKS[task]()
    errors: list[VocdetError] = []
    document = Document({}, Place(Path()))
    try:
        document = read_document(name) if name is not None else document
    except VocdetError as error:
        errors.append(error)
    values: dict[str, object] = {}
    origin = {f"{section}.{field}": DEFAULT for section, fields in _sections(task).items() for field in fields}
    in_file = _of_file(document, task, name) if name is not None and not errors else ()
    for found in chain(in_file, _of_sets(sets, task), _of_flags(flags or {}, task)):
        if isinstance(found, VocdetError):
            errors.append(found)
        else:
            values[found.field] = found.value
            origin[f"{found.section}.{found.field}"] = found.origin
    raise_all(errors)
    return Resolved(changed(base, **values), name or "", origin, str(document.content.get("description", "")))


def task_of(name: str) -> str:
    """The task that a recipe says it is for: a key of `TASKS`."""
    document = read_document(name)
    raise_all(list(_task_faults(document, None)))
    return str(document.content["task"])


def dump_recipe(recipe: Recipe, task: str, *, description: str = "", notes: Mapping[str, str] | None = None) -> str:
    """A recipe as TOML, every field with a comment; `load_recipe` reads the same recipe from it.

    A comment is the field's help, or what `notes` has for a key as train.lr; no comment where that has nothing.
    """
    lines = [f"task = {toml(task)}"] + ([f"description = {toml(description)}"] if description else [])
    for section, fields in _sections(task).items():
        lines += ["", f"[{section}]"]
        for field in fields.values():
            said = field.metadata["help"] if notes is None else notes.get(f"{section}.{field.name}", "")
            text = f"{field.name} = {toml(getattr(getattr(recipe, section), field.name))}"
            said = said if said.isprintable() else ascii(said)  # a file may have a line break in its name
            lines.append(f"{text:28}  # {said}" if said else text)
    return "\n".join(lines) + "\n"


def _sections(task: str) -> dict[str, dict[str, dataclasses.Field[Any]]]:
    """The fields of every section of a task's recipe, by their names."""
    recipe = TASKS[task]()
    parts = [part.name for part in dataclasses.fields(recipe)]
    return {part: {field.name: field for field in dataclasses.fields(getattr(recipe, part))} for part in parts}


def _of_file(document: Document, task: str, source: str) -> Iterator[_Given | VocdetError]:
    """The values of a recipe file, and what is wrong with it; one of another task is held to that task."""
    yield from _task_faults(document, task)
    own = document.content.get("task")
    if isinstance(own, str) and own in TASKS:
        task = own
    sections = _sections(task)
    for key, value in document.content.items():
        place = document.at(key)
        if key in sections and isinstance(value, dict):
            for field, one in value.items():
                yield from _value(task, key, field, one, source, document.at(key, field))
        elif key in sections:
            hint = f"write [{key}] on a line of its own, and its values below"
            yield VocdetError(f"{key} is {shown(value)}, not a table", place=place, hint=hint)
        elif key == "description" and not isinstance(value, str):
            yield VocdetError(f"description is {shown(value)}, not a text", place=place, hint="put it in quotes")
        elif key not in _TOP:
            yield _unknown(task, "", key, place, table=isinstance(value, dict))


def _task_faults(document: Document, task: str | None) -> Iterator[VocdetError]:
    """What is wrong with the task that a recipe names."""
    own, names = document.content.get("task"), " or ".join(map(toml, TASKS))
    if own is None:
        hint = f"write task = {toml(task) if task else names} at the top"
        yield VocdetError("does not say its task", place=document.place, hint=hint)
    elif not isinstance(own, str) or own not in TASKS:
        close = nearest(own, TASKS) if isinstance(own, str) else ""
        hint = f"did you mean {toml(close)}?" if close else f"write {names}"
        yield VocdetError(f"task is {shown(own)}", place=document.at("task"), hint=hint)
    elif task is not None and own != task:
        hint = f"run vocdet train-{own}, or name another recipe"
        yield VocdetError(f"is a recipe of task {own}, not {task}", place=document.at("task"), hint=hint)


def _of_sets(sets: Sequence[str], task: str) -> Iterator[_Given | VocdetError]:
    """The values of texts as train.lr=0.01."""
    sections = _sections(task)
    for text in sets:
        place = Place(Path(f"--set {text[:80]}"))
        key, equals, raw = text.partition("=")
        section, dot, field = key.strip().partition(".")
        if not equals or not key.strip():
            yield VocdetError("has no key and value", place=place, hint="write it as in --set train.lr=0.01")
        elif not dot:
            yield _unknown(task, "", section, place)
        elif section not in sections:
            yield _unknown(task, "", section, place, table=True)
        else:
            known = sections[section].get(field)
            value = read_word(raw.strip(), as_text=known is not None and isinstance(known.default, str))
            yield from _value(task, section, field, value, "--set", place)


def _of_flags(flags: Mapping[str, object], task: str) -> Iterator[_Given | VocdetError]:
    """The values of options, by the names of their fields."""
    homes = {field: section for section, fields in _sections(task).items() for field in fields}
    for field, value in flags.items():
        if field not in homes:
            raise ValueError(f"no recipe of task {task} has {field}")
        yield from _value(task, homes[field], field, value, f"--{field.replace('_', '-')}", None)


def _value(
    task: str, section: str, field: str, value: object, origin: str, place: Place | None
) -> Iterator[_Given | VocdetError]:
    """A value that has the type and the limits of its field, else what is wrong with it."""
    if field not in _sections(task)[section]:
        yield _unknown(task, section, field, place)
        return
    default = getattr(TASKS[task](), section)
    try:
        right = typed(default, field, value)
        dataclasses.replace(default, **{field: right})
    except VocdetError as error:
        for one in error.errors if isinstance(error, ManyErrors) else (error,):
            yield VocdetError(one.problem, place=place, hint=one.hint)
    else:
        yield _Given(section, field, right, origin)


def _unknown(task: str, section: str, key: str, place: Place | None, *, table: bool = False) -> VocdetError:
    """A key or a table that no recipe of the task has there, with the nearest right name."""
    sections = _sections(task)
    homes = {field: name for name, fields in sections.items() for field in fields}
    where = f"[{section}] has no {plain(key)}" if section else f"there is no table [{plain(key)}]"
    if table:
        close = nearest(key, sections)
        tables = [f"[{name}]" for name in sections]
        return VocdetError(where, place=place, hint=_perhaps(f"[{close}]" if close else "", tables))
    if not section:
        where = f"{key} stands outside of the tables" if key in homes else f"a recipe has no {plain(key)}"
    if key in homes:
        return VocdetError(where, place=place, hint=f"it is in [{homes[key]}]: {homes[key]}.{key}")
    having = [other for other in TASKS if any(key in fields for fields in _sections(other).values())]
    if having:
        hint = f"only {'tasks' if having[1:] else 'task'} {' and '.join(having)} {'have' if having[1:] else 'has'} it"
        return VocdetError(f"a recipe of task {task} has no {key}", place=place, hint=hint)
    close = nearest(key, sections.get(section, _TOP)) or nearest(key, homes)
    if close in homes and homes[close] != section:
        close = f"{homes[close]}.{close}"
    return VocdetError(where, place=place, hint=_perhaps(close, sections.get(section, (*_TOP, *sections))))


def _perhaps(close: str, choices: Iterable[str]) -> str:
    return f"did you mean {close}?" if close else f"it has {', '.join(choices)}"
