"""What is unusual about an image: its orientation, the size its boxes refer to, and the range of deep samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset, Images
from vocdet.data.findings import Finding
from vocdet.data.image_headers import Header
from vocdet.data.levels import choose_levels
from vocdet.data.source_terms import SourceTerms
from vocdet.errors import ImageError, Place

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Size: TypeAlias = "tuple[int, int]"  # width, height; pixels
Stated: TypeAlias = "tuple[int | None, int | None] | None"  # width and height in an annotation file
# Whether annotations of a format refer to images with their EXIF orientation applied; "": only they themselves show it.
Shown: TypeAlias = Literal["always", "usually", ""]

# What vocdet writes beside an image with an EXIF orientation: whether size and boxes are of the image with it.
APPLIED, IGNORED = "applied", "ignored"
MARKS = (APPLIED, IGNORED)

MISMATCH = "image.size_mismatch"
_BEYOND = 1.05  # times a side that boxes reach, from which on they cannot be of an image of this size
_SAMPLED = 24  # deep images that decide the levels
_DECODERS = 4  # threads


def exif_mark(images: Images, row: int) -> str:
    """What to write beside an image: `APPLIED` or `IGNORED`, "" without an EXIF orientation."""
    return "" if images.exif[row] == 1 else APPLIED if images.upright[row] else IGNORED


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is unusual about an image; how to read it depends on all images of the dataset."""

    header: Header
    stated: Size | None  # by the annotation
    place: Place  # of that size
    terms: SourceTerms
    shown: Shown
    mark: str  # `APPLIED` or `IGNORED`, from an annotation that vocdet wrote

    @property
    def stored(self) -> Size:
        """The size of the image in its file."""
        return self.header.width, self.header.height

    def applies_exif(self, boxes: Boxes | None = None) -> bool | None:
        """Whether the annotation refers to the image with its EXIF orientation applied; None if that is open."""
        if self.mark:
            return self.mark == APPLIED
        stored, turned = self.stored, self.stored[::-1]
        if self.header.orientation < 5 or stored == turned:
            return None
        if self.stated in (stored, turned):
            return self.stated == turned
        if self.stated is not None:
            fits = [is_uniform(self.stated, size) for size in (stored, turned)]
        elif boxes is not None and len(boxes):
            fits = [not reaches_beyond(boxes, size) for size in (stored, turned)]
        else:
            return None
        return fits[1] if fits[0] != fits[1] else None


def size_finding(stated: Stated, size: Size, place: Place, terms: SourceTerms) -> Finding:
    """The warning of a stated size that is wrong, while the boxes fit the image or may fit it."""
    problem = f"{sizes_text(stated, size, terms)}: the image's size is used"
    hint = "check that the boxes fit: they may belong to another size or image"
    return Finding(MISMATCH, "warning", problem, place, hint)


def sizes_text(stated: Stated, size: Size, terms: SourceTerms) -> str:
    """The size in an annotation file and that of the image, for a finding."""
    text = "×".join("nothing" if side is None else str(side) for side in stated or ())
    return f"the size is {text} in {terms.size}, but the image is {size[0]}×{size[1]}"


def is_uniform(stated: Size, size: Size) -> bool:
    """Whether one factor for both sides takes one size to the other, up to rounding."""
    ranges = [((b - 1) / a, (b + 1) / a) for a, b in zip(stated, size, strict=True)]
    return max(low for low, _ in ranges) <= min(high for _, high in ranges)


def reaches_beyond(boxes: Boxes, size: Size) -> bool:
    """Whether boxes (N, 4) reach so far beyond an image of this size that they are not of it."""
    return bool(len(boxes)) and bool((boxes[:, 2:].max(axis=0) > np.array(size) * _BEYOND + 1).any())


def with_levels(dataset: Dataset, rows: Sequence[int]) -> Dataset:
    """The dataset with the levels of its deep images, which have these rows; some of them decide."""
    if not rows:
        return dataset
    from concurrent.futures import ThreadPoolExecutor  # loads logging, which few datasets need to be read

    some = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLED)).astype(int))]
    with ThreadPoolExecutor(_DECODERS) as pool:
        return replace(dataset, levels=choose_levels(_stored_pixels(pool, dataset, some)))


def _stored_pixels(pool: ThreadPoolExecutor, dataset: Dataset, rows: Sequence[int]) -> Iterator[NDArray[Any]]:
    from vocdet.data.decoding import decode_stored  # loads OpenCV, which few datasets need to be read

    def pixels(row: int) -> NDArray[Any] | None:
        try:
            return decode_stored(dataset.root / dataset.images.files[row])[1]
        except ImageError:  # found by a check
            return None

    return (found for found in pool.map(pixels, rows) if found is not None)
