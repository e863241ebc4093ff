"""TensorBoard's event files.

They are written here, not with torch's SummaryWriter, which writes from a background thread: a full disk prints a
traceback there, and the training continues without its events. TensorBoard's checksum of a picture, a loop in Python,
takes longer than drawing it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocdet.files import unwritable

EVENTS_PREFIX = "events.out.tfevents."

_LANE = 32  # bytes that a checksum takes one by one, in all lanes at the same time


class EventFile:
    """A new event file in a folder. A disk that is full or read-only is an `OutputError`."""

    def __init__(self, folder: Path, *, hide_from: int | None = None) -> None:
        """Events of earlier files in the folder are hidden from step `hide_from` on."""
        from tensorboard.compat.proto import event_pb2, summary_pb2  # type: ignore[import-untyped]

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
        self._file = file
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
            self._file.close()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _write(self, **event: Any) -> None:
        try:
            data = self._event(wall_time=time.time(), **event).SerializeToString()
            length = struct.pack("<Q", len(data))
            self._file.write(b"".join((length, _checksum(length), data, _checksum(data))))
            self._file.flush()
        except OSError as error:
            with suppress(OSError):
                self._file.close()
            raise unwritable(self.path, error) from error


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C of TFRecord files."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of four bytes or more.

    It is linear: the data is cut into lanes, whose checksums are computed side by side and then combined.
    """
    padded = np.zeros(-(-len(data) // _LANE) * _LANE, np.uint8)  # leading zeros change nothing, with 0 to start from
    padded[len(padded) - len(data) :] = np.frombuffer(data, np.uint8)
    padded[len(padded) - len(data) :][:4] ^= 0xFF  # in place of starting from 0xFFFFFFFF
    states = np.zeros(len(padded) // _LANE, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(-1, _LANE).T):
        states = _step(states ^ column)
    shift, crc = _shift(), 0
    for state in states.tolist():
        crc = (
            shift[0][crc & 0xFF] ^ shift[1][crc >> 8 & 0xFF] ^ shift[2][crc >> 16 & 0xFF] ^ shift[3][crc >> 24] ^ state
        )
    return crc ^ 0xFFFFFFFF


def _step(states: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The states (N,) after another byte, which is in their low bits already."""
    return np.asarray(_table()[states & 0xFF] ^ states >> 8, np.uint32)


@cache
def _table() -> NDArray[np.uint32]:
    """The states after each of the 256 bytes."""
    states = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        states = np.where(states & 1, states >> 1 ^ 0x82F63B78, states >> 1).astype(np.uint32)
    return states


@cache
def _shift() -> list[list[int]]:
    """The states after a lane of zeros, from states with one of their four bytes set: 4 tables of 256."""
    states = (np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)).astype(np.uint32)
    for _ in range(_LANE):
        states = _step(states)
    return [[int(state) for state in row] for row in states]
