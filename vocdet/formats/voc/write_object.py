"""The rare fields of objects as XML: the inverse of `preserved.add_object_columns`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Set
from decimal import Decimal
from functools import cache

import msgspec
import numpy as np
from lxml import etree
from numpy.typing import NDArray

from vocdet import masks
from vocdet.data.dataset import Dataset
from vocdet.data.mask_areas import same_area
from vocdet.data.rotated import ANGLE, CORNERS, corners_of
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.extras import Extra, extra_of
from vocdet.formats.shared.values import extent, number_text, snapped
from vocdet.formats.shared.xml import XmlError, safe_parser
from vocdet.formats.voc import preserved
from vocdet.formats.voc.coordinates import minimum_text, minimum_value
from vocdet.formats.voc.objects import polygon_xml, rotated_box

# Tags that vocdet writes itself: no preserved fragment may contain them.
_OWN = frozenset(
    ("annotation", "object", "filename", "folder", "path", "source", "size", "segmented", "coordinates", "coco", "name",
     "pose", "truncated", "difficult", "occluded", "crowd", "bndbox", "area", "segmentation")
)  # fmt: skip
_NUMBER = rb"-?(?:0|[1-9]\d{0,8})(?:\.\d+)?"
_NUMBERS = rb"\[%b(?:, ?%b)*\]" % (_NUMBER, _NUMBER)
PARSER = safe_parser()

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2
_SPECIAL = re.compile("[^\t\n\x20-%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # those, and & < > and CR

# xml.sax.saxutils has the same tables, but imports http and ssl.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ATTRIBUTE_ESCAPES = _ESCAPES | str.maketrans({'"': "&quot;", "\n": "&#10;", "\t": "&#9;"})


def xml_attribute(value: str) -> str:
    """A value as an attribute, in quotes."""
    return f'"{value.translate(_ATTRIBUTE_ESCAPES)}"'


def xml_text(value: str) -> str:
    """A value as the text of an element; characters that XML cannot hold become U+FFFD."""
    if not _SPECIAL.search(value):
        return value
    value = NOT_XML.sub("\ufffd", value)
    return value.translate(_ESCAPES)


_ROTATED = "<type>robndbox</type>"  # roLabelImg's mark
_NEAR = 0.001  # pixels


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    bbox: tuple[float, float, float, float]


class _Voc(msgspec.Struct, forbid_unknown_fields=True):
    tags: list[str] = []


def texts(
    dataset: Dataset,
    coordinates: Coordinates,
    in_png_images: Set[int],
    measured: NDArray[np.float64],
    losses: Counter[str],
) -> dict[int, str]:
    """The XML of the rare fields of every object that has any, by row; `losses` counts what cannot be written.

    The RLEs of the images `in_png_images` are in SegmentationObject. `measured` (M,) are the areas of the masks, NaN
    for objects without one.
    """
    objects = dataset.objects
    lines_of: dict[int, list[str]] = {}
    for row in np.flatnonzero(objects.occluded).tolist():
        lines_of.setdefault(row, []).append("<occluded>1</occluded>")
    for row in np.flatnonzero(objects.crowd).tolist():
        lines_of.setdefault(row, []).append("<crowd>1</crowd>")
    in_png = frozenset(np.flatnonzero(np.isin(objects.image, sorted(in_png_images))).tolist())
    valid = (measured == measured).tolist()
    for row, segmentation in objects.segmentation.items():
        lines_of.setdefault(row, []).extend(_segmentation(segmentation, coordinates, row in in_png, valid[row], losses))
    sizes = objects.box[:, 2:] - objects.box[:, :2]
    with np.errstate(over="ignore", invalid="ignore"):
        usual = np.where(np.isnan(measured), snapped(sizes.prod(axis=1)), measured)
        others = ~np.isnan(objects.area) & ~same_area(objects.area, usual)
    for row in np.flatnonzero(others).tolist():
        lines_of.setdefault(row, []).append(f"<area>{number_text(float(objects.area[row]))}</area>")
    for row, extra in objects.extra.items():
        lines_of.setdefault(row, []).extend(_extra_xml(extra_of(extra), coordinates, losses))
    return {row: "".join(f"\t\t{line}\n" for line in lines) for row, lines in lines_of.items() if lines}


def _segmentation(text: bytes, coordinates: Coordinates, in_png: bool, valid: bool, losses: Counter[str]) -> list[str]:
    if valid and text[:1] == b"{":
        return [] if in_png else [f"<segmentation>{xml_text(text.decode())}</segmentation>"]
    if valid and coordinates == "zero" and not text.translate(None, b"0123456789-.,[] "):  # JSON, and no exponents
        polygons = [polygon.split(",") for polygon in text.translate(None, b" ")[2:-2].decode().split("],[")]
        return [polygon_xml(polygon) for polygon in polygons]
    try:
        segmentation = masks.parse(text)
    except masks.MaskError:
        losses["invalid masks"] += 1
        return []
    if isinstance(segmentation, masks.Rle):
        return [] if in_png else [f"<segmentation>{xml_text(text.decode())}</segmentation>"]
    return [polygon_xml([minimum_text(value, coordinates) for value in polygon]) for polygon in segmentation]


def _extra_xml(extra: Extra, coordinates: Coordinates, losses: Counter[str]) -> list[str]:
    lines = []
    others = {key: value for key, value in extra.items() if key not in preserved.OBJECT_KEYS}
    if "attributes" in extra:
        written, lossless = _attributes_xml(extra["attributes"])
        lines += written
        if not lossless:
            others["attributes"] = extra["attributes"]
    if "parts" in extra:
        written, lossless = _parts(extra["parts"], coordinates)
        lines += written
        if not lossless:
            others["parts"] = extra["parts"]
    rotated = {key: extra[key] for key in (ANGLE, CORNERS) if key in extra}
    corners = corners_of(msgspec.json.encode(rotated)) if len(rotated) == 2 else None
    tags: list[str] = []
    if "voc" in extra:
        try:
            tags = msgspec.json.decode(extra["voc"], type=_Voc).tags
        except msgspec.DecodeError:
            tags = [""]
    if corners is not None:
        lines += _rotated_box(corners, tags, others)
    if tags:
        lines += [tag for tag in tags if is_fragment(tag)]
        losses["invalid XML tags"] += sum(not is_fragment(tag) for tag in tags)
    coco = coco_json(others)
    return [*lines, f"<coco>{xml_text(coco.decode())}</coco>"] if coco else lines


def _rotated_box(corners: list[float], tags: list[str], others: Extra) -> list[str]:
    """The <robndbox> of a rotated box, unless it is among the preserved `tags`, from which an outdated one is removed.

    The extras leave `others` if reading the element gives them back.
    """
    kept = [tag for tag in tags if tag.startswith("<robndbox")]
    angle = float(msgspec.json.decode(others[ANGLE]))
    if any(_same_corners(read_rotated_box(tag), corners) for tag in kept):
        others.pop(ANGLE), others.pop(CORNERS)
        return []
    tags[:] = [tag for tag in tags if tag not in kept and tag.strip() != _ROTATED]
    x, y = (min(side) / 2 + max(side) / 2 for side in (corners[::2], corners[1::2]))
    width, height = math.dist(corners[0:2], corners[2:4]), math.dist(corners[2:4], corners[4:6])
    sides = {"cx": x, "cy": y, "w": width, "h": height, "angle": math.radians(angle)}
    inner = "".join(f"<{tag}>{number_text(round(value, 9))}</{tag}>" for tag, value in sides.items())
    element = f"<robndbox>{inner}</robndbox>"
    read = read_rotated_box(element)
    if not _same_corners(read, corners):  # no rectangle
        return []
    if read is not None and list(read[0]) == corners and read[1] == angle:
        others.pop(ANGLE), others.pop(CORNERS)
    return [_ROTATED, element]


def _same_corners(read: tuple[tuple[float, ...], float] | None, corners: list[float]) -> bool:
    return read is not None and max(abs(a - b) for a, b in zip(read[0], corners, strict=True)) < _NEAR


def read_rotated_box(xml: str) -> tuple[tuple[float, ...], float] | None:
    """The corners and the angle of a <robndbox>; None if it is invalid."""
    try:
        return rotated_box(etree.fromstring(xml.encode(), PARSER), lambda *_: None)
    except (etree.XMLSyntaxError, XmlError, UnicodeEncodeError):
        return None


def _attributes_xml(raw: msgspec.Raw) -> tuple[list[str], bool]:
    """CVAT's element, and whether it is lossless: all values are text."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):  # 1e309 is valid JSON, but not a number
        return [], False
    if not isinstance(value, dict) or not value or not all(name and _survives(name) for name in value):
        return [], False
    pairs = "".join(
        f"<attribute><name>{xml_text(name)}</name><value>{xml_text(_value_text(one))}</value></attribute>"
        for name, one in value.items()
    )
    exact = all(isinstance(one, str) and _survives(one) for one in value.values())
    return [f"<attributes>{pairs}</attributes>"], exact


def _value_text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _survives(value: str) -> bool:
    return not NOT_XML.search(value) and (not value or bool(value.strip()))


def _parts(raw: msgspec.Raw, coordinates: Coordinates) -> tuple[list[str], bool]:
    """VOC's elements, and whether they are lossless: names and boxes read back the same."""
    try:
        parts = msgspec.json.decode(raw, type=list[_Part])
    except (msgspec.DecodeError, RecursionError):
        return [], False
    written = [_part_xml(part, coordinates) for part in parts]
    return [xml for xml, _ in written if xml], bool(parts) and all(exact for _, exact in written)


def _part_xml(part: _Part, coordinates: Coordinates) -> tuple[str, bool]:
    x, y, width, height = part.bbox
    xmax, ymax = (float(Decimal(repr(low)) + Decimal(repr(side))) for low, side in ((x, width), (y, height)))
    if max(map(abs, (x, y, xmax, ymax))) > masks.FURTHEST:
        return "", False  # no part that is read
    sides = minimum_text(x, coordinates), minimum_text(y, coordinates), number_text(xmax), number_text(ymax)
    read = [minimum_value(float(side), coordinates) for side in sides[:2]]
    exact = _survives(part.name) and (*read, *extent(np.array([*read, xmax, ymax]))) == part.bbox
    box = "".join(f"<{tag}>{side}</{tag}>" for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
    return f"<part><name>{xml_text(part.name)}</name><bndbox>{box}</bndbox></part>", exact


def coco_json(keys: Mapping[str, msgspec.Raw]) -> bytes:
    """The JSON object of the keys that only COCO has, in characters that XML can hold; b"" for none."""
    if not keys:
        return b""
    text = msgspec.json.encode(dict(keys))
    if text.isascii():
        return text
    return NOT_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", text.decode()).encode()


@cache
def is_fragment(xml: str) -> bool:
    """Whether a text is one XML element that can be added to an annotation without changing its meaning."""
    tags = _element_names(xml)
    holds_objects = "bndbox" in tags or "object" in tags
    return bool(tags) and tags[0] not in _OWN and (tags[0] == "part" or not holds_objects)


@cache
def is_source(xml: str) -> bool:
    """Whether a text is a <source> with nested content that can be added to an annotation without another one."""
    tags = _element_names(xml)
    return tags[:1] == ["source"] and not _OWN.intersection(tags[1:])


def _element_names(xml: str) -> list[str]:
    """The names of the elements in a text, outermost first; none if it is not exactly one element.

    Names are in lower case and without namespaces, as lenient readers compare them.
    """
    try:
        outer = etree.fromstring(f"<a><b>{xml}</b></a>".encode(), PARSER)[0]  # as deep as in an annotation
    except (etree.XMLSyntaxError, UnicodeEncodeError):
        return []
    if len(outer) != 1 or outer.text or outer[0].tail:
        return []
    tags = [inner.tag for inner in outer[0].iter()]
    if not all(isinstance(tag, str) for tag in tags):  # comments and processing instructions
        return []
    return [str(tag).rpartition("}")[2].lower() for tag in tags]
