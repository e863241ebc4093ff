"""A camera that is read in the background: never behind, and connected again when it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from vocdet.errors import MediaError
from vocdet.inference import camera as module
from vocdet.inference.camera import camera
from vocdet.inference.frames import Frame, MediaSource, Video

SOURCE = MediaSource("camera", "rtsp://cam/live", "cam")


def stream(monkeypatch: pytest.MonkeyPatch, connect: Callable[[int], Iterator[int]]) -> list[int]:
    """Stand in for a network stream: `connect(n)` is what connection n delivers. The list grows with every connection."""
    connections: list[int] = []

    @contextmanager
    def open_video(source: MediaSource) -> Iterator[Video]:
        connections.append(len(connections))
        numbers = connect(connections[-1])
        frames = (Frame(np.full((2, 2, 3), n % 256, np.uint8), source, 0) for n in numbers)
        yield Video(source, 25.0, 0, frames)

    monkeypatch.setattr(module, "open_video", open_video)
    return connections


def test_reading_does_not_wait_and_dropped_frames_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    all_read, go = threading.Event(), threading.Event()

    def connect(_: int) -> Iterator[int]:
        yield 0
        assert go.wait(10)
        yield from range(1, 50)
        all_read.set()
        threading.Event().wait(0.01)

    stream(monkeypatch, connect)
    with camera(SOURCE, retry=60) as reader:
        frames = reader.frames()
        assert next(frames).number == 0
        go.set()
        assert all_read.wait(10)  # although nobody takes a frame
        assert next(frames).number == 49
        assert (reader.read, reader.dropped) == (50, 48)


def test_a_lost_stream_is_connected_again_a_hundred_times(monkeypatch: pytest.MonkeyPatch) -> None:
    enough = threading.Event()

    def connect(number: int) -> Iterator[int]:
        if number % 2:
            raise MediaError("delivers no image")
        if number >= 200:
            enough.set()
        yield number

    connections = stream(monkeypatch, connect)
    with camera(SOURCE, retry=0) as reader:
        numbers = []
        for frame in reader.frames():
            numbers.append(frame.number)
            if enough.is_set():
                break
    assert len(connections) > 200
    assert reader.reconnected >= 200
    assert numbers == sorted(set(numbers))
    assert threading.active_count() < 20


def test_a_camera_that_never_delivers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_: int) -> Iterator[int]:
        raise MediaError("delivers no image", hint="check the address")
        yield

    stream(monkeypatch, connect)
    with camera(SOURCE) as reader, pytest.raises(MediaError, match="delivers no image"):
        next(reader.frames())
