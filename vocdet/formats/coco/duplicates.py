"""The JSON value of a COCO file, with a finding for duplicate keys."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vocdet.data.findings import Notes
from vocdet.errors import AnnotationError, Place
from vocdet.formats.coco.values import valid_text
from vocdet.wording import counted, json_reason


def parse_json(path: Path, data: bytes, notes: Notes) -> object:
    """The JSON value of a file; duplicate keys in an object are findings."""
    duplicates: dict[str, list[dict[str, Any]]] = {}

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(found)
        if len(result) < len(found):
            for key, count in Counter(key for key, _ in found).items():
                if count > 1:
                    duplicates.setdefault(key, []).append(result)
        return result

    try:
        whole: object = json.loads(data, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.lower()}, at character {error.colno} of the line"
        problem = problem if data.strip() else "is empty"
        raise AnnotationError(problem, place=Place(path, line=error.lineno), hint="export it again") from error
    except RecursionError as error:
        raise AnnotationError("is not JSON: it is nested too deeply", place=path, hint="export it again") from error
    except ValueError as error:  # an int of too many digits
        raise AnnotationError(f"is not JSON: {json_reason(error)}", place=path, hint="export it again") from error
    for key, objects in duplicates.items():
        problem = f"the key {key[:40]!r} is duplicate"
        if len(objects) > 1:
            problem += f", and in {counted(len(objects) - 1, 'more object')}"
        hint = "only the last value is read: delete the others"
        notes.add("json.duplicate_key", "error", problem, path, hint, inside=_place_of(objects[0], whole))
    return whole


def _place_of(wanted: dict[str, Any], whole: object) -> str:
    """The place of an object in a file, as in annotations[3]; "" for the whole."""
    waiting: list[tuple[str, object]] = [("", whole)]
    while waiting:
        place, value = waiting.pop()
        if value is wanted:
            return place
        waiting += _inner(place, value)
    return ""


def _inner(place: str, value: object) -> Iterator[tuple[str, object]]:
    """The lists and objects in a value, with their places."""
    if isinstance(value, dict):
        keys = ((valid_text(key[:40]), item) for key, item in value.items())
        named = ((f"{place}.{key}" if place else key, item) for key, item in keys)
    else:
        named = ((f"{place}[{i}]", item) for i, item in enumerate(value if isinstance(value, list) else ()))
    return ((inside, item) for inside, item in named if isinstance(item, dict | list))
