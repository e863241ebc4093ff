"""A camera or stream, read as fast as it delivers: a thread has the newest frame, and dropped ones are counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from vocdet.errors import VocdetError
from vocdet.inference.frames import Frame, MediaSource, open_video

RETRY = 1.0  # seconds until a lost stream is opened again


class Camera:
    """The newest frame of a source. Reading never waits for who uses the frames; a lost stream is reconnected.

    A video file plays at its own speed, and ends.
    """

    def __init__(self, source: MediaSource, *, retry: float = RETRY) -> None:
        self.source, self.retry = source, retry
        self.read = self.dropped = self.reconnected = 0  # frames, frames replaced by a newer one, lost connections
        self._newest: Frame | None = None
        self._error: VocdetError | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera {source.name}")

    def news(self) -> Iterator[Frame | None]:
        """The newest frames, none of them twice, until the source ends; None twice a second while no frame comes.

        `MediaError` if it never delivers.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._ended, 0.5)
                frame, self._newest = self._newest, None
                ended = self._ended and frame is None
            if ended:
                if self._error:
                    raise self._error
                return
            yield frame

    def frames(self) -> Iterator[Frame]:
        """The frames of `news`."""
        return (frame for frame in self.news() if frame)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._read_all()
                except VocdetError as error:
                    if not self.read:
                        self._error = error
                        return
                if self.source.kind == "video":
                    return
                self.reconnected += 1
                self._stop.wait(self.retry)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read_all(self) -> None:
        """Read until the source delivers no more."""
        with open_video(self.source) as video:
            due = time.monotonic()
            for frame in video.frames:
                if self._stop.is_set():
                    return
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest = replace(frame, number=self.read)
                    self.read += 1
                    self._changed.notify_all()
                if self.source.kind == "video":
                    due += 1 / video.fps
                    self._stop.wait(max(0.0, due - time.monotonic()))

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def start(self) -> None:
        """Start to read."""
        self._thread.start()


@contextmanager
def camera(source: MediaSource, *, retry: float = RETRY) -> Iterator[Camera]:
    """A source that is read in the background until the block ends."""
    made = Camera(source, retry=retry)
    made.start()
    try:
        yield made
    finally:
        made.close()
