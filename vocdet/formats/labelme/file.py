"""One labelme JSON file: its image, and its shapes before they are checked."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vocdet.formats.scan import Notes
from vocdet.wording import json_reason, reason

LARGEST_FILE = 256 * 2**20  # bytes; most files contain their image

_IMAGE_DATA = re.compile(rb'("imageData"\s*:\s*)"[^"\\]*"')
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # a surrogate, which may be unpaired
FILE_KEYS = frozenset(("version", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "lineColor",
                        "fillColor"))  # fmt: skip
_OPEN = "open it in labelme and save it again"


@dataclass(slots=True)
class LabelmeFile:
    """The content of a file; its shapes are checked once the size of the image is known."""

    path: Path
    image: str  # imagePath, as written; "" if it is missing
    size: tuple[int, int] | None  # width, height; None if the file states none
    shapes: list[Any]
    extra: bytes  # JSON of its other keys; b"" without any


def read_file(path: Path, notes: Notes) -> LabelmeFile | None:
    """Read one file; problems go to `notes`. None if it is not a labelme file."""
    whole = _json(path, notes)
    if whole is None:
        return None
    shapes = whole.get("shapes") if isinstance(whole, dict) else None
    if not isinstance(whole, dict) or not isinstance(shapes, list):
        notes.add("labelme.shapes", "error", "has no list of shapes: it is not a labelme file", path, _OPEN)
        return None
    image = whole.get("imagePath")
    if not isinstance(image, str) or not image.strip():
        problem = "has no imagePath: its image is found by the name of the file"
        notes.add("labelme.image_path", "warning", problem, path, _OPEN)
        image = ""
    stated = whole.get("imageWidth"), whole.get("imageHeight")
    width, height = map(_side, stated)
    size = (width, height) if width and height else None
    if size is None and stated != (None, None):
        problem = (
            f"imageWidth and imageHeight are {shown(stated[0])} and {shown(stated[1])}: the size of the image is used"
        )
        notes.add("labelme.size", "warning", problem, path, _OPEN)
    extra = {key: value for key, value in whole.items() if key not in FILE_KEYS and not is_empty(value)}
    return LabelmeFile(path, image, size, shapes, encoded(extra))


def _json(path: Path, notes: Notes) -> object | None:
    """The JSON value of a file, without the image in it."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        notes.add("json.unreadable", "error", problem, path, "check its permissions")
        return None
    if len(data) > LARGEST_FILE:
        problem = f"is larger than {LARGEST_FILE >> 20} MB"
        notes.add("json.too_big", "error", problem, path, "labelme files are smaller: delete it if it is not one")
        return None
    duplicates: dict[str, None] = {}

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(found)
        if len(result) < len(found):
            times = Counter(key for key, _ in found)
            duplicates.update(dict.fromkeys(key for key in result if times[key] > 1))
        return result

    try:
        text = _IMAGE_DATA.sub(rb"\1null", data).decode("utf-8-sig")
        whole: object = json.loads(text, object_pairs_hook=pairs, parse_constant=str)  # NaN is not JSON
        if _SURROGATE.search(text):
            json.dumps(whole, ensure_ascii=False).encode()
    except UnicodeError:
        notes.add("json.encoding", "error", "is not UTF-8 text", path, _OPEN)
        return None
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.lower()}" if text.strip("\0 \t\r\n") else "is empty"
        notes.add("json.syntax", "error", problem, path, "it may be truncated: annotate the image again, or "
                  "delete the file", line=error.lineno)  # fmt: skip
        return None
    except (ValueError, RecursionError) as error:  # an int with too many digits; nested too deeply
        notes.add("json.syntax", "error", f"is not JSON: {json_reason(error)}", path, _OPEN)
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


def is_number(value: object) -> bool:
    """Whether a JSON value is a number; `true` is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _side(value: object) -> int:
    """A width or height in pixels; 0 if it is invalid."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < 2**31:
        return 0
    return int(value) if value == int(value) else 0


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
