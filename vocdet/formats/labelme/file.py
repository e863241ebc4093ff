"""One labelme JSON file as far as it is JSON: an image, and shapes that are yet to be looked at."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vocdet.formats.scan import Notes
from vocdet.wording import reason

LARGEST_FILE = 256 * 2**20  # bytes; the image itself is mostly in it

_IMAGE_DATA = re.compile(rb'("imageData"\s*:\s*)"[^"\\]*"')
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half a character, where its other half is missing
_FILE_KEYS = frozenset(("version", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "lineColor",
                        "fillColor"))  # fmt: skip
_OPEN = "open it in labelme and save it again"


@dataclass(slots=True)
class LabelmeFile:
    """What a file says but for its shapes, which wait until the size of the image is known."""

    path: Path
    image: str  # imagePath, as written; "" where it is missing
    size: tuple[int, int] | None  # width, height; None where it says none
    shapes: list[Any]
    extra: bytes  # JSON of what else it says of the image; b"": nothing


def read_file(path: Path, notes: Notes) -> LabelmeFile | None:
    """Read one file; what is wrong goes to `notes`. None where it is no labelme file at all."""
    whole = _json(path, notes)
    if whole is None:
        return None
    shapes = whole.get("shapes") if isinstance(whole, dict) else None
    if not isinstance(whole, dict) or not isinstance(shapes, list):
        notes.add("labelme.shapes", "error", "has no list of shapes: it is no labelme file", path, _OPEN)
        return None
    image = whole.get("imagePath")
    if not isinstance(image, str) or not image.strip():
        problem = "has no imagePath: its image is found by the name of the file"
        notes.add("labelme.image_path", "warning", problem, path, _OPEN)
        image = ""
    said = whole.get("imageWidth"), whole.get("imageHeight")
    width, height = map(_side, said)
    size = (width, height) if width and height else None
    if size is None and said != (None, None):
        problem = f"its imageWidth and imageHeight are {shown(said[0])} and {shown(said[1])}: the image's own are used"
        notes.add("labelme.size", "warning", problem, path, _OPEN)
    extra = {key: value for key, value in whole.items() if key not in _FILE_KEYS and not is_nothing(value)}
    return LabelmeFile(path, image, size, shapes, encoded(extra))


def _json(path: Path, notes: Notes) -> object | None:
    """What a file says, without the image in it."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        notes.add("json.unreadable", "error", problem, path, "see whether you may read it")
        return None
    if len(data) > LARGEST_FILE:
        problem = f"is larger than {LARGEST_FILE >> 20} MB"
        notes.add("json.too_big", "error", problem, path, "is it a labelme file?")
        return None
    twice: dict[str, None] = {}

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            times = Counter(key for key, _ in found)
            twice.update(dict.fromkeys(key for key in made if times[key] > 1))
        return made

    try:
        text = _IMAGE_DATA.sub(rb"\1null", data).decode("utf-8-sig")
        whole: object = json.loads(text, object_pairs_hook=pairs, parse_constant=str)  # NaN is no number
        if _SURROGATE.search(text):
            json.dumps(whole, ensure_ascii=False).encode()
    except UnicodeError:
        notes.add("json.encoding", "error", "is not UTF-8 text", path, _OPEN)
        return None
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.lower()}" if text.strip("\0 \t\r\n") else "is empty"
        notes.add("json.syntax", "error", problem, path, "it may be cut short: annotate the image again, or delete the "
                  "file", line=error.lineno)  # fmt: skip
        return None
    except (ValueError, RecursionError) as error:  # an int of too many digits; nested too deep
        notes.add("json.syntax", "error", f"is not JSON: {error}", path, _OPEN)
        return None
    for key in twice:
        problem = f"the key {key[:40]!r} stands twice in an object"
        notes.add("json.duplicate_key", "error", problem, path, "of two values only the last is read: delete one")
    return whole


def encoded(extra: dict[str, Any]) -> bytes:
    """What is kept aside, as JSON; b"" where there is nothing."""
    try:
        return msgspec.json.encode(extra) if extra else b""
    except OverflowError:  # an int of more than 64 bits
        return json.dumps(extra).encode()


def is_number(value: object) -> bool:
    """Whether a value in a JSON file is a number, as `true` is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _side(value: object) -> int:
    """A width or height in pixels; 0 where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < 2**31:
        return 0
    return int(value) if value == int(value) else 0


def is_nothing(value: object) -> bool:
    """Whether a value says no more than that it is not there."""
    return value is None or value == "" or value == {} or value == []


def shown(value: object) -> str:
    """A value as it stands in the file, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:
        text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
