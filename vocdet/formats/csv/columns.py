"""What the columns of a CSV file mean: by the names in its first line, else by what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.formats.images.lookup import split_suffix
from vocdet.formats.shared.values import NUMBER

_IGNORED = re.compile(r"[^a-z0-9]")
# The names of a column without signs and in lower case; the first that is there counts.
_COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "file": ("filename", "imagename", "imagepath", "filepath", "imagefile", "imageid", "image", "path", "file", "img"),
    "label": ("class", "label", "classname", "labelname", "category", "object", "name"),
    "xmin": ("xmin", "x1", "left", "xtl", "bboxxmin", "bboxx", "bboxleft", "x"),
    "ymin": ("ymin", "y1", "top", "ytl", "bboxymin", "bboxy", "bboxtop", "y"),
    "xmax": ("xmax", "x2", "right", "xbr", "bboxxmax", "bboxright"),
    "ymax": ("ymax", "y2", "bottom", "ybr", "bboxymax", "bboxbottom"),
    "box_width": ("bboxwidth", "boxwidth", "bboxw", "w"),
    "box_height": ("bboxheight", "boxheight", "bboxh", "h"),
    "width": ("imagewidth", "imgwidth", "width"),
    "height": ("imageheight", "imgheight", "height"),
    "split": ("split", "subset", "set", "usage", "mluse"),
    "difficult": ("difficult",),
    "truncated": ("truncated", "istruncated"),
    "occluded": ("occluded", "isoccluded"),
    "crowd": ("crowd", "iscrowd", "isgroupof"),
}
# Files without names of columns: of each column an f for the name of an image, an n for a number, a t for text.
_ORDERS: Mapping[str, tuple[str, ...]] = {
    "fnnnnt": ("file", "xmin", "ymin", "xmax", "ymax", "label"),  # RetinaNet
    "fnntnnnn": ("file", "width", "height", "label", "xmin", "ymin", "xmax", "ymax"),  # TensorFlow
    "tnnnnfnn": ("label", "xmin", "ymin", "box_width", "box_height", "file", "width", "height"),  # makesense.ai
    "tftnn  nn  ": ("split", "file", "label", "xmin", "ymin", "", "", "xmax", "ymax"),  # AutoML Vision
    "ftnn  nn  ": ("file", "label", "xmin", "ymin", "", "", "xmax", "ymax"),
}
_FRACTIONS = ("tftnn  nn  ", "ftnn  nn  ")


@dataclass(frozen=True, slots=True)
class ColumnPlaces:
    """The place of every column that is read, from 0."""

    at: Mapping[str, int]  # by a key of `_COLUMN_NAMES`
    others: Mapping[str, int] = field(default_factory=dict)  # by name as written
    named: bool = True  # whether the first line names them
    fractions: bool | None = None  # of width and height; None: the numbers decide

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The columns of the two corners, or of the first corner, the width and the height."""
        last = ("xmax", "ymax") if "xmax" in self.at else ("box_width", "box_height")
        return self.at["xmin"], self.at["ymin"], self.at[last[0]], self.at[last[1]]

    @property
    def has_corners(self) -> bool:
        """Whether a box is given by two corners, not by its width and height."""
        return "xmax" in self.at


def find_columns(rows: Sequence[Sequence[str]]) -> ColumnPlaces | None:
    """The columns of a file that begins with these rows; None if it does not list boxes of images."""
    if not rows:
        return None
    return _named_columns(rows[0]) or next(filter(None, map(_ordered, rows)), None)


def _named_columns(cells: Sequence[str]) -> ColumnPlaces | None:
    names = [_IGNORED.sub("", cell.lower()) for cell in cells]
    at: dict[str, int] = {}
    for key, known in _COLUMN_NAMES.items():
        place = next((names.index(name) for name in known if name in names), None)
        if place is not None and place not in at.values():
            at[key] = place
    if "xmax" not in at and "box_width" not in at and {"width", "height"} <= at.keys():  # x, y, width, height
        at |= {"box_width": at.pop("width"), "box_height": at.pop("height")}
    ends = ({"xmax", "ymax"}, {"box_width", "box_height"})
    if not {"file", "label", "xmin", "ymin"} <= at.keys() or not any(end <= at.keys() for end in ends):
        return None
    others = {cell.strip(): i for i, cell in enumerate(cells) if i not in at.values() and cell.strip()}
    open_images = {"imageid", "labelname", "xmin"} <= set(names)
    return ColumnPlaces(at, others, fractions=True if open_images else None)


def _ordered(cells: Sequence[str]) -> ColumnPlaces | None:
    kinds = _kinds(cells)
    for order, keys in _ORDERS.items():
        if len(order) == len(kinds) and all(kind in (wanted, " ") for wanted, kind in zip(order, kinds, strict=True)):
            at = {key: i for i, key in enumerate(keys) if key}
            if cells[at["file"]].strip():
                return ColumnPlaces(at, named=False, fractions=True if order in _FRACTIONS else None)
    return None


def _kinds(cells: Iterable[str]) -> str:
    def kind(cell: str) -> str:
        text = cell.strip()
        if not text:
            return " "
        if NUMBER.fullmatch(text):
            return "n"
        return "f" if split_suffix(text)[1] in IMAGE_SUFFIXES else "t"

    return "".join(map(kind, cells))
