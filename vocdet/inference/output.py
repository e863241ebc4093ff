"""Destinations of images: image files, video files, a window."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from vocdet.errors import MediaError, OutputError
from vocdet.files import make_folder, unwritable, write_bytes
from vocdet.inference.frames import FPS, MAX_FPS
from vocdet.inputs.images import Image

QUALITY = 92  # of JPEGs
MAX_JPEG_SIDE = 65500  # pixels
PICTURES = (".jpg", ".jpeg", ".png")
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}  # every wheel of OpenCV can write them
PROBE = 1 << 16  # bytes of free space that a video needs to start
MEASURED = 10  # frames that determine the rate of a camera
CLOSING = (27, ord("q"), ord("Q"))  # keys: Esc, q

Write = Callable[[Image], None]
Show = Callable[[Image, float], bool]  # image, seconds to show it; False: the user closed the window


def write_picture(path: Path, pixels: Image) -> None:
    """Write an image (H, W, 3) as JPEG or PNG, by the suffix, whole or not at all."""
    write_bytes(path, encode_picture(path, pixels))


def encode_picture(path: Path, pixels: Image) -> bytes:
    """The bytes of an image (H, W, 3) for a file of this name, JPEG or PNG."""
    check_picture_name(path)
    options = () if path.suffix.lower() == ".png" else (cv2.IMWRITE_JPEG_QUALITY, QUALITY)
    try:
        done, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        done, data = False, np.empty(0, np.uint8)
    if not done:
        problem = f"an image of {pixels.shape[1]}x{pixels.shape[0]} pixels cannot be written"
        raise OutputError(problem, place=path, hint=f"a JPEG has at most {MAX_JPEG_SIDE} pixels a side")
    return data.tobytes()


def check_picture_name(path: Path) -> None:
    """Raise `OutputError` unless the suffix is that of an image."""
    _check_name(path, "image", PICTURES)


def check_video_name(path: Path) -> None:
    """Raise `OutputError` unless the suffix is that of a video."""
    _check_name(path, "video", tuple(CODECS))


def _check_name(path: Path, kind: str, suffixes: Sequence[str]) -> None:
    if path.is_dir():
        raise OutputError("is a folder", place=path, hint="name a file in it")
    if path.suffix.lower() not in suffixes:
        problem = f"cannot write a {path.suffix!r} file as {kind}"
        raise OutputError(problem, place=path, hint=f"use one of {', '.join(suffixes)}")


@contextmanager
def writing_video(path: Path, fps: float | None = None) -> Iterator[Write]:
    """A function that adds a frame (H, W, 3) to a video; the file appears at `path` when the block ends, or fails.

    Without `fps` the video gets the rate at which its first frames arrive. Frames are resized to the first one.
    Without frames there is no file. A full or read-only disk is an `OutputError`.
    """
    check_video_name(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.stem[:100]}.{os.getpid()}{path.suffix.lower()}")  # OpenCV reads the suffix
    video = _VideoFile(temporary, path, fps)
    try:
        try:
            temporary.write_bytes(bytes(PROBE))  # OpenCV reports no reason
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            yield video.add
        finally:
            if video.close():
                temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


class _VideoFile:
    """A video file that opens once the size and the rate of its frames are known."""

    def __init__(self, path: Path, final: Path, fps: float | None) -> None:
        self.path, self.final, self.fps = path, final, fps
        self.written = 0
        self.waiting: list[Image] = []
        self.times: list[float] = []
        self.size = (0, 0)
        self.writer: cv2.VideoWriter | None = None

    def add(self, pixels: Image) -> None:
        self.waiting.append(pixels)
        self.times.append(time.monotonic())
        if self.fps or self.writer or len(self.waiting) > MEASURED:
            self.flush()

    def flush(self) -> None:
        (waiting, times), self.waiting, self.times = (self.waiting, self.times), [], []
        if self.writer is None:
            self.writer = self.open(waiting[0], times)
        for pixels in waiting:
            fitted = pixels if pixels.shape[1::-1] == self.size else cv2.resize(pixels, self.size)
            self.writer.write(cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR))
            self.written += 1

    def open(self, first: Image, times: Sequence[float]) -> cv2.VideoWriter:
        height, width = first.shape[:2]
        self.size = (width, height)
        took = times[-1] - times[0]
        fps = self.fps or (min((len(times) - 1) / took, MAX_FPS) if took > 0 else FPS)
        code = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix])
        writer = cv2.VideoWriter(str(self.path), code, round(fps, 2), self.size)  # the finest rate of MPEG-4
        if not writer.isOpened():
            raise OutputError("cannot be written as a video", place=self.final, hint="try a name ending in .avi")
        return writer

    def close(self) -> bool:
        """Whether there is a video; an incomplete one is an `OutputError`, which OpenCV does not report."""
        if self.waiting:
            self.flush()
        if self.writer is None:
            return False
        self.writer.release()
        reader = cv2.VideoCapture(str(self.path))
        count = reader.get(cv2.CAP_PROP_FRAME_COUNT) if reader.isOpened() else 0
        reader.release()
        if not abs(count - self.written) <= 1 + 0.01 * self.written:  # Matroska computes it from length and rate
            raise OutputError("could not be written completely", place=self.final, hint="check the free disk space")
        return True


def no_screen() -> str:
    """Why no window can open, or "". Checked before opening one: without a screen, Qt terminates the process."""
    framework = cv2.currentUIFramework()
    if not framework:
        return "this build of OpenCV (headless) cannot open a window"
    if sys.platform.startswith("linux"):
        # the Qt in OpenCV's wheels supports only X
        wayland = os.environ.get("WAYLAND_DISPLAY") and "QT" not in framework
        if not wayland and not _answers(os.environ.get("DISPLAY", "")):
            return "there is no screen"
    return ""


def _answers(display: str) -> bool:
    """Whether an X server responds at an address such as `:0` or `localhost:10.0`."""
    host, _, rest = display.rpartition(":")
    number = rest.partition(".")[0]
    if not number.isdigit():
        return False
    with suppress(OSError):
        if host in ("", "unix"):
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(f"/tmp/.X11-unix/X{number}")
        else:
            socket.create_connection((host, 6000 + int(number)), timeout=2).close()
        return True
    return False


@contextmanager
def window(title: str) -> Iterator[Show]:
    """A function that shows an image in a window until q, Esc, or the close button; `MediaError` without a screen."""
    reason = no_screen()
    if reason:
        raise MediaError(reason, hint='write a video instead with `save="out.mp4"`')
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # OpenCV's wheels lack the fonts of Qt
    cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_KEEPRATIO)

    def show(pixels: Image, seconds: float) -> bool:
        cv2.imshow(title, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(max(1, round(1000 * seconds)))  # 0 waits for a key
        return (key & 0xFF) not in CLOSING and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1

    try:
        yield show
    finally:
        cv2.destroyAllWindows()
