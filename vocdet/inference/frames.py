"""Sources of images: image files, folders, video files, cameras and network streams."""

from __future__ import annotations

import glob
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
from vocdet.errors import ArgumentError, ImageError, MediaError, VocdetError, raise_all
from vocdet.files import is_file, is_folder, is_link, may_list
from vocdet.inputs.images import Image
from vocdet.outputs import is_output_folder
from vocdet.wording import listed, reason

T = TypeVar("T")

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"

VIDEO_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"))
MASK_FOLDERS = frozenset(("SegmentationObject", "SegmentationClass"))  # of a VOC dataset: PNGs that are not photographs
ANNOTATION_SUFFIXES = frozenset((".xml", ".json", ".txt", ".yaml", ".yml", ".csv", ".names"))  # beside images
# What FFmpeg may open as a video file: a list of other files or addresses under the name of a video is refused.
FILES_ONLY = (
    "protocol_whitelist;file|format_whitelist;"
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,mpegps,m4v,asf,flv,ogg"
)
WAIT = 10_000  # milliseconds until a stream that delivers nothing counts as lost
COUNTED = frozenset((".mp4", ".m4v", ".mov", ".avi"))  # videos that state their number of frames
WHOLE = 0.9  # share of that number from which a video is whole
FPS = 25.0  # of a video without a frame rate
MAX_FPS = 240.0  # a higher number in a file is not a frame rate


@dataclass(frozen=True, slots=True)
class MediaSource:
    """One image file, one video file, or one camera or stream."""

    kind: Literal["image", "video", "camera"]
    address: str  # a path, a camera's number, or a URL
    name: str  # of the results: the path below the folder that was searched, with forward slashes

    @property
    def path(self) -> Path | None:
        """The file; None for a camera or stream."""
        return None if self.kind == "camera" else Path(self.address)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """An image and its source."""

    pixels: Image  # with the EXIF orientation applied
    source: MediaSource
    number: int  # of the frame in a video or stream, from 0


@dataclass(frozen=True, slots=True)
class Video:
    """An open video, camera or stream."""

    source: MediaSource
    fps: float  # of the file, or `FPS`
    count: int  # of frames, as the file states; 0: unknown
    frames: Iterator[Frame]

    def check_whole(self, seen: int) -> None:
        """Raise an `ImageError` if a file ended after `seen` frames, with far fewer than it states."""
        if self.source.path and self.source.path.suffix.lower() in COUNTED and seen < WHOLE * self.count:
            problem = f"ends after {seen} of the {self.count} frames that it states"
            raise ImageError(problem, place=self.source.path, hint="it is incomplete or damaged: copy it again")


def find_sources(names: Sequence[str], *, skip: Path | None = None) -> list[MediaSource]:
    """The sources named by paths, patterns such as `photos/*.jpg`, camera numbers and URLs, in this order.

    The files of a folder or a pattern are in natural order; in a pattern, `**` stands for any folders.

    Folders are searched recursively, also those behind links, except hidden ones, the mask folders of VOC, output of
    vocdet and Ultralytics, and `skip`; `skipped_files` names the rest. A missing path and an empty folder is an
    `ArgumentError`; all of them are reported together.
    """
    sources: list[MediaSource] = []
    errors: list[VocdetError] = []
    for text in names:
        path = Path(text)
        if not os.path.lexists(path) and "://" not in text and glob.has_magic(text):
            matches = _matching(text, skip)
            sources += matches
            if not matches:
                hint = "check the pattern; the part before it must be a folder with images or videos"
                errors.append(ArgumentError(f"no image and no video matches {text!r}", hint=hint))
        elif is_folder(path):
            found = list(_search(path, skip))
            inside = [_file(inner, inner.relative_to(path).as_posix()) for inner, why in found if not why]
            if not inside:
                errors.append(_no_media(path, [f"{inner.name} ({why})" for inner, why in found]))
            sources += inside
        elif is_file(path):
            sources.append(_file(path, path.name))
        elif os.path.lexists(path):
            problem = "is a link to nothing, or to itself" if is_link(path) else "is neither a file nor a folder"
            errors.append(ArgumentError(problem, place=path, hint="give an image, a video or a folder"))
        elif text.isascii() and text.isdigit():
            sources.append(MediaSource("camera", text, f"camera{text}"))
        elif "://" in text:
            sources.append(MediaSource("camera", text, re.sub(r"\W+", "_", text.rpartition("@")[2]).strip("_")))
        else:
            hint = "give an image, a video, a folder, a camera number or a URL"
            errors.append(ArgumentError("does not exist", place=path, hint=hint))
    raise_all(errors)
    return sources


def _matching(pattern: str, skip: Path | None) -> list[MediaSource]:
    """The images and videos that match a pattern; `skip` and hidden files are left out."""
    beside = os.path.realpath(skip) if skip else ""
    matches = glob.iglob(pattern, recursive=True)  # noqa: PTH207 the pattern may be an absolute path
    paths = sorted(map(Path, matches), key=lambda path: [_natural(one) for one in _chain(path)])
    return [
        _file(path, path.name) for path in paths
        if is_file(path) and not _why_not(path) and not (beside and Path(os.path.realpath(path)).is_relative_to(beside))
    ]  # fmt: skip


def _chain(path: Path) -> list[Path]:
    """A path after all its folders."""
    return [*reversed(path.parents), path]


def _no_media(folder: Path, passed_over: Sequence[str]) -> ArgumentError:
    """The error for a folder without images and videos, which names what is there."""
    supported = f"supported files: {listed(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))}"
    hint = f"it has {listed(passed_over, most=3)}; {supported}" if passed_over else supported
    return ArgumentError("contains no image and no video", place=folder, hint=hint)


def _file(path: Path, name: str) -> MediaSource:
    return MediaSource("video" if path.suffix.lower() in VIDEO_SUFFIXES else "image", str(path), name)


def skipped_files(names: Sequence[str], *, skip: Path | None = None) -> list[tuple[Path, str]]:
    """What `find_sources` passes over in these folders, and why: unknown suffixes, special files, output, bad links.

    Annotations, hidden files and the masks of VOC are not listed.
    """
    folders = (path for path in map(Path, names) if is_folder(path))
    return [(path, why) for folder in folders for path, why in _search(folder, skip) if why]


def _search(top: Path, skip: Path | None) -> Iterator[tuple[Path, str]]:
    """The images and videos below a folder in natural order with "", and what is passed over with the reason.

    A folder is searched once, by whatever links it can be reached.
    """
    seen = {os.path.realpath(top)} | ({os.path.realpath(skip)} if skip else set())
    try:
        yield from _below(top, Path(os.path.realpath(top)), seen)
    except OSError as error:
        raise ArgumentError(f"cannot be read: {reason(error)}", place=top) from error


def _below(folder: Path, top: Path, seen: set[str]) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.iterdir(), key=_natural):
        if path.name.startswith(".") or path.name in MASK_FOLDERS:
            continue
        if not is_folder(path):
            if path.suffix.lower() not in ANNOTATION_SUFFIXES:
                yield path, _why_not(path)
            continue
        real = os.path.realpath(path)
        if top.is_relative_to(real):
            yield path, "a link that leads back"
        elif real not in seen:
            seen.add(real)
            if is_output_folder(path):
                yield path, "output of vocdet or Ultralytics"
            elif not may_list(path):
                yield path, "no permission"
            else:
                yield from _below(path, top, seen)


def _why_not(path: Path) -> str:
    """Why a file is not used; "" for images and videos."""
    suffix = path.suffix.lower()
    if not is_file(path):
        return "a link to nothing, or to itself" if is_link(path) else "neither a file nor a folder"
    if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return ""
    return f"{suffix} files are not read" if suffix else "the name has no suffix"


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key of natural order: 2.jpg before 10.jpg."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(False, int(part), part) if part[0] in "0123456789" else (True, 0, part) for part in parts]


@contextmanager
def open_video(source: MediaSource) -> Iterator[Video]:
    """A video file, camera or stream, closed when the block ends.

    A file without a frame is an `ImageError`; a camera or stream that does not open is a `MediaError`.
    """
    with quiet():
        capture = _open_capture(source)
        try:
            first = capture.read()[1] if capture.isOpened() else None
            if first is None:
                raise _open_error(source)
            fps = capture.get(cv2.CAP_PROP_FPS)
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if source.kind == "video" else 0
            fps = fps if 0 < fps <= MAX_FPS else FPS  # NaN fails, too
            yield Video(source, fps, max(count, 0), _frames(capture, first, source))
        finally:
            capture.release()


def _open_capture(source: MediaSource) -> cv2.VideoCapture:
    if source.kind == "camera":
        if source.address.isdigit():
            return cv2.VideoCapture(int(source.address))
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, WAIT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, WAIT)
        return cv2.VideoCapture(source.address, cv2.CAP_ANY, limits)
    before = os.environ.get(_OPTIONS)
    os.environ[_OPTIONS] = FILES_ONLY
    try:  # an absolute path is no protocol
        return cv2.VideoCapture(str(Path(source.address).absolute()), cv2.CAP_FFMPEG)
    finally:
        if before is None:
            del os.environ[_OPTIONS]
        else:
            os.environ[_OPTIONS] = before


def _frames(capture: cv2.VideoCapture, first: object, source: MediaSource) -> Iterator[Frame]:
    pixels, number = first, 0
    while pixels is not None:
        yield Frame(np.asarray(cv2.cvtColor(np.asarray(pixels), cv2.COLOR_BGR2RGB), np.uint8), source, number)
        pixels, number = capture.read()[1], number + 1


def _open_error(source: MediaSource) -> VocdetError:
    if source.kind == "video":
        hint = "check that it plays elsewhere, or convert it to MP4"
        return ImageError("contains no frame that can be decoded", place=source.path, hint=hint)
    if source.address.isdigit():
        hint = "connect it, close other programs that use it, or give another number; 0 is the first camera"
        return MediaError(f"camera {source.address} does not exist or delivers no image", hint=hint)
    address = _without_password(source.address)
    return MediaError(f"{address!r} delivers no image", hint="check the address and the network")


def _without_password(url: str) -> str:
    """A URL as messages show it: without the user and the password."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the logs of OpenCV and its FFmpeg inside the block: problems are reported as errors."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when FFmpeg is first used
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in lists of `size`; the last may be shorter."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
