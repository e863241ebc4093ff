"""Where pictures come from: image files, folders of them, video files, cameras and network streams."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np

from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import ImageError, VocdetError, raise_all
from vocdet.inputs.images import Image
from vocdet.wording import reason

T = TypeVar("T")

VIDEO_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"))
MASKS = frozenset(
    ("SegmentationObject", "SegmentationClass")
)  # folders of a VOC tree whose pictures are no photographs
FPS = 25.0  # of a video that does not say
LARGEST_FPS = 240.0  # beyond it the number in the file is no frame rate


@dataclass(frozen=True, slots=True)
class Source:
    """One image file, one video file, or one camera or stream."""

    kind: Literal["image", "video", "camera"]
    address: str  # a path, a camera's number, or a URL
    name: str  # what results are called after: the file's path from the folder that was given, with forward slashes

    @property
    def path(self) -> Path | None:
        """The file; None for a camera or a stream."""
        return None if self.kind == "camera" else Path(self.address)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture and where it is from."""

    pixels: Image  # upright
    source: Source
    number: int  # of the frame in a video or stream, from 0


@dataclass(frozen=True, slots=True)
class Video:
    """An open video, camera or stream."""

    source: Source
    fps: float  # as its file says; FPS where it says nothing
    count: int  # frames, by its file's word; 0 where that is not known
    frames: Iterator[Frame]


def find(given: Sequence[str], *, skip: Path | None = None) -> list[Source]:
    """What there is to look at in paths, camera numbers and URLs, in the order given and sorted inside a folder.

    A folder counts with the folders in it, but for hidden ones, a VOC tree's masks, and `skip`. What is not there
    or holds nothing is a `VocdetError`; several are reported together.
    """
    found: list[Source] = []
    errors: list[VocdetError] = []
    for text in given:
        path = Path(text)
        if path.is_dir():
            try:
                inside = [_file(inner, inner.relative_to(path).as_posix()) for inner in _walk(path, skip)]
            except OSError as error:
                raise VocdetError(f"cannot be read: {reason(error)}", place=path) from error
            if not inside:
                kinds = ", ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
                errors.append(VocdetError("holds no image and no video", place=path, hint=f"looked for {kinds}"))
            found += inside
        elif path.is_file():
            found.append(_file(path, path.name))
        elif text.isascii() and text.isdigit():
            found.append(Source("camera", text, f"camera{text}"))
        elif "://" in text:
            found.append(Source("camera", text, re.sub(r"\W+", "_", text.rpartition("@")[2]).strip("_")))
        else:
            hint = "give an image, a video, a folder, a camera's number or a URL"
            errors.append(VocdetError("is not there", place=path, hint=hint))
    raise_all(errors)
    return found


def _file(path: Path, name: str) -> Source:
    return Source("video" if path.suffix.lower() in VIDEO_SUFFIXES else "image", str(path), name)


def _walk(folder: Path, skip: Path | None) -> Iterator[Path]:
    hidden = skip.resolve() if skip else None
    for path in sorted(folder.iterdir(), key=_natural):
        if path.name.startswith(".") or path.name in MASKS or path.resolve() == hidden:
            continue
        if path.is_dir():
            if not path.is_symlink():  # a link may lead back here
                yield from _walk(path, skip)
        elif path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            yield path


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """As people sort: 2.jpg before 10.jpg."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(False, int(part), part) if part[0] in "0123456789" else (True, 0, part) for part in parts]


@contextmanager
def open_video(source: Source) -> Iterator[Video]:
    """A video file, camera or stream, closed when the block ends. What cannot be opened is a `VocdetError`."""
    with quiet():
        address = int(source.address) if source.address.isdigit() and source.kind == "camera" else source.address
        capture = cv2.VideoCapture(address)
        try:
            first = capture.read()[1] if capture.isOpened() else None
            if first is None:
                raise _closed(source)
            fps = capture.get(cv2.CAP_PROP_FPS)
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if source.kind == "video" else 0
            fps = fps if 0 < fps <= LARGEST_FPS else FPS  # nan too fails this
            yield Video(source, fps, max(count, 0), _frames(capture, first, source))
        finally:
            capture.release()


def _frames(capture: cv2.VideoCapture, first: object, source: Source) -> Iterator[Frame]:
    pixels, number = first, 0
    while pixels is not None:
        yield Frame(np.asarray(cv2.cvtColor(np.asarray(pixels), cv2.COLOR_BGR2RGB), np.uint8), source, number)
        pixels, number = capture.read()[1], number + 1


def _closed(source: Source) -> VocdetError:
    if source.kind == "video":
        hint = "play it elsewhere to see whether it is whole, or convert it to MP4"
        return ImageError("holds no frame that can be decoded", place=source.path, hint=hint)
    if source.address.isdigit():
        hint = "plug it in, close what else uses it, or give another number; 0 is the first camera"
        return VocdetError(f"there is no camera {source.address}, or it gives no picture", hint=hint)
    return VocdetError(f"{source.address!r} gives no picture", hint="is the address right, and can it be reached?")


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, OpenCV and its FFmpeg keep their remarks to themselves: what matters becomes an error."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when FFmpeg is first used
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def batches(frames: Iterable[T], size: int) -> Iterator[list[T]]:
    """Frames, or images, in lists of `size`; the last may be shorter."""
    batch: list[T] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
