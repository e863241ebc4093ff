"""Image files on disk, as far as a dataset must know them: which they are, how large, how they lie."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vocdet.errors import ImageError

# By what a file holds, not by its name: the formats that are decoded, and the suffixes each may have.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

_ORIENTATION = 0x0112  # the EXIF tag
_DEEP = ("I", "F")  # Pillow's modes of 32 bits a sample


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says of itself before it is decoded."""

    format: str  # a key of SUFFIXES
    width: int  # pixels as stored, before any EXIF rotation
    height: int


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Inside, Pillow keeps its remarks on odd files to itself: what matters becomes a finding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path) -> Header:
    """Format and stored size. An `ImageError` where the file is no image of a format that is decoded."""
    with _opened(path) as image:
        if image.format == "TIFF" and image.mode in _DEEP:
            hint = "save it with 8 or 16 bits, as PNG or JPEG"
            raise ImageError("has samples of 32 bits, which are not decoded", place=path, hint=hint)
        return Header("JPEG" if image.format == "MPO" else str(image.format), image.width, image.height)


def read_orientation(path: Path) -> int:
    """The EXIF orientation, 1 to 8; 1 where the file does not say. 5 to 8 turn the image on its side."""
    with _opened(path) as image:
        value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def check_pixels(path: Path) -> None:
    """Decode the image to its last byte; an `ImageError` says why that fails."""
    with _opened(path) as image:
        image.draft(image.mode, (1, 1))  # a JPEG is read in full, yet computed at an eighth of its size
        try:
            image.load()
        except Exception as error:  # Pillow's decoders raise many kinds on broken files
            hint = "copy or export it again, or delete it and its XML"
            raise ImageError(f"cannot be decoded: {error}", place=path, hint=hint) from error


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=tuple(SUFFIXES)) as image:
            yield image
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("has too many pixels to be decoded", place=path, hint="make it smaller") from error
    except PermissionError as error:
        raise ImageError("may not be read", place=path, hint="give yourself the right to read it") from error
    except Exception as error:  # Pillow's readers raise many kinds on broken files
        if not path.is_file():
            problem = "cannot be opened"
        elif path.stat().st_size == 0:
            problem = "is empty"
        else:
            problem = "is not an image, or is broken from its first bytes"
        raise ImageError(problem, place=path, hint="export it again, or delete it and its XML") from error
