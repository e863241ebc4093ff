"""Scale the boxes and polygons of a VOC file to an image that was resized; the rest of the file stays unchanged."""

from __future__ import annotations

from collections.abc import Iterator

from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.values import NUMBER, number_text
from vocdet.formats.voc.xml_edit import CannotEdit, Edit, Element, edited, new_text, parse, read_source

_DECIMALS = 2
_PLAIN = frozenset(
    ("name", "pose", "truncated", "difficult", "occluded", "crowd", "iscrowd", "attributes", "id", "deleted",
     "verified", "date", "type", "username")
)  # fmt: skip
_POINTS = frozenset(("bndbox", "polygon", "part", "pt", "points"))  # that hold coordinates, or hold such elements


def rescaled_xml(data: bytes, size: tuple[int, int], scale: tuple[float, float], coordinates: Coordinates) -> bytes:
    """The file for an image of `size` (width, height), with all coordinates times `scale`.

    Whole numbers stay whole, as other tools expect them. CannotEdit if an object holds anything that may be coordinates
    of another kind.
    """
    source = read_source(data)
    root = parse(source.text)
    edits = [*_size_edits(source.text, root, size)]
    for element in root.all("object"):
        for child in element.children:
            if child.tag in _POINTS:
                edits += _edits(source.text, child, scale, coordinates)
            elif child.tag not in _PLAIN:
                raise CannotEdit(f"<{child.tag[:40]}> may hold coordinates")
    return source.encoded(edited(source.text, edits))


def _size_edits(text: str, root: Element, size: tuple[int, int]) -> Iterator[Edit]:
    sizes = root.all("size")
    if len(sizes) != 1:
        raise CannotEdit("it has several sizes")
    for tag, value in zip(("width", "height"), size, strict=True):
        side = sizes[0].first(tag)
        if side is None:
            raise CannotEdit(f"its <size> has no <{tag}>")
        yield new_text(text, side, str(value))


def _edits(text: str, element: Element, scale: tuple[float, float], coordinates: Coordinates) -> Iterator[Edit]:
    for child in element.children:
        axis = {"x": 0, "y": 1}.get(child.tag[:1])
        if child.tag in _POINTS:
            yield from _edits(text, child, scale, coordinates)
        elif axis is not None:
            number = child.text.strip()
            if not NUMBER.fullmatch(number):
                raise CannotEdit(f"<{child.tag[:40]}> is not a number")
            # of 1-based numbers, only the far sides of boxes are also those of the 0-based box
            first = 1.0 if coordinates == "one" and child.tag not in ("xmax", "ymax") else 0.0
            value = (float(number) - first) * scale[axis] + first
            value = round(value) if float(number).is_integer() else round(value, _DECIMALS)
            yield new_text(text, child, number_text(float(value)))
        elif child.tag not in _PLAIN:
            raise CannotEdit(f"<{child.tag[:40]}> may hold coordinates")
