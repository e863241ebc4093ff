"""TensorBoard's event files.

They are written with TensorBoard's record writer, not with torch's SummaryWriter, which writes from a background
thread: a full disk prints a traceback there, and the training continues without its events.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vocdet.files import unwritable

EVENTS_PREFIX = "events.out.tfevents."


class EventFile:
    """A new event file in a folder. A disk that is full or read-only is an `OutputError`."""

    def __init__(self, folder: Path, *, hide_from: int | None = None) -> None:
        """Events of earlier files in the folder are hidden from step `hide_from` on."""
        from tensorboard.compat.proto import event_pb2, summary_pb2  # type: ignore[import-untyped]
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        number = 0
        while True:  # two files of the same second stay in order
            name = f"{EVENTS_PREFIX}{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
            self.path = folder / name
            try:
                file = self.path.open("xb")
                break
            except FileExistsError:
                number += 1
            except OSError as error:
                raise unwritable(self.path, error) from error
        self._records = RecordWriter(file)
        self._write(file_version="brain.Event:2")
        if hide_from is not None:
            self._write(step=hide_from, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write numbers by tag; slashes in a tag make groups."""
        values = [self._summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]
        self._write(step=step, summary=self._summary(value=values))

    def image(self, step: int, tag: str, encoded: bytes, size: tuple[int, int]) -> None:
        """Write an encoded PNG or JPEG of (width, height) pixels."""
        picture = self._summary.Image(encoded_image_string=encoded, width=size[0], height=size[1], colorspace=3)
        self._write(step=step, summary=self._summary(value=[self._summary.Value(tag=tag, image=picture)]))

    def close(self) -> None:
        """Close the file."""
        try:
            self._records.close()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _write(self, **event: Any) -> None:
        try:
            self._records.write(self._event(wall_time=time.time(), **event).SerializeToString())
            self._records.flush()
        except OSError as error:
            with suppress(OSError):
                self._records.close()
            raise unwritable(self.path, error) from error
