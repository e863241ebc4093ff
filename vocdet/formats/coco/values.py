"""Values of COCO files: numbers, texts, and JSON that any reader accepts."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from vocdet.formats.shared.values import NUMBER

Four = tuple[float, float, float, float]

_LARGEST = 1e300  # of a number; sums and products of a few stay finite


def four_numbers(value: object) -> Four | None:
    """A list of four numbers."""
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)):
        return None
    first, second, third, fourth = map(float, value)
    return first, second, third, fourth


def four_in_texts(value: object) -> Four | None:
    """Four numbers of which some are texts, or all are in one."""
    if isinstance(value, str):
        value = value.strip().strip("[]()").replace(",", " ").split()
    return four_numbers([number_in(item) for item in value]) if isinstance(value, list) else None


def is_nothing(value: object) -> bool:
    """Whether a value stands for a missing one: null, empty, or a list of null or NaN."""
    if isinstance(value, list | dict | str):
        return all(item is None or item != item for item in value) if isinstance(value, list) else not value
    return value is None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number of plausible size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def number_in(value: Any) -> float | None:
    """A number, also one in a text."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        number = float(value)
        value = int(number) if number.is_integer() else number
    return value if is_number(value) else None


def json_text(raw: bytes | None) -> str:
    """The text in a JSON value; "" for other values."""
    try:
        value = json.loads(bytes(raw)) if raw else ""
    except (ValueError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""


def as_json(value: object) -> bytes:
    """A value as JSON; a ValueError for numbers and texts that JSON cannot represent."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def representable(value: object) -> object:
    """A value that JSON can represent: numbers that are not finite become null, lone surrogates U+FFFD."""
    if isinstance(value, dict):
        return {valid_text(key): representable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [representable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return valid_text(value) if isinstance(value, str) else value


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # lone surrogates, as from the escape \\ud800


def valid_text(value: str) -> str:
    """A text with U+FFFD for lone surrogates."""
    return value if value.isascii() else _LONE_SURROGATE.sub("\ufffd", value)


def is_valid_text(value: str) -> bool:
    """Whether a text has no lone surrogate."""
    return not _LONE_SURROGATE.search(value)


def short(value: object) -> str:
    """A value from a file, shortened."""
    if value is None:
        return "null"
    if isinstance(value, list) and len(value) <= 6 and not any(isinstance(item, dict | list) for item in value):
        text = f"[{', '.join(map(repr, value))}]"
    elif isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    else:
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
