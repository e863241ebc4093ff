"""Apply a detector to a camera, a stream or a video while it plays, in a window."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vocdet.data.detections import Detections
from vocdet.errors import ArgumentError, MediaError, OutputError
from vocdet.files import is_file, is_folder
from vocdet.inference.camera import RETRY, camera
from vocdet.inference.draw import caption, draw
from vocdet.inference.frames import FPS, Frame, MediaSource, find_sources, open_video
from vocdet.inference.output import check_video_name, no_screen, window, writing_video
from vocdet.inference.tracking import Tracks, VideoOptions
from vocdet.inputs.images import Image
from vocdet.outputs import check_output, mark_file
from vocdet.workflows.detector import DetectorOptions

if TYPE_CHECKING:
    from vocdet.runtimes.predictor import Predictor

RATED = 30  # frames that the displayed rate averages: about a second


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A displayed frame of a camera or video."""

    number: int  # from 0
    detections: Detections
    fps: float  # of the latest frames
    dropped: int = 0  # frames that the camera delivered meanwhile, in all
    pixels: Image | None = None  # (H, W, 3) uint8, RGB


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A frame with its objects."""

    frame: Frame
    found: Detections
    drawn: Image
    fps: float


def watch(
    frames: Iterable[Frame | None],
    detector: Predictor,
    limits: Callable[[], NDArray[np.float32]],
    tracks: Tracks | None,
    most: int = 0,
) -> Iterator[Seen | None]:
    """Up to `most` frames, 0: all, with the objects above the limits (L,) of that moment; a None stays a None."""
    times, count = deque([time.monotonic()], maxlen=RATED), 0
    for frame in frames:
        if frame is None:
            yield None
            continue
        every = detector.detect([frame.pixels])[0]
        if tracks:
            tracks.limits = limits().clip(1e-3, 1 - 1e-3)
            found = tracks.update(every, frame.number, (frame.pixels.shape[1], frame.pixels.shape[0]))
        else:
            found = every.above(limits())
        times.append(time.monotonic())
        fps = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
        drawn = draw(frame.pixels, found, detector.labels)
        yield Seen(frame, found, tracks.draw(drawn, frame.number) if tracks else drawn, fps)
        count += 1
        if count == most:
            return


def live(
    detector: Path | Predictor,
    source: str = "0",
    *,
    save: Path | None = None,
    options: DetectorOptions = DetectorOptions(),
    videos: VideoOptions = VideoOptions(),
    force: bool = False,
    retry: float = RETRY,
) -> Generator[LiveFrame, None, None]:
    """Show a camera, a stream or a video with its detections in a window, until q, Esc or `videos.frames`.

    A thread reads a camera or stream as fast as it delivers, and only the newest frame is detected: the others are
    dropped and counted. A lost stream is opened again every `retry` seconds. A video plays at most at its own speed,
    and shows every frame. `save` also writes a video file, which is complete however the display ends; a file that
    vocdet did not write is only replaced with `force`. Without a screen, only the file is written; without both, it is
    a `MediaError`. `videos` may give objects ids, and count those that cross a line.
    """
    item = playable(source)
    no_window = no_screen()
    if no_window and save is None:
        raise MediaError(no_window, hint='write a video instead with `save="out.mp4"`')
    if save:
        check_video_name(save)
        if item.path and is_file(save) and save.samefile(item.path):
            raise OutputError("is the video itself", place=save, hint="choose another name for `save`")
        check_output(save, "choose another name for `save`, or use `force=True`", force=force)
    detector = options.open(detector)
    limits = options.limits(detector)
    with ExitStack() as stack:
        if save:
            stack.callback(_mark, save, _version(save))
        if item.kind == "video":
            video, reader = stack.enter_context(open_video(item)), None
            own = 1 / video.fps
            delivered: Iterator[Frame | None] = iter(video.frames)
        else:
            reader, own = stack.enter_context(camera(item, retry=retry)), 0.0
            delivered = reader.news()
        write = stack.enter_context(writing_video(save, 1 / own if own else None)) if save else None
        show = None if no_window else stack.enter_context(window(f"vocdet: {item.name}"))
        tracks = videos.start(limits, len(detector.labels), 1 / own if own else FPS)
        due, picture = time.monotonic(), None
        for one in watch(delivered, detector, lambda: limits, tracks, videos.frames):
            if one:
                due, picture = max(due + own, time.monotonic()), caption(one.drawn, f"{one.fps:.0f} fps")
                if write:
                    write(one.drawn)
                dropped = reader.dropped if reader else 0
                yield LiveFrame(one.frame.number, one.found, one.fps, dropped, one.frame.pixels)
            if show and picture is not None and not show(picture, due - time.monotonic()):
                return


def playable(text: str) -> MediaSource:
    """A camera, a stream or a video; an `ArgumentError` for anything else."""
    hint = "give a camera number, a URL or a video file"
    if is_folder(Path(text)):
        raise ArgumentError("is a folder, not a camera, stream or video", place=Path(text), hint=hint)
    (item,) = find_sources([text])
    if item.kind == "image":
        raise ArgumentError("is not a video", place=item.path, hint=hint)
    return item


def _version(file: Path) -> tuple[int, int] | None:
    """What tells a file from one that was written in its place; None without a file."""
    if not is_file(file):
        return None
    facts = file.stat()
    return facts.st_ino, facts.st_mtime_ns


def _mark(save: Path, before: tuple[int, int] | None) -> None:
    """Note the video, unless none was written and the file is what it was."""
    if _version(save) not in (None, before):
        mark_file(save)
