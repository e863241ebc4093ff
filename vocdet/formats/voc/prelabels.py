"""Machine-made objects in VOC files: marked with their score and model, and added beside those of people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vocdet.boxes import Boxes
from vocdet.errors import AnnotationError
from vocdet.files import read_limited
from vocdet.formats.shared.xml import XmlError, decode_xml, parse_xml
from vocdet.formats.voc.write import WrittenObject, object_xml
from vocdet.formats.voc.write_object import xml_text
from vocdet.wording import reason

LARGEST = 64 * 2**20  # bytes
SCORE, MODEL = "score", "model"  # tags of an object; labelImg leaves them out when it saves a file


class HumanObjects(NamedTuple):
    """The objects of a file: 0-based boxes, labels, and whether each is machine-made."""

    boxes: list[tuple[float, float, float, float]]
    names: list[str]
    machine: list[bool]
    coordinates: str  # zero or one
    size: tuple[int, int] | None  # width and height of the image; None if the file does not state them


def machine_object(label: str, box: Sequence[float], score: float, model: str) -> WrittenObject:
    """An object with its score and the model that detected it."""
    tags = f"\t\t<{SCORE}>{score:.4g}</{SCORE}>\n\t\t<{MODEL}>{xml_text(model)}</{MODEL}>\n"
    return WrittenObject(label, (box[0], box[1], box[2], box[3]), rare_fields=tags)


def read_objects(path: Path) -> HumanObjects:
    """The objects of a file; an `AnnotationError` if it is not a VOC annotation."""
    try:
        root = parse_xml(read_limited(path, LARGEST))
        one = (root.findtext("coordinates") or "") == "one"
        width, height = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
        size = (width, height) if width > 0 and height > 0 else None
        found = HumanObjects([], [], [], "one" if one else "zero", size)
        for element in root.iter("object"):
            box = element.find("bndbox")
            corners = [float((box.findtext(tag) if box is not None else None) or "nan")
                       for tag in ("xmin", "ymin", "xmax", "ymax")]  # fmt: skip
            found.boxes.append((corners[0] - one, corners[1] - one, corners[2], corners[3]))
            found.names.append((element.findtext("name") or "").strip())
            found.machine.append(element.find(MODEL) is not None)
    except (XmlError, ValueError, OverflowError, OSError) as error:
        problem = f"cannot be read as a VOC annotation: {reason_of(error)}"
        raise AnnotationError(problem, place=path, hint="`vocdet.check(dataset)` lists all such files") from error
    return found


def reason_of(error: Exception) -> str:
    """Why a file cannot be read."""
    if isinstance(error, XmlError):
        return error.problem
    return reason(error) if isinstance(error, OSError) else "a coordinate or a size is not a number"


def with_added(path: Path, objects: Sequence[WrittenObject], coordinates: str) -> bytes:
    """The bytes of a file with more objects at its end; everything else is unchanged."""
    text, encoding, mark = decode_xml(read_limited(path, LARGEST))
    end = text.rfind("</annotation>")
    if end < 0:
        raise AnnotationError("has no </annotation>", place=path, hint="save it again in labelImg")
    added = "".join(object_xml(one, "one" if coordinates == "one" else "zero") for one in objects)
    newline = "" if text[:end].endswith("\n") else "\n"
    return mark + f"{text[:end]}{newline}{added}{text[end:]}".encode(encoding or "utf-8", "xmlcharrefreplace")


def as_boxes(objects: HumanObjects) -> Boxes:
    """The boxes (N, 4)."""
    return np.array(objects.boxes, np.float64).reshape(-1, 4)
