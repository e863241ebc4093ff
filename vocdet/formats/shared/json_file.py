"""JSON files of annotation tools, and the values in them. Their content is untrusted."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import msgspec

from vocdet.data.findings import Notes
from vocdet.formats.shared.limited import noted_bytes
from vocdet.wording import json_reason

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # a surrogate, which may be unpaired


def read_json(
    path: Path, notes: Notes, limit: int, tool: str, *, replace: Callable[[bytes], bytes] = bytes
) -> object | None:
    """The JSON value of a file of a tool, after its bytes are replaced; problems go to `notes`. None if it has none.

    NaN and the infinities, which are not JSON, become texts.
    """
    open_it = f"open it in {tool} and save it again"
    too_big = f"{tool} files are smaller: delete it if it is not one"
    data = noted_bytes(path, notes, limit, ("json.unreadable", "json.too_big"), too_big)
    if data is None:
        return None
    duplicates: dict[str, None] = {}

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(found)
        if len(result) < len(found):
            times = Counter(key for key, _ in found)
            duplicates.update(dict.fromkeys(key for key in result if times[key] > 1))
        return result

    try:
        text = replace(data).decode("utf-8-sig")
        whole: object = json.loads(text, object_pairs_hook=pairs, parse_constant=str)  # NaN is not JSON
        if _SURROGATE.search(text):
            json.dumps(whole, ensure_ascii=False).encode()
    except UnicodeError:
        notes.add("json.encoding", "error", "is not UTF-8 text", path, open_it)
        return None
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.lower()}" if text.strip("\0 \t\r\n") else "is empty"
        notes.add("json.syntax", "error", problem, path, "it may be truncated: annotate the image again, or "
                  "delete the file", line=error.lineno)  # fmt: skip
        return None
    except (ValueError, RecursionError) as error:  # an int with too many digits; nested too deeply
        notes.add("json.syntax", "error", f"is not JSON: {json_reason(error)}", path, open_it)
        return None
    for key in duplicates:
        problem = f"the key {key[:40]!r} is duplicate in an object"
        notes.add("json.duplicate_key", "error", problem, path, "only the last value is read: delete the others")
    return whole


def encoded(extra: dict[str, Any]) -> bytes:
    """Extras as JSON; b"" for none."""
    try:
        return msgspec.json.encode(extra) if extra else b""
    except OverflowError:  # an int with more than 64 bits
        return json.dumps(extra).encode()


def is_number(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a number; `true` is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_empty(value: object) -> bool:
    """Whether a value is null or empty."""
    return value is None or value == "" or value == {} or value == []


def shown(value: object) -> str:
    """A value as JSON, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:
        text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
