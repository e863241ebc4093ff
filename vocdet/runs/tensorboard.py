"""TensorBoard's event files.

Written here, by TensorBoard's own records, and not through torch's SummaryWriter: that one writes from a thread of
its own, in which a full disk prints a traceback and ends nothing.
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

PREFIX = "events.out.tfevents."


class EventFile:
    """A new event file in a folder. A disk that is full or read-only is an `OutputError`."""

    def __init__(self, folder: Path, *, forget_from: int | None = None) -> None:
        """What earlier files of the folder say of the step `forget_from` and later is not shown any more."""
        from tensorboard.compat.proto import event_pb2, summary_pb2  # type: ignore[import-untyped]
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        number = 0
        while True:  # two in one second are two files, in the order in which they were made
            name = f"{PREFIX}{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
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
        if forget_from is not None:
            self._write(step=forget_from, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def scalars(self, step: int, figures: Mapping[str, float]) -> None:
        """Numbers by their tags; slashes in a tag make groups."""
        values = [self._summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()]
        self._write(step=step, summary=self._summary(value=values))

    def image(self, step: int, tag: str, encoded: bytes, size: tuple[int, int]) -> None:
        """A picture that is a PNG or JPEG already, of (width, height) pixels."""
        picture = self._summary.Image(encoded_image_string=encoded, width=size[0], height=size[1], colorspace=3)
        self._write(step=step, summary=self._summary(value=[self._summary.Value(tag=tag, image=picture)]))

    def close(self) -> None:
        """End the file."""
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
