"""Masks in COCO's notation: polygons, run lengths (RLE), and their pixels.

A segmentation is the JSON of COCO's key of that name: `[[x1, y1, x2, y2, ...], ...]`, one list a polygon, in pixels;
or `{"size": [height, width], "counts": ...}` with the lengths of runs of 0 and 1 in column order, beginning with 0, as
a list or in the text form of pycocotools (maskApi.c, rleToString). Run lengths are added up before pycocotools
decodes them, because it writes beyond its memory if they do not fit the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.wording import json_reason

Polygons: TypeAlias = "list[list[float]]"  # each x1, y1, x2, y2, ...

MASK_THRESHOLD = 0.5  # probability above which a pixel belongs to an object
FURTHEST = 1e9  # pixels of a point from the origin
LARGEST_SIDE = 1 << 16  # pixels of a mask; larger ones are a mistake or an attack
MOST_PIXELS = 1 << 28  # of a mask that is drawn; pycocotools counts in 32 bits
LONGEST_OUTLINE = 1 << 21  # pixels around a polygon that is drawn; pycocotools takes some 80 bytes for each


@dataclass(frozen=True, slots=True)
class Rle:
    """Run lengths of a mask, whose sum is height × width."""

    height: int
    width: int
    counts: tuple[int, ...]  # runs of 0, 1, 0, ... in column order

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return sum(self.counts[1::2])


class MaskError(ValueError):
    """An invalid segmentation; `code` names the problem in short, as in polygon.odd."""

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(problem)
        self.code = code


class _RawRle(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str | list[int]


_POLYGON_DECODER = msgspec.json.Decoder(list[list[float]])
_RLE = msgspec.json.Decoder(_RawRle)


def parse(segmentation: bytes) -> Polygons | Rle:
    """The polygons or the RLE in a segmentation's JSON; polygons have at least three points. Else a `MaskError`."""
    try:
        if segmentation.lstrip()[:1] == b"{":
            return _rle(_RLE.decode(segmentation))
        polygons = _POLYGON_DECODER.decode(segmentation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MaskError("type", f"is neither a list of polygons nor an RLE: {json_reason(error)}") from error
    for i, polygon in enumerate(polygons):
        if len(polygon) % 2:
            raise MaskError(
                "polygon.odd", f"polygon {i} has {len(polygon)} numbers, which do not form pairs of x and y"
            )
        if len(polygon) < 6:
            raise MaskError("polygon.short", f"polygon {i} has {len(polygon) // 2} points, but needs three")
    if not polygons:
        raise MaskError("empty", "has no polygon")
    if not all(map(_is_in_reach, polygons)):
        raise MaskError("polygon.far", "has a point further than 1e9 pixels out")
    return polygons


def _is_in_reach(polygon: list[float]) -> bool:
    return max(polygon) <= FURTHEST and min(polygon) >= -FURTHEST


def _rle(raw: _RawRle) -> Rle:
    height, width = raw.size
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise MaskError("rle.size", f"has the size {height}×{width}")
    counts = raw.counts if isinstance(raw.counts, list) else _counts_of_text(raw.counts).tolist()
    if min(counts, default=0) < 0:
        raise MaskError("rle.sum", "has a run of negative length")
    if sum(counts) != height * width:
        raise MaskError("rle.sum", f"has runs of {sum(counts)} pixels for a size of {height}×{width}")
    return Rle(height, width, tuple(counts))


def _counts_of_text(text: str) -> NDArray[np.int64]:
    """Run lengths from their text form: five bits per character, low bits first; the sixth is set if more follow.

    From the fourth number on, each is the difference from the number two places before.
    """
    try:
        bits = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        bits = np.array([-1])
    if len(bits) and not (bits.min() >= 0 and bits.max() < 64):
        raise MaskError("rle.text", "has counts that are not run lengths")
    last = np.flatnonzero(bits < 32)  # the last character of every number
    if len(bits) and (not len(last) or last[-1] != len(bits) - 1):
        raise MaskError("rle.text", "has counts that end in the middle of a number")
    lengths = last.copy()
    lengths[1:] -= last[:-1]
    lengths[:1] += 1
    if len(lengths) and lengths.max() > MOST_CHARACTERS:
        raise MaskError("rle.text", "has counts that are not run lengths")
    if not len(lengths):
        return np.zeros(0, np.int64)
    firsts = last - lengths + 1
    place = np.arange(len(bits)) - np.repeat(firsts, lengths)  # of a character in its number
    values = np.add.reduceat((bits & 31) << (5 * place), firsts)
    values -= np.where(bits[last] & 16, np.int64(1) << (5 * lengths), 0)  # the highest bit is the sign
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


MOST_CHARACTERS = 8  # of a number: 40 bits, more than the pixels of any image


def rle_json(mask: NDArray[np.bool_]) -> bytes:
    """The compressed RLE of a mask (H, W), as JSON."""
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return msgspec.json.encode({"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")})


def pixels(segmentation: Polygons | Rle, height: int, width: int) -> NDArray[np.bool_]:
    """The mask (H, W) of a parsed segmentation; polygons are filled as by pycocotools.

    `MaskError` for an RLE of another size, and for a mask that is too large to draw.
    """
    if isinstance(segmentation, Rle) and (segmentation.height, segmentation.width) != (height, width):
        size = f"{segmentation.height}×{segmentation.width}"
        raise MaskError("rle.size", f"is {size}, but its image is {height}×{width} (height × width)")
    if height * width > MOST_PIXELS:
        raise MaskError("large", f"has {height}×{width} pixels, too many to draw")
    if isinstance(segmentation, Rle):
        counts = np.array(segmentation.counts, np.int64)
    else:
        counts = drawn_counts([np.array(polygon, np.float64) for polygon in segmentation], height, width)
    return window(counts, height, (0, 0, width, height))


def counts_of(text: bytes, height: int, width: int) -> NDArray[np.int64] | None:
    """Run lengths of a segmentation's JSON in an image of this size; None without a valid mask of that size."""
    if not text or height * width > MOST_PIXELS:
        return None
    try:
        segmentation = parse(text)
        if not isinstance(segmentation, Rle):
            return drawn_counts([np.array(polygon) for polygon in segmentation], height, width)
    except MaskError:
        return None
    fits = (segmentation.height, segmentation.width) == (height, width)
    return np.array(segmentation.counts, np.int64) if fits else None


def compressed(text: bytes, height: int, width: int) -> dict[str, Any] | None:
    """The RLE of a segmentation's JSON in an image of this size, as pycocotools takes it; None as in `counts_of`."""
    if not text or height * width > MOST_PIXELS:
        return None
    from pycocotools import mask as coco

    try:
        segmentation = parse(text)
        if not isinstance(segmentation, Rle):
            return _drawn_rle([np.array(polygon) for polygon in segmentation], height, width)
    except MaskError:
        return None
    if (segmentation.height, segmentation.width) != (height, width):
        return None
    counts = np.array(segmentation.counts, np.int64)
    rle: dict[str, Any] = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return rle


def drawn_counts(polygons: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.int64]:
    """Run lengths of polygons (x1, y1, x2, y2, ...), filled by pycocotools in a mask of this size.

    Overlapping polygons count once. `MaskError` for an outline that is too long to draw.
    """
    if not any(_touches(polygon, height, width) for polygon in polygons):
        return np.array([height * width], np.int64)
    text: bytes = _drawn_rle(polygons, height, width)["counts"]
    return _counts_of_text(text.decode("ascii"))  # its own decode warns with NumPy 2


def _drawn_rle(polygons: Sequence[NDArray[np.float64]], height: int, width: int) -> dict[str, Any]:
    from pycocotools import mask as coco

    visible = [polygon for polygon in polygons if _touches(polygon, height, width)]
    if any(map(_is_too_long, visible)):
        raise MaskError("polygon.long", "has an outline that is too long to draw")
    if not visible:
        empty: dict[str, Any] = coco.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width)
        return empty
    drawn = coco.frPyObjects(visible, height, width)
    merged: dict[str, Any] = drawn[0] if len(drawn) == 1 else coco.merge(drawn)
    return merged


def window(counts: NDArray[np.int64], height: int, where: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The pixels (y1 - y0, x1 - x0) inside a rectangle `where` (x0, y0, x1, y1) of the mask of these run lengths.

    `height` is that of the whole mask, which contains the rectangle. Only the columns of the rectangle are decoded.
    """
    x0, y0, x1, y1 = where
    first, last = x0 * height, x1 * height
    ends = np.cumsum(counts)
    begin, end = int(np.searchsorted(ends, first, "right")), int(np.searchsorted(ends, last, "left")) + 1
    stops = np.minimum(ends[begin:end], last)
    lengths = stops - np.concatenate([[first], stops[:-1]])
    flat = np.repeat(np.arange(begin, begin + len(lengths)) % 2 == 1, lengths)
    return flat.reshape(x1 - x0, height).T[y0:y1]


def _touches(polygon: NDArray[np.float64], height: int, width: int) -> bool:
    xs, ys = polygon[::2], polygon[1::2]
    return bool(xs.min() <= width and ys.min() <= height and xs.max() >= 0 and ys.max() >= 0)


def _is_too_long(polygon: NDArray[np.float64]) -> bool:
    """Whether an outline has too many pixels: a side has the larger of its width and height, plus one."""
    points = polygon.reshape(-1, 2)
    if len(points) * (np.ptp(points) + 1) <= LONGEST_OUTLINE:  # no side is longer
        return False
    sides = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1)
    return bool((sides + 1).sum() > LONGEST_OUTLINE)


def placed(pixels: NDArray[np.bool_], left: int, top: int, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels as a mask of an image (height, width) in column order, as in an RLE; what is beyond it is cut off."""
    x0, y0 = max(left, 0), max(top, 0)
    inside = pixels[y0 - top : max(height - top, 0), x0 - left : max(width - left, 0)]
    image = np.zeros((height, width), np.bool_, order="F")
    image[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]] = inside
    return image


def area(segmentation: Polygons | Rle) -> float:
    """Square pixels: of an RLE by counting, of polygons by the shoelace formula, each on its own."""
    if isinstance(segmentation, Rle):
        return float(segmentation.area)
    return sum(map(_polygon_area, segmentation))


def _polygon_area(polygon: list[float]) -> float:
    # Relative to the first point: products of large coordinates have no decimals left.
    xs, ys = ([float(value) - float(side[0]) for value in side] for side in (polygon[::2], polygon[1::2]))
    twice = sum(map(float.__mul__, xs, ys[1:] + ys[:1])) - sum(map(float.__mul__, xs[1:] + xs[:1], ys))
    return abs(twice) / 2


def bounds(segmentation: Polygons | Rle) -> tuple[float, float, float, float] | None:
    """The box around a mask: xmin, ymin, xmax, ymax, 0-based and half-open; None for an RLE without pixels."""
    if not isinstance(segmentation, Rle):
        xs = [x for polygon in segmentation for x in polygon[::2]]
        ys = [y for polygon in segmentation for y in polygon[1::2]]
        return min(xs), min(ys), max(xs), max(ys)
    return counts_bounds(np.array(segmentation.counts, np.int64), segmentation.height)


def counts_bounds(counts: NDArray[np.int64], height: int) -> tuple[int, int, int, int] | None:
    """`bounds` of the mask of these run lengths, whose columns have `height` pixels."""
    ends = np.cumsum(counts[: len(counts) // 2 * 2]).reshape(-1, 2)
    runs = ends[ends[:, 1] > ends[:, 0]] - np.array([0, 1])  # first and last pixel
    if not len(runs):
        return None
    columns, rows = np.divmod(runs, height)
    xmin, xmax = int(columns[0, 0]), int(columns[-1, 1]) + 1
    if (columns[:, 0] != columns[:, 1]).any():  # a run continues in the next column
        return xmin, 0, xmax, height
    return xmin, int(rows[:, 0].min()), xmax, int(rows[:, 1].max()) + 1
