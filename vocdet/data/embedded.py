"""Images inside of JSON files, as labelme stores them: `a.json/a.jpg` is the image in a.json.

They are unpacked into a temporary folder when they are first read, and deleted when the process ends.
"""

from __future__ import annotations

import atexit
import base64
import binascii
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from vocdet.errors import ImageError
from vocdet.files import read_limited
from vocdet.wording import reason

LARGEST_FILE = 256 * 2**20  # bytes

_DATA = re.compile(rb'"imageData"\s*:\s*"([^"\\]{80,})"')  # shorter ones are no images
_IMAGE_BEGINS = {b"/9j/": ".jpg", b"iVBORw0KGgo": ".png", b"Qk": ".bmp", b"UklGR": ".webp", b"R0lGOD": ".gif"}
_HINT = "put the image beside the JSON file"


def suffix_of_embedded(data: bytes) -> str:
    """The suffix of the image in the bytes of a JSON file; "" without one."""
    match = _DATA.search(data)
    if match is None:
        return ""
    return next((suffix for begin, suffix in _IMAGE_BEGINS.items() if match[1].startswith(begin)), "")


def on_disk(path: Path | str) -> Path | str:
    """The file of an image: `path` itself, or for an image inside of a JSON file the one that it is unpacked to.

    Raises an `ImageError` if there is no image in the JSON file.
    """
    folder = str(path).replace("\\", "/").rpartition("/")[0]
    if folder[-5:].lower() != ".json" or Path(folder).is_dir():
        return path
    return _unpacked(folder, Path(path).suffix)


@cache
def _unpacked(file: str, suffix: str) -> Path:
    try:
        match = _DATA.search(read_limited(file, LARGEST_FILE))
        data = base64.b64decode(match[1], validate=True) if match else b""
    except OSError as error:
        raise ImageError(f"cannot be read: {reason(error)}", place=Path(file), hint=_HINT) from error
    except binascii.Error as error:
        raise ImageError(f"has imageData that is no image: {error}", place=Path(file), hint=_HINT) from error
    if not data:
        raise ImageError("has no imageData", place=Path(file), hint=_HINT)
    with tempfile.NamedTemporaryFile(dir=_folder(), suffix=suffix, delete=False) as unpacked:
        unpacked.write(data)
    return Path(unpacked.name)


@cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="vocdet-images-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
