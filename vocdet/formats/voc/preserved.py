"""Content of VOC files beyond boxes and flags, as the JSON extras of a `Dataset`.

`Images.extra` has it under "voc"; `Objects.extra` under "attributes", "parts" and "voc". Keys from a COCO file are
beside them under their own names; a VOC file holds them as the JSON text of <coco>.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from vocdet.data.findings import Finding
from vocdet.data.rotated import rotated_extra
from vocdet.errors import Place
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.builder import DatasetBuilder, TextColumn
from vocdet.formats.shared.extras import (
    DATASET_EXTRAS,
    IMAGE_EXTRAS,
    OBJECT_EXTRAS,
    Extra,
    extra_of,
    in_order,
    label_extras,
    voc_facts,
)
from vocdet.formats.shared.values import extent, number_text
from vocdet.formats.voc import coordinates as conventions
from vocdet.formats.voc.objects import NO_RARE_FIELDS, RareFields, polygon_xml
from vocdet.wording import json_reason

LABEL_LIST = "labels.txt"  # in the root of a folder: the labels, if their order is not the sorted one
DATASET_FILE = "dataset.json"  # in the root of a folder: the top-level keys of a COCO file
MOST_ATTRIBUTES = 1000  # of <annotation>; lxml takes quadratic time
_LARGEST_FILE = 64 * 2**20  # bytes

# The keys of COCO files that vocdet itself reads or writes: <coco> must not override them.
IMAGE_KEYS = frozenset(("id", "file_name", "width", "height", "voc"))
OBJECT_KEYS = frozenset(
    ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "difficult", "truncated", "occluded",
     "pose", "attributes", "parts", "voc", "box")
)  # fmt: skip
_CLOSED_KEYS = OBJECT_KEYS - {"attributes", "parts"}  # these can hold values for which XML has no tags

AS_DEFAULT = "\0"  # in place of a text of a header: vocdet's default


@dataclass(slots=True)
class Header:
    """The top of a file: all but the name and size of its image. None: the tag is missing."""

    folder: str | None = "JPEGImages"
    path: str | None = AS_DEFAULT  # the file name
    source: dict[str, str] | None = field(default_factory=lambda: {"database": "Unknown"})
    depth: str | None = "3"
    segmented: str | None = AS_DEFAULT  # 1 if an object has a mask, else 0
    attributes: dict[str, str] = field(default_factory=dict)  # of <annotation>
    tags: list[str] = field(default_factory=list)  # XML of all other children
    masks: bool = False  # whether its masks are in SegmentationObject
    void: str = ""  # RLE (JSON) of the void pixels there, neither object nor background
    coco: bytes = b""  # JSON object of fields from a COCO file; b"": none


_DEFAULTS = [(name, default) for name, default in asdict(Header()).items() if name != "coco"]


def image_json(header: Header) -> bytes:
    """The extra of an image: the fields of its header that differ from labelImg's."""
    if not (header.attributes or header.tags or header.masks or header.void or header.coco):
        source = None if header.source is None else tuple(header.source.items())
        return _usual_json(header.folder, header.path, source, header.depth, header.segmented)
    return _header_json(header)


@lru_cache(256)  # most images of a dataset share a few headers
def _usual_json(
    folder: str | None,
    path: str | None,
    source: tuple[tuple[str, str], ...] | None,
    depth: str | None,
    segmented: str | None,
) -> bytes:
    return _header_json(Header(folder, path, None if source is None else dict(source), depth, segmented))


def _header_json(header: Header) -> bytes:
    fields = {name: value for name, default in _DEFAULTS if (value := getattr(header, name)) != default}
    extra: dict[str, object] = {"voc": fields} if fields else {}
    if header.coco:
        extra |= {key: value for key, value in extra_of(header.coco).items() if key not in IMAGE_KEYS}
        extra = in_order(extra, IMAGE_EXTRAS)
    return msgspec.json.encode(extra) if extra else b""


def header_of(extra: Extra) -> Header | None:
    """The header in the extra of an image, the inverse of `image_json`; None if it is missing or invalid."""
    if "voc" not in extra:
        return None
    try:
        header = msgspec.json.decode(extra["voc"], type=Header)
    except (msgspec.DecodeError, RecursionError):
        return None
    header.coco = b""
    return header


def dataset_json(root: Path, coordinates: Coordinates, findings: list[Finding] | None = None) -> bytes:
    """The extra of a dataset: the content of `DATASET_FILE`, and the coordinates of its files.

    If that file is invalid, a warning goes to `findings`.
    """
    extra: Extra = {}
    path = root / DATASET_FILE
    if path.is_file():
        try:
            extra = _read_dataset_file(path)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            problem = f"is ignored: {json_reason(error)}"
            hint = "it holds the top-level keys of a COCO file: correct it, or delete it"
            if findings is not None:
                findings.append(Finding("voc.dataset", "warning", problem, Place(path), hint))
    for key in ("voc", "images", "annotations"):
        extra.pop(key, None)
    if "categories" in extra:
        extra["categories"] = msgspec.Raw(msgspec.json.encode(label_extras(extra)))
    if coordinates == "one":
        extra["voc"] = voc_facts(coordinates)
    return msgspec.json.encode(in_order(extra, DATASET_EXTRAS)) if extra else b""


def _read_dataset_file(path: Path) -> Extra:
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"larger than {_LARGEST_FILE >> 20} MB")
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip()
    text.decode()  # `Raw` values are not validated, and an invalid one would break the file it is written to
    msgspec.json.decode(text)
    return extra_of(text)


def add_object_columns(
    builder: DatasetBuilder,
    polygons: TextColumn,
    rare: Mapping[int, RareFields],
    pixels: Mapping[int, bytes],
    coordinates: Coordinates,
) -> None:
    """Add the segmentations, extras and areas of the objects that have any; `pixels` are RLEs by object."""
    count = len(builder.image)
    areas = np.full(count, np.nan)
    outlines = polygons.texts(count)
    waiting = outlines.items()
    following = next(waiting, (-1, b""))
    for row in sorted({*outlines.rows.tolist(), *rare, *pixels}):
        fields, outline = rare.get(row, NO_RARE_FIELDS), b""
        if row == following[0]:
            outline, following = following[1], next(waiting, (-1, b""))
        tags = fields.tags
        if row in pixels and outline:  # an object has one mask: polygons beside pixels are preserved as tags
            tags = (*tags, *(polygon_xml(polygon.split(",")) for polygon in outline.decode().split("],[")))
        builder.segmentations.add(row, pixels.get(row) or _polygons_json(outline, coordinates) or fields.segmentation)
        builder.extras.add(
            row, b"" if fields is NO_RARE_FIELDS and not tags else _object_json(fields, tags, coordinates)
        )
        areas[row] = fields.area
    builder.area.frombytes(areas.tobytes())


def _polygons_json(outline: bytes, coordinates: Coordinates) -> bytes:
    if coordinates == "one" and outline:
        shift = conventions.minimum_value
        outline = b"],[".join(
            ",".join(number_text(shift(float(value), coordinates)) for value in polygon.split(b",")).encode()
            for polygon in outline.split(b"],[")
        )
    return b"[[%b]]" % outline if outline else b""


def _without_point(value: float) -> float:
    return int(value) if value == int(value) else value


def _object_json(rare: RareFields, tags: tuple[str, ...], coordinates: Coordinates) -> bytes:
    extra: dict[str, object] = {}
    if rare.attributes:
        extra["attributes"] = rare.attributes
    if rare.parts:
        boxes = conventions.to_pixels(np.array([box for _, box in rare.parts]), coordinates)
        extra["parts"] = [
            {"name": name, "bbox": [_without_point(value) for value in (xmin, ymin, *extent(box))]}
            for (name, _), box in zip(rare.parts, boxes, strict=True)
            for xmin, ymin in [box[:2].tolist()]
        ]
    if tags:
        extra["voc"] = {"tags": tags}
    if rare.corners:
        extra |= rotated_extra(rare.corners, rare.angle)
    if rare.coco:
        extra |= {key: value for key, value in extra_of(rare.coco).items() if key not in _CLOSED_KEYS}
        extra = in_order(extra, OBJECT_EXTRAS)
    return msgspec.json.encode(extra) if extra else b""
