"""The entries of a COCO file as types, and what is kept of each without being read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Raw

from vocdet.formats.extras import IMAGE_EXTRAS, LABEL_EXTRAS, OBJECT_EXTRAS

HINT = "a COCO file is one JSON object with the lists images, annotations and categories"
LISTS = ("images", "annotations", "categories")
MOST = 1 << 53  # ids from here on are no whole numbers to other programs
NONE = Raw(b"")

_Id: TypeAlias = Annotated[int, Meta(gt=-MOST, lt=MOST)]
_Side: TypeAlias = Annotated[int, Meta(gt=-(1 << 31), lt=1 << 31)]
_Flag: TypeAlias = Annotated[int, Meta(ge=0, le=1)]


class Image(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of `images`; the keys after the first four are only kept."""

    id: _Id
    file_name: str
    width: _Side | None = None
    height: _Side | None = None
    license: Raw = NONE
    flickr_url: Raw = NONE
    coco_url: Raw = NONE
    date_captured: Raw = NONE
    voc: Raw = NONE


class Annotation(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of `annotations`; the keys after `pose` are only kept."""

    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float]  # x, y, width, height
    area: float | None = None
    iscrowd: _Flag | None = None
    segmentation: Raw = NONE
    difficult: _Flag | None = None
    truncated: _Flag | None = None
    occluded: _Flag | None = None
    box: tuple[float, float, float, float] | None = None  # corners, where bbox cannot say them exactly
    pose: str | None = None
    attributes: Raw = NONE
    parts: Raw = NONE
    voc: Raw = NONE
    keypoints: Raw = NONE
    num_keypoints: Raw = NONE
    score: Raw = NONE


class Category(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of `categories`; the keys after `name` are only kept."""

    id: _Id
    name: str
    supercategory: Raw = NONE
    keypoints: Raw = NONE
    skeleton: Raw = NONE


Kind: TypeAlias = "type[Image] | type[Annotation] | type[Category]"

# The keys of each kind that are preserved without being read, in order, and those that are read.
KEPT: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {Image: IMAGE_EXTRAS, Annotation: OBJECT_EXTRAS, Category: LABEL_EXTRAS}
)
READ: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {kind: tuple(name for name in kind.__struct_fields__ if name not in extras) for kind, extras in KEPT.items()}
)


@dataclass(slots=True)
class Entries:
    """What a file lists. Extras are JSON objects of the keys that are only kept, by entry; entries without any lack."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]
    image_extras: dict[int, bytes] = field(default_factory=dict)
    annotation_extras: dict[int, bytes] = field(default_factory=dict)
    category_extras: dict[int, dict[str, Raw]] = field(default_factory=dict)
    extra: dict[str, Raw] = field(default_factory=dict)  # other keys of the whole
    places: dict[str, list[int]] = field(default_factory=dict)  # list -> index in the file, where some were left out
    _columns: dict[str, list[Any]] = field(default_factory=dict)
    _segmentations: bytes | None = None

    def column(self, name: str) -> list[Any]:
        """A field of all annotations."""
        if name not in self._columns:
            self._columns[name] = list(map(attrgetter(name), self.annotations))
        return self._columns[name]

    def segmentations(self) -> bytes:
        """The segmentations of all annotations, one after the other."""
        if self._segmentations is None:
            self._segmentations = b"".join(self.column("segmentation"))
        return self._segmentations

    def place(self, name: str, i: int) -> str:
        """Where in the file an entry of a list stands, as in annotations[3]."""
        return f"{name}[{self.places[name][i] if name in self.places else i}]"
