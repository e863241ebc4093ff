"""Machine-made shapes in labelme files: with their score and model, and added beside those of people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from vocdet.data.findings import Notes
from vocdet.errors import AnnotationError
from vocdet.files import read_limited
from vocdet.formats.labelme.file import LARGEST_FILE, read_file
from vocdet.wording import json_reason

_VERSION = "5.5.0"  # of labelme, whose files these are like


def machine_shape(label: str, polygon: Sequence[float], score: float, model: str) -> dict[str, Any]:
    """A polygon (x1, y1, x2, y2, ...) with its score and the model that detected it, which labelme keeps."""
    points = [[round(x, 2), round(y, 2)] for x, y in zip(polygon[::2], polygon[1::2], strict=True)]
    flags: dict[str, bool] = {}
    return {"label": label, "points": points, "group_id": None, "description": f"score {score:.4g}, {model}",
            "shape_type": "polygon", "flags": flags}  # fmt: skip


def file_bytes(image: str, size: tuple[int, int], shapes: Sequence[dict[str, Any]]) -> bytes:
    """A new file beside an image of this name and (width, height)."""
    content: dict[str, Any] = {
        "version": _VERSION, "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": None,
        "imageHeight": size[1], "imageWidth": size[0],
    }  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def read_shapes(path: Path) -> tuple[list[tuple[float, float, float, float]], list[str], tuple[int, int] | None]:
    """The boxes around the shapes of a file, their labels, and the (width, height) of the image, if it is stated.

    An `AnnotationError` if it is not a labelme file.
    """
    notes = Notes()
    file = read_file(path, notes)
    try:
        shapes = [] if file is None else file.shapes
        points = [[(float(x), float(y)) for x, y in shape["points"]] for shape in shapes]
        boxes = [(min(x for x, _ in one), min(y for _, y in one), max(x for x, _ in one), max(y for _, y in one))
                 for one in points]  # fmt: skip
        if file is not None:
            return boxes, [str(shape["label"]) for shape in shapes], file.size
    except (KeyError, TypeError, ValueError):
        pass
    hint = "`vocdet.check(dataset)` lists all such files"
    raise AnnotationError("cannot be read as a labelme file", place=path, hint=hint)


def with_added(path: Path, shapes: Sequence[dict[str, Any]]) -> bytes:
    """The bytes of a file with more shapes at its end; all other keys have their values."""
    try:
        content = msgspec.json.decode(read_limited(path, LARGEST_FILE), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        problem = f"cannot be read: {json_reason(error)}"
        raise AnnotationError(problem, place=path, hint="open it in labelme and save it again") from error
    content["shapes"] = [*content["shapes"], *shapes]
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
