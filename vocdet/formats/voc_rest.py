"""What few objects have beside a box, as XML: the inverse of what `voc_extra` makes of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Set
from functools import cache
from xml.sax.saxutils import escape

import msgspec
import numpy as np
from lxml import etree
from numpy.typing import NDArray

from vocdet import masks
from vocdet.data.dataset import Dataset
from vocdet.data.mask_areas import same_area
from vocdet.formats import voc_extra
from vocdet.formats.coordinates import Coordinates, minimum_text, number_text, snapped, snapped_sum
from vocdet.formats.voc_extra import Extra

# What `annotation_text` writes itself: no fragment may bring it in by another way.
_OWN = frozenset(
    ("annotation", "object", "filename", "folder", "path", "source", "size", "segmented", "coordinates", "coco", "name",
     "pose", "truncated", "difficult", "occluded", "crowd", "bndbox", "area", "segmentation")
)  # fmt: skip
_NUMBER = rb"-?(?:0|[1-9]\d{0,8})(?:\.\d+)?"
_NUMBERS = rb"\[%b(?:, ?%b)*\]" % (_NUMBER, _NUMBER)
_SIMPLE = re.compile(rb"\[%b(?:, ?%b)*\]" % (_NUMBERS, _NUMBERS))  # polygons without exponents
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2


def xml_text(value: str) -> str:
    """A value as the text of an element; what XML has no character for becomes U+FFFD."""
    if NOT_XML.search(value):
        value = NOT_XML.sub("\ufffd", value)
    return escape(value, {"\r": "&#13;"})


class _Part(msgspec.Struct):
    name: str
    bbox: tuple[float, float, float, float]


class _Voc(msgspec.Struct):
    tags: list[str] = []


def texts(
    dataset: Dataset,
    coordinates: Coordinates,
    in_png_images: Set[int],
    measured: NDArray[np.float64],
    losses: Counter[str],
) -> dict[int, str]:
    """The XML of every object that has more than a box; what cannot be written is counted in `losses`.

    The RLEs of `in_png_images` are in SegmentationObject; `measured` are the areas of all masks, NaN for none.
    """
    objects = dataset.objects
    found: dict[int, list[str]] = {}
    for row in np.flatnonzero(objects.occluded).tolist():
        found.setdefault(row, []).append("<occluded>1</occluded>")
    for row in np.flatnonzero(objects.crowd).tolist():
        found.setdefault(row, []).append("<crowd>1</crowd>")
    in_png = frozenset(np.flatnonzero(np.isin(objects.image, sorted(in_png_images))).tolist())
    for row, segmentation in objects.segmentation.items():
        found.setdefault(row, []).extend(_segmentation(segmentation, coordinates, row in in_png, losses))
    sizes = objects.box[:, 2:] - objects.box[:, :2]
    usual = np.where(np.isnan(measured), snapped(sizes.prod(axis=1)), measured)
    with np.errstate(invalid="ignore"):
        others = ~np.isnan(objects.area) & ~same_area(objects.area, usual)
    for row in np.flatnonzero(others).tolist():
        found.setdefault(row, []).append(f"<area>{number_text(float(objects.area[row]))}</area>")
    for row, extra in objects.extra.items():
        found.setdefault(row, []).extend(_extra(voc_extra.extra_of(extra), coordinates, losses))
    return {row: "".join(f"\t\t{line}\n" for line in lines) for row, lines in found.items() if lines}


def _segmentation(text: bytes, coordinates: Coordinates, in_png: bool, losses: Counter[str]) -> list[str]:
    if coordinates == "zero" and _SIMPLE.fullmatch(text):  # the numbers can stay the texts they are
        polygons = [polygon.split(",") for polygon in text[2:-2].decode().replace(" ", "").split("],[")]
        if all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons):
            return [_template(len(polygon)) % tuple(polygon) for polygon in polygons]
    try:
        segmentation = masks.parse(text)
    except masks.MaskError:
        losses["masks that are none"] += 1
        return []
    if isinstance(segmentation, masks.Rle):
        return [] if in_png else [f"<segmentation>{xml_text(text.decode())}</segmentation>"]
    return [
        _template(len(polygon)) % tuple(minimum_text(value, coordinates) for value in polygon)
        for polygon in segmentation
    ]


@cache
def _template(numbers: int) -> str:
    """A polygon as Roboflow writes it, of so many numbers."""
    points = range(1, numbers // 2 + 1)
    return f"<polygon>{''.join(f'<x{i}>%s</x{i}><y{i}>%s</y{i}>' for i in points)}</polygon>"


def _extra(extra: Extra, coordinates: Coordinates, losses: Counter[str]) -> list[str]:
    lines = []
    others = {key: value for key, value in extra.items() if key not in voc_extra.OBJECT_KEYS}
    if "attributes" in extra:
        written, exact = _attributes(extra["attributes"])
        lines += written
        if not exact:
            others["attributes"] = extra["attributes"]
    if "parts" in extra:
        try:
            lines += [_part(part, coordinates) for part in msgspec.json.decode(extra["parts"], type=list[_Part])]
        except msgspec.DecodeError:
            losses["parts that are none"] += 1
    if "voc" in extra:
        try:
            tags = msgspec.json.decode(extra["voc"], type=_Voc).tags
        except msgspec.DecodeError:
            tags = [""]
        lines += [tag for tag in tags if is_fragment(tag)]
        losses["XML tags that are none"] += sum(not is_fragment(tag) for tag in tags)
    coco = coco_json(others)
    return [*lines, f"<coco>{xml_text(coco.decode())}</coco>"] if coco else lines


def _attributes(raw: msgspec.Raw) -> tuple[list[str], bool]:
    """CVAT's element, and whether it says all there is: values in it are text, and no two have the same name."""
    value = msgspec.json.decode(raw)
    if not isinstance(value, dict) or not value:
        return [], False
    pairs = "".join(
        f"<attribute><name>{xml_text(name)}</name><value>{xml_text(_plain(one))}</value></attribute>"
        for name, one in value.items()
    )
    exact = all(isinstance(one, str) and name and _survives(name) and _survives(one) for name, one in value.items())
    return [f"<attributes>{pairs}</attributes>"], exact


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _survives(value: str) -> bool:
    return "\ufffd" not in xml_text(value)


def _part(part: _Part, coordinates: Coordinates) -> str:
    x, y, width, height = part.bbox
    sides = {
        "xmin": minimum_text(x, coordinates),
        "ymin": minimum_text(y, coordinates),
        "xmax": number_text(snapped_sum(x, width)),
        "ymax": number_text(snapped_sum(y, height)),
    }
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides.items())
    return f"<part><name>{xml_text(part.name)}</name><bndbox>{box}</bndbox></part>"


def coco_json(keys: Mapping[str, msgspec.Raw]) -> bytes:
    """The JSON object of keys that only COCO knows; b"" for none."""
    return msgspec.json.encode(dict(keys)) if keys else b""


@cache
def is_fragment(xml: str) -> bool:
    """Whether a text is one XML element that may stand in an annotation beside what vocdet writes there."""
    try:
        root = etree.fromstring(f"<r>{xml}</r>".encode(), _PARSER)
    except (etree.XMLSyntaxError, UnicodeEncodeError):
        return False
    tags = [str(inner.tag).lower() for inner in root.iter()]
    holds_objects = any(tag in ("bndbox", "object") for tag in tags[1:]) and tags[1:2] != ["part"]
    return len(root) == 1 and not (root.text or root[0].tail) and tags[1] not in _OWN and not holds_objects


def mask_pixels(segmentation: bytes, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask (H, W) of a segmentation in an image of `size` (width, height); None where there is none that fits."""
    if not segmentation:
        return None
    try:
        return masks.pixels(masks.parse(segmentation), size[1], size[0])
    except masks.MaskError:
        return None
