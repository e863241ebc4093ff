"""The entries of a COCO file as types; keys that vocdet does not use are preserved as raw JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Raw

from vocdet.formats.shared.extras import IMAGE_EXTRAS, LABEL_EXTRAS, OBJECT_EXTRAS

HINT = "a COCO file is one JSON object with the lists images, annotations and categories"
LISTS = ("images", "annotations", "categories")
LARGEST_ID = 1 << 53  # the first id that is not an exact number in JavaScript
ABSENT = Raw(b"")

_Id: TypeAlias = Annotated[int, Meta(gt=-LARGEST_ID, lt=LARGEST_ID)]
_Side: TypeAlias = Annotated[int, Meta(gt=-(1 << 31), lt=1 << 31)]
_Flag: TypeAlias = Annotated[int, Meta(ge=0, le=1)]


class Image(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of `images`; the keys after the first four are preserved."""

    id: _Id
    file_name: str
    width: _Side | None = None
    height: _Side | None = None
    license: Raw = ABSENT
    flickr_url: Raw = ABSENT
    coco_url: Raw = ABSENT
    date_captured: Raw = ABSENT
    exif: Raw = ABSENT  # vocdet's own is `APPLIED` or `IGNORED`
    voc: Raw = ABSENT


class Annotation(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of `annotations`; the keys after `pose` are preserved."""

    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float]  # x, y, width, height
    area: float | None = None
    iscrowd: _Flag | None = None
    segmentation: Raw = ABSENT
    difficult: _Flag | None = None
    truncated: _Flag | None = None
    occluded: _Flag | None = None
    box: tuple[float, float, float, float] | None = None  # corners, where bbox is not exact
    pose: str | None = None
    attributes: Raw = ABSENT
    parts: Raw = ABSENT
    voc: Raw = ABSENT
    keypoints: Raw = ABSENT
    num_keypoints: Raw = ABSENT
    score: Raw = ABSENT


class Category(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of `categories`; the keys after `name` are preserved."""

    id: _Id
    name: str
    supercategory: Raw = ABSENT
    keypoints: Raw = ABSENT
    skeleton: Raw = ABSENT


EntryKind: TypeAlias = "type[Image] | type[Annotation] | type[Category]"

# The keys of each kind that are preserved, in order, and those that are used.
PRESERVED: Mapping[EntryKind, tuple[str, ...]] = MappingProxyType(
    {Image: IMAGE_EXTRAS, Annotation: OBJECT_EXTRAS, Category: LABEL_EXTRAS}
)
USED: Mapping[EntryKind, tuple[str, ...]] = MappingProxyType(
    {kind: tuple(name for name in kind.__struct_fields__ if name not in extras) for kind, extras in PRESERVED.items()}
)


@dataclass(slots=True)
class CocoEntries:
    """The entries of a file. Extras are JSON objects of preserved keys, for the entries that have any."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]
    image_extras: dict[int, bytes] = field(default_factory=dict)
    annotation_extras: dict[int, bytes] = field(default_factory=dict)
    category_extras: dict[int, dict[str, Raw]] = field(default_factory=dict)
    extra: dict[str, Raw] = field(default_factory=dict)  # the other keys of the file
    places: dict[str, list[int]] = field(
        default_factory=dict
    )  # list -> indices in the file, if some entries were left out
    texts: dict[int, int | str] = field(default_factory=dict)  # number in place of an id -> the id in the file
    _columns: dict[str, list[Any]] = field(default_factory=dict)
    _segmentations: bytes | None = None

    def column(self, name: str) -> list[Any]:
        """A field of all annotations."""
        if name not in self._columns:
            self._columns[name] = list(map(attrgetter(name), self.annotations))
        return self._columns[name]

    def segmentations(self) -> bytes:
        """The segmentations of all annotations, concatenated."""
        if self._segmentations is None:
            self._segmentations = b"".join(self.column("segmentation"))
        return self._segmentations

    def id_text(self, number: int) -> str:
        """An id as it is in the file."""
        return repr(self.texts.get(number, number))

    def place(self, name: str, i: int) -> str:
        """The place of an entry in the file, as in annotations[3]."""
        return f"{name}[{self.places[name][i] if name in self.places else i}]"
