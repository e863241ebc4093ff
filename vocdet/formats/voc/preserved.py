"""What VOC files say beyond boxes and flags, between its XML form and the JSON that a `Dataset` keeps it as.

In `Images.extra` it stands under "voc"; in `Objects.extra` under "attributes", "parts" and "voc". Keys that came from
a COCO file stand beside them under their own names, and travel in a VOC file as the JSON text of <coco>.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import msgspec
import numpy as np

from vocdet.data.findings import Finding
from vocdet.errors import Place
from vocdet.formats.builder import DatasetBuilder, TextColumn
from vocdet.formats.extras import (
    IMAGE_EXTRAS,
    KEPT_OF_WHOLE,
    OBJECT_EXTRAS,
    Extra,
    extra_of,
    in_order,
    label_extras,
    whole_json,
)
from vocdet.formats.source import Coordinates
from vocdet.formats.values import extent, number_text
from vocdet.formats.voc import coordinates as conventions

LABEL_LIST = "labels.txt"  # in the root of a folder: the labels in their order, where sorting would not give it
DATASET_FILE = "dataset.json"  # in the root: what a COCO file said of the whole
MOST_ATTRIBUTES = 1000  # of <annotation>, which has one at most: lxml looks for each among all of them
_LARGEST_FILE = 64 * 2**20  # bytes

RawBox = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax as written

# The keys of COCO files that vocdet reads or writes itself: none of them may come in by way of <coco>.
IMAGE_KEYS = frozenset(("id", "file_name", "width", "height", "voc"))
OBJECT_KEYS = frozenset(
    ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "difficult", "truncated", "occluded",
     "pose", "attributes", "parts", "voc", "box")
)  # fmt: skip
_CLOSED_KEYS = OBJECT_KEYS - {"attributes", "parts"}  # which can say more than their tags, as what is no text

SAME = "\0"  # of a text in a header: what vocdet writes where nothing else was said


@dataclass(slots=True)
class Header:
    """What a file says of its image beside name and size; None where a tag is missing."""

    folder: str | None = "JPEGImages"
    path: str | None = SAME  # that is the file name
    source: dict[str, str] | None = field(default_factory=lambda: {"database": "Unknown"})
    depth: str | None = "3"
    segmented: str | None = SAME  # that is 1 where an object has a mask, and 0 elsewhere
    attributes: dict[str, str] = field(default_factory=dict)  # of <annotation>
    tags: list[str] = field(default_factory=list)  # XML of all other children
    masks: bool = False  # SegmentationObject has its objects as pixels
    void: str = ""  # RLE (JSON) of the pixels there that belong to no object and not to the background
    coco: bytes = b""  # JSON object of what a COCO file had; b"": nothing


@dataclass(slots=True)
class Rest:
    """What few objects have."""

    area: float = math.nan
    polygons: tuple[str, ...] = ()  # x1,y1,x2,y2,... as written, in numbers that are JSON
    segmentation: bytes = b""  # JSON as COCO has it, which vocdet writes where VOC knows no way
    parts: tuple[tuple[str, RawBox], ...] = ()  # name and box as written
    attributes: dict[str, str] | None = None  # as CVAT writes them
    coco: bytes = b""  # JSON object of what a COCO file had; b"": nothing
    tags: tuple[str, ...] = ()  # XML of all other children


NO_REST = Rest()
_DEFAULTS = [(name, default) for name, default in asdict(Header()).items() if name != "coco"]


def image_json(header: Header) -> bytes:
    """The extra of an image: what its header says that labelImg's would not."""
    if not (header.attributes or header.tags or header.masks or header.void or header.coco):
        source = None if header.source is None else tuple(header.source.items())
        return _usual_json(header.folder, header.path, source, header.depth, header.segmented)
    return _header_json(header)


@lru_cache(4096)  # most images of a dataset have the same
def _usual_json(
    folder: str | None,
    path: str | None,
    source: tuple[tuple[str, str], ...] | None,
    depth: str | None,
    segmented: str | None,
) -> bytes:
    return _header_json(Header(folder, path, None if source is None else dict(source), depth, segmented))


def _header_json(header: Header) -> bytes:
    said = {name: value for name, default in _DEFAULTS if (value := getattr(header, name)) != default}
    extra: dict[str, object] = {"voc": said} if said else {}
    if header.coco:
        extra |= {key: value for key, value in extra_of(header.coco).items() if key not in IMAGE_KEYS}
        extra = in_order(extra, IMAGE_EXTRAS)
    return msgspec.json.encode(extra) if extra else b""


def header_of(extra: Extra) -> Header | None:
    """The header that `image_json` made an extra of; None where there is none, or it is no header."""
    if "voc" not in extra:
        return None
    try:
        header = msgspec.json.decode(extra["voc"], type=Header)
    except (msgspec.DecodeError, RecursionError):
        return None
    header.coco = b""
    return header


def dataset_json(root: Path, coordinates: Coordinates, findings: list[Finding] | None = None) -> bytes:
    """The extra of a dataset: what `DATASET_FILE` says, and what the numbers of its files were.

    Where that file is none that can be read, a warning goes to `findings`.
    """
    extra: Extra = {}
    path = root / DATASET_FILE
    if path.is_file() and path.resolve().is_relative_to(root.resolve()):
        try:
            extra = _read_whole(path)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            problem = f"is not read: {error}"
            hint = "it is what vocdet keeps of a COCO file as a whole: correct it, or delete it"
            if findings is not None:
                findings.append(Finding("voc.dataset", "warning", problem, Place(path), hint))
    for key in ("voc", "images", "annotations"):
        extra.pop(key, None)
    if "categories" in extra:
        extra["categories"] = msgspec.Raw(msgspec.json.encode(label_extras(extra)))
    if coordinates == "one":
        extra["voc"] = whole_json(coordinates)
    return msgspec.json.encode(in_order(extra, KEPT_OF_WHOLE)) if extra else b""


def _read_whole(path: Path) -> Extra:
    if path.stat().st_size > _LARGEST_FILE:
        raise msgspec.DecodeError(f"larger than {_LARGEST_FILE >> 20} MB")
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip()
    text.decode()  # what is no UTF-8, or no number, would stay unseen, and break the file it is written to
    msgspec.json.decode(text)
    return extra_of(text)


def add_object_columns(
    builder: DatasetBuilder,
    polygons: TextColumn,
    rest: Mapping[int, Rest],
    pixels: Mapping[int, bytes],
    coordinates: Coordinates,
) -> None:
    """Add segmentations, extras and areas of the few objects that have any; `pixels` are RLEs by object."""
    count = len(builder.image)
    outlines = dict(polygons.texts(count).items())
    areas = np.full(count, np.nan)
    for row in sorted(outlines.keys() | rest.keys() | pixels.keys()):
        one, outline = rest.get(row, NO_REST), outlines.pop(row, b"")
        tags = one.tags
        if row in pixels and outline:  # an object has one mask: polygons beside pixels are preserved as tags
            tags = (*tags, *(polygon_xml(polygon.split(",")) for polygon in outline.decode().split("],[")))
        builder.segmentations.add(row, pixels.get(row) or _polygons_json(outline, coordinates) or one.segmentation)
        builder.extras.add(row, b"" if one is NO_REST and not tags else _object_json(one, tags, coordinates))
        areas[row] = one.area
    builder.area.frombytes(areas.tobytes())


def _polygons_json(outline: bytes, coordinates: Coordinates) -> bytes:
    if coordinates == "one" and outline:
        shift = conventions.minimum_value
        outline = b"],[".join(
            ",".join(number_text(shift(float(value), coordinates)) for value in polygon.split(b",")).encode()
            for polygon in outline.split(b"],[")
        )
    return b"[[%b]]" % outline if outline else b""


def polygon_xml(numbers: Sequence[str]) -> str:
    """A polygon as Roboflow writes it, of x1, y1, x2, y2, ... as texts."""
    return _template(len(numbers)) % tuple(numbers)


@cache
def _template(numbers: int) -> str:
    points = range(1, numbers // 2 + 1)
    return f"<polygon>{''.join(f'<x{i}>%s</x{i}><y{i}>%s</y{i}>' for i in points)}</polygon>"


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _object_json(rest: Rest, tags: tuple[str, ...], coordinates: Coordinates) -> bytes:
    extra: dict[str, object] = {}
    if rest.attributes:
        extra["attributes"] = rest.attributes
    if rest.parts:
        boxes = conventions.to_pixels(np.array([box for _, box in rest.parts]), coordinates)
        extra["parts"] = [
            {"name": name, "bbox": [_whole(value) for value in (xmin, ymin, *extent(box))]}
            for (name, _), box in zip(rest.parts, boxes, strict=True)
            for xmin, ymin in [box[:2].tolist()]
        ]
    if tags:
        extra["voc"] = {"tags": tags}
    if rest.coco:
        extra |= {key: value for key, value in extra_of(rest.coco).items() if key not in _CLOSED_KEYS}
        extra = in_order(extra, OBJECT_EXTRAS)
    return msgspec.json.encode(extra) if extra else b""
