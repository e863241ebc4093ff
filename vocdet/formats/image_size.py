"""The size of an image: what its file holds, its annotation states, and EXIF says of its orientation."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import NamedTuple, TypeAlias

from vocdet.data import image_files
from vocdet.data.image_files import SUFFIXES
from vocdet.data.source_terms import SourceTerms
from vocdet.errors import ImageError
from vocdet.formats.scan import Notes

Stated: TypeAlias = "tuple[int | None, int | None] | None"  # width, height as the annotation has them

STORED: Container[str] = ()  # without a stated size, no image is turned
UPRIGHT: Container[str] = tuple(SUFFIXES)  # without a stated size, EXIF turns images of any file format
UPRIGHT_JPEG: Container[str] = ("JPEG",)

_HEAD = 4096  # bytes of a JPEG that hold its EXIF tag, if there is one


class ImageSize(NamedTuple):
    """The pixels that an annotation refers to."""

    width: int
    height: int
    turned: bool = False  # whether these are the sides of the stored image the other way round


def image_size(
    path: str,
    stated: Stated,
    notes: Notes,
    *,
    terms: SourceTerms,
    source: Path | str,
    inside: str = "",
    untold: Container[str] = STORED,
) -> ImageSize | None:
    """The size of an image as its annotation sees it; None, with a finding, where the image cannot be read.

    The stored size counts, or the size that EXIF gives an image that lies on its side where exactly that is stated.
    Where no size is stated, `untold` has the file formats whose images are taken upright. Another stated size is a
    finding in the annotation file `source`, at `inside`.
    """
    try:
        header = image_files.read_header(path)
        size = header.width, header.height
        if stated == size:
            return ImageSize(*size)
        absent = stated is None or stated == (None, None)
        turned = header.format in untold if absent else stated == size[::-1]
        if turned and _lies(path, header.format):
            return ImageSize(header.height, header.width, turned=True)
    except ImageError as error:
        hint = terms.replace_image(error.hint)
        notes.add("image.corrupt", "error", error.problem, Path(path), hint)
        return None
    if not absent and stated is not None:
        said = "×".join("nothing" if side is None else str(side) for side in stated)
        problem = f"the size is {said} in {terms.size}, but the image is {size[0]}×{size[1]}: the image's size is used"
        hint = "check that the boxes fit: they may belong to another size, or to another image"
        notes.add("image.size_mismatch", "warning", problem, Path(source), hint, inside=inside)
    return ImageSize(*size)


def _lies(path: str, format: str) -> bool:
    """Whether EXIF lays an image on its side. The first bytes of most JPEGs show that they have no such tag."""
    if format == "JPEG":
        with open(path, "rb") as file:  # noqa: PTH123 thousands of times: Path.open takes twice as long
            if b"Exif\0" not in file.read(_HEAD):
                return False
    return image_files.read_orientation(Path(path)) >= 5
