"""Where pictures go: image files, video files, a window."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2

from vocdet.errors import OutputError, VocdetError
from vocdet.files import make_folder, unwritable, write_bytes
from vocdet.inference.frames import FPS, LARGEST_FPS
from vocdet.inputs.images import Image

QUALITY = 92  # of JPEGs
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}  # that every wheel of OpenCV can write
MEASURED = 10  # frames by which the rate of a camera is told
CLOSING = (27, ord("q"), ord("Q"))  # keys: Esc, q

Write = Callable[[Image], None]
Show = Callable[[Image, float], bool]  # picture, seconds to show it; False: the user has closed the window


def write_picture(path: Path, pixels: Image) -> None:
    """Write a picture, whole or not at all: a PNG where the name ends so, else a JPEG."""
    kind = ".png" if path.suffix.lower() == ".png" else ".jpg"
    quality = () if kind == ".png" else (cv2.IMWRITE_JPEG_QUALITY, QUALITY)
    done, data = cv2.imencode(kind, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)
    if not done:
        raise OutputError(f"a picture of {pixels.shape[1]} x {pixels.shape[0]} cannot be a {kind[1:]}", place=path)
    write_bytes(path, data.tobytes())


def check_video_name(path: Path) -> None:
    """An `OutputError` unless a video can be written under this name."""
    if path.suffix.lower() not in CODECS:
        problem = f"{path.suffix!r} is no kind of video that can be written"
        raise OutputError(problem, place=path, hint=f"let the name end in {', '.join(CODECS)}")
    if path.is_dir():
        raise OutputError("is a folder", place=path, hint="name a file in it")


@contextmanager
def writing_video(path: Path, fps: float | None = None) -> Iterator[Write]:
    """A function that adds a frame to a video, which takes the name `path` when the block ends, however it ends.

    Without `fps` the video gets the rate at which its first frames come. Frames of another size than the first
    are resized. Where no frame came, no file is left.
    """
    check_video_name(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.stem[:100]}.{os.getpid()}{path.suffix.lower()}")  # OpenCV goes by the suffix
    film = _Film(temporary, fps)
    try:
        yield film.add
    finally:
        try:
            if film.close():
                temporary.replace(path)
        except OSError as error:
            raise unwritable(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)


class _Film:
    """A video file that opens when it knows the size and the rate of its frames."""

    def __init__(self, path: Path, fps: float | None) -> None:
        self.path, self.fps = path, fps
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
        if self.writer is None:
            self.writer = self.open()
        for pixels in self.waiting:
            fitted = pixels if pixels.shape[1::-1] == self.size else cv2.resize(pixels, self.size)
            self.writer.write(cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR))
        self.waiting.clear()
        self.times.clear()

    def open(self) -> cv2.VideoWriter:
        height, width = self.waiting[0].shape[:2]
        self.size = (width, height)
        took = self.times[-1] - self.times[0]
        fps = self.fps or (min((len(self.times) - 1) / took, LARGEST_FPS) if took > 0 else FPS)
        code = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix])
        writer = cv2.VideoWriter(str(self.path), code, round(fps, 2), self.size)  # MPEG-4 knows no finer rates
        if not writer.isOpened():
            raise OutputError("cannot be written as a video", place=self.path.parent, hint="try a name ending in .avi")
        return writer

    def close(self) -> bool:
        """Whether there is a video now."""
        if self.waiting:
            self.flush()
        if self.writer is None:
            return False
        self.writer.release()
        return True


def no_screen() -> str:
    """Why no window can be opened, or "" where one can. Asked first, for Qt ends the process when it finds none."""
    framework = cv2.currentUIFramework()
    if not framework:
        return "this build of OpenCV (headless) opens no windows"
    if sys.platform.startswith("linux"):
        wayland = (
            os.environ.get("WAYLAND_DISPLAY") and "QT" not in framework
        )  # the Qt in OpenCV's wheels speaks X alone
        if not wayland and not _answers(os.environ.get("DISPLAY", "")):
            return "there is no screen to show a window on"
    return ""


def _answers(display: str) -> bool:
    """Whether an X server answers at an address such as `:0` or `localhost:10.0`."""
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
    """A function that shows a picture in a window; it ends with q, Esc, or the window's own button."""
    reason = no_screen()
    if reason:
        raise VocdetError(reason, hint="give --save out.mp4 to write a video instead")
    cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_KEEPRATIO)

    def show(pixels: Image, seconds: float) -> bool:
        cv2.imshow(title, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(max(1, round(1000 * seconds)))  # 0 would wait for a key
        return (key & 0xFF) not in CLOSING and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1

    try:
        yield show
    finally:
        cv2.destroyAllWindows()
