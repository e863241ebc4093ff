"""Label lists: one label a line, in the order of their indices."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from vocdet.errors import AnnotationError, Place, VocdetError, raise_all
from vocdet.wording import reason


@lru_cache(4096)  # thousands of objects have the same few
def clean_label(text: str) -> str:
    """A label without space around it and with single spaces inside: how it is compared and shown."""
    return " ".join(text.split())


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a list file; blank lines do not count, and a label that stands twice is an error."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = f"no label list can be read: {reason(error)}"
        raise AnnotationError(problem, place=path, hint="give a text file with one label a line") from error
    except UnicodeDecodeError as error:
        raise AnnotationError("is not UTF-8 text", place=path, hint="save it as UTF-8") from error
    lines: dict[str, int] = {}
    errors: list[VocdetError] = []
    for number, line in enumerate(text.splitlines(), 1):
        label = clean_label(line)
        if label in lines:
            problem = f"the label {label!r} stands on line {lines[label]} already"
            errors.append(AnnotationError(problem, place=Place(path, number), hint="delete one of the two lines"))
        elif label:
            lines[label] = number
    if not lines:
        raise AnnotationError("has no labels", place=path, hint="write one label a line")
    raise_all(errors)
    return tuple(lines)
