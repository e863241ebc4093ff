"""Image files on disk: their format, size, EXIF orientation, and whether they can be decoded."""

from __future__ import annotations

import os
import struct
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
_MOST_SEGMENTS = 200
_DEEP = ("I", "F")  # Pillow's modes of 32 bits a sample


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an image file, known before it is decoded."""

    format: str  # a key of SUFFIXES
    width: int  # pixels as stored, before any EXIF rotation
    height: int


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Silence Pillow's warnings about unusual files: the ones that matter become findings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path | str) -> Header:
    """Format and stored size. An `ImageError` if the file is not an image of a supported format."""
    return _quick_header(path) or _full_header(Path(path))


def _quick_header(path: Path | str) -> Header | None:
    """The header of an ordinary JPEG or PNG, five times as fast as Pillow; None where Pillow is needed."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        begin = os.read(file, 512)
        if begin.startswith(b"\xff\xd8\xff"):
            size = _jpeg_size(file, begin)
            return Header("JPEG", *size) if size and 0 < size[0] * size[1] <= _most_pixels() else None
        if begin.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") and len(begin) >= 33:
            width, height = struct.unpack_from(">II", begin, 16)
            return Header("PNG", width, height) if 0 < width * height <= _most_pixels() else None
    except OSError:
        pass
    finally:
        os.close(file)
    return None


def _jpeg_size(file: int, begin: bytes) -> tuple[int, int] | None:
    """Width and height in the frame header of a JPEG (ITU T.81, B.2.2), found by stepping over what precedes it."""
    place = 2
    for _ in range(_MOST_SEGMENTS):
        segment = begin[place : place + 9]
        if len(segment) < 9:
            os.lseek(file, place, os.SEEK_SET)
            segment = os.read(file, 9)
        if len(segment) < 9 or segment[0] != 0xFF or not 0xC0 <= segment[1] <= 0xFE or 0xD0 <= segment[1] <= 0xDA:
            return None
        length, _, height, width = struct.unpack_from(">HBHH", segment, 2)
        if segment[1] <= 0xCF and segment[1] not in (0xC4, 0xC8, 0xCC):
            return width, height
        place += 2 + length
    return None


def _most_pixels() -> int:
    return Image.MAX_IMAGE_PIXELS or 0


def _full_header(path: Path) -> Header:
    with _opened(path) as image:
        if image.format == "TIFF" and image.mode in _DEEP:
            hint = "save it with 8 or 16 bits, as PNG or JPEG"
            raise ImageError("has samples of 32 bits, which are not decoded", place=path, hint=hint)
        return Header("JPEG" if image.format == "MPO" else str(image.format), image.width, image.height)


def read_orientation(path: Path) -> int:
    """The EXIF orientation, 1 to 8; 1 if the file has none. 5 to 8 swap width and height."""
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
            hint = "copy or export it again"
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
        raise ImageError(problem, place=path, hint="export it again") from error
