"""Image files on disk, as far as a dataset must know them: which they are, how large, how they lie."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path

from PIL import Image

from vocdet.data.embedded import on_disk
from vocdet.data.image_headers import Header, exif_orientation, is_deep, quick_header
from vocdet.errors import ImageError
from vocdet.wording import reason

# By what a file holds, not by its name: the formats that are decoded, and the suffixes each may have.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

# Pictures in formats that are not decoded: a dataset names them rather than passing over them in silence.
OTHER_SUFFIXES = frozenset(
    (".3fr", ".arw", ".bpg", ".cr2", ".cr3", ".dcm", ".dng", ".eps", ".exr", ".hdr", ".ico", ".jxl", ".jxr", ".nef",
     ".nii", ".orf", ".pcx", ".pef", ".pfm", ".psd", ".raf", ".raw", ".rw2", ".sgi", ".svg", ".tga", ".xcf")
)  # fmt: skip

EMPTY, UNKNOWN = "is empty", "is not an image, or is broken from its first bytes"  # problems of files

_TAG_BYTES = 512  # bytes; the tags of most files are in them
_HEADROOM = 1 << 28  # bytes beside the pixels that a file may have
_BYTES_A_PIXEL = 16  # at most
_BRANDS = {"HEIF": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "AVIF": (b"avif", b"avis")}


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Inside, Pillow keeps its remarks on odd files to itself: what matters becomes a finding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path | str) -> Header:
    """What a file says of itself; an `ImageError` if it is not an image of a format that is decoded."""
    path = on_disk(path)
    found = file_status(path)
    header = _quick_header(path, found.st_size) or _full_header(Path(path))
    if found.st_size > _HEADROOM and found.st_size > _HEADROOM + _BYTES_A_PIXEL * header.width * header.height:
        problem = f"has {found.st_size:,} bytes, far too many for {header.width}×{header.height} pixels"
        raise ImageError(problem, place=Path(path), hint="export it again")
    return header


def file_status(path: Path | str) -> os.stat_result:
    """The status of an image file. An `ImageError` if it is missing, a pipe, a device or a socket: none is opened."""
    try:
        found = os.stat(path)  # noqa: PTH116 Path.stat takes longer, for every image
    except OSError as error:
        hint = "check that it exists, and its permissions"
        raise ImageError(f"cannot be read: {reason(error)}", place=Path(path), hint=hint) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a device or a socket"
        raise ImageError(f"cannot be read: it is {kind}", place=Path(path), hint="remove it, or rename it")
    return found


def _quick_header(path: Path | str, size: int) -> Header | None:
    """The header of an ordinary JPEG, PNG or TIFF; None where a closer look is needed."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        header = quick_header(file, os.read(file, _TAG_BYTES), size)
    except OSError:
        return None
    finally:
        os.close(file)
    return header if header is not None and 0 < header.width * header.height <= (Image.MAX_IMAGE_PIXELS or 0) else None


def _full_header(path: Path) -> Header:
    with open_image(path) as image:
        with path.open("rb") as file:
            begin = file.read(_TAG_BYTES)
        format = "JPEG" if image.format == "MPO" else str(image.format)
        exif = image.info.get("exif")
        orientation = exif_orientation(exif.removeprefix(b"Exif\0\0")) if isinstance(exif, bytes) else 1
        if format == "AVIF":  # its orientation can be outside of EXIF, too
            value = image.getexif().get(0x0112, 1)
            orientation = value if isinstance(value, int) and 1 <= value <= 8 else 1
        return Header(format, image.width, image.height, orientation, is_deep(begin, image.mode))


def read_orientation(path: Path) -> int:
    """The EXIF orientation, 1 to 8; 1 where the file does not say. 5 to 8 turn the image on its side."""
    return read_header(path).orientation


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """An image opened by Pillow, only of the formats that are decoded; an `ImageError` if that fails."""
    path = Path(on_disk(path))
    found = file_status(path)
    try:
        with Image.open(path, formats=_formats(path)) as image:
            yield image
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("has too many pixels to be decoded", place=path, hint="make it smaller") from error
    except PermissionError as error:
        raise ImageError("may not be read", place=path, hint="give yourself the right to read it") from error
    except Exception as error:  # Pillow's readers raise many kinds on broken files
        raise ImageError(EMPTY if not found.st_size else UNKNOWN, place=path, hint="export it again") from error


def _formats(path: Path) -> list[str]:
    """The formats that Pillow can decode here. An `ImageError` if the file has one that needs another package."""
    with path.open("rb") as file:
        begin = file.read(12)
    brand = next((name for name, brands in _BRANDS.items() if begin[4:8] == b"ftyp" and begin[8:] in brands), "")
    known = _decodable(heif=brand == "HEIF")
    if brand and brand not in known:
        packages = {"HEIF": "pillow-heif: `pip install vocdet[heif]`", "AVIF": "Pillow 11.3 or newer"}
        hint = f"install {packages[brand]}; or convert it to JPEG"
        raise ImageError(f"is a {brand} image, for which a decoder is missing", place=path, hint=hint)
    return known


@cache
def _decodable(*, heif: bool) -> list[str]:
    if heif:
        with suppress(ImportError):  # it is an extra
            import_module("pillow_heif").register_heif_opener()
    Image.init()
    return [format for format in SUFFIXES if format in Image.OPEN]
