"""One labelme JSON file: its image, and its shapes before they are checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocdet.data.embedded import suffix_of_embedded
from vocdet.data.findings import Notes
from vocdet.formats.shared.json_file import encoded, is_empty, read_json, shown

LARGEST_FILE = 256 * 2**20  # bytes; most files contain their image

_IMAGE_DATA = re.compile(rb'("imageData"\s*:\s*)"[^"\\]*"')
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
    embedded: str = ""  # the suffix of the image in it; "" without one


def read_file(path: Path, notes: Notes) -> LabelmeFile | None:
    """Read one file; problems go to `notes`. None if it is not a labelme file."""
    embedded = ""

    def without_image(data: bytes) -> bytes:
        nonlocal embedded
        embedded = suffix_of_embedded(data)
        return _IMAGE_DATA.sub(rb"\1null", data)

    whole = read_json(path, notes, LARGEST_FILE, "labelme", replace=without_image)
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
    return LabelmeFile(path, image, size, shapes, encoded(extra), embedded)


def _side(value: object) -> int:
    """A width or height in pixels; 0 if it is invalid."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < 2**31:
        return 0
    return int(value) if value == int(value) else 0
