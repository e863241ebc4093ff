"""Apply a detector to files (`predict`), or to a camera or a video in a window (`live`)."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.errors import ArgumentError, ImageError, MediaError, OutputError, VocdetError, raise_all
from vocdet.files import check_writable, is_file, is_folder
from vocdet.inference.draw import caption, draw
from vocdet.inference.frames import Frame, MediaSource, batches, find_sources, open_video, quiet
from vocdet.inference.output import MAX_JPEG_SIDE, check_video_name, no_screen, window, writing_video
from vocdet.inputs.images import Image, decode
from vocdet.outputs import check_output, mark_file
from vocdet.wording import reason
from vocdet.workflows.prediction_folder import RESULTS, PredictionFolder

if TYPE_CHECKING:  # imports torch; errors in paths are reported before that
    from vocdet.inference.predictor import Predictor

READERS = 4  # threads that decode images while the detector works
AHEAD = 16  # images decoded in advance
RATED = 30  # frames that the displayed rate averages: about a second

Limit: TypeAlias = "float | NDArray[np.float32]"  # least score of a detection, or (L,) that of each label


@dataclass(frozen=True, slots=True)
class Prediction:
    """The detections in one image, or in one frame of a video."""

    source: MediaSource
    number: int  # of the frame, from 0
    detections: Detections
    done: int  # images and frames so far
    total: int  # of images and frames, as far as videos state their number
    drawing: Path  # the file with the drawn image, or the video


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A displayed frame of a camera or video."""

    number: int  # from 0
    detections: Detections
    fps: float  # of the latest frames


def choose_run(arguments: Sequence[str], *, runs: Path = Path("runs")) -> tuple[Path, list[str]]:
    """The run and the sources: the first argument if it is a run or a checkpoint, else the newest run in `runs`."""
    first = Path(arguments[0]) if arguments else Path()
    if is_file(first / "best.safetensors") or first.suffix == ".safetensors":
        return first, list(arguments[1:])
    return _newest(runs), list(arguments)


def predict(
    detector: Path | Predictor,
    sources: Sequence[str],
    *,
    out: Path,
    score: float | None = None,
    batch: int = 8,
    device: str = "auto",
    voc: bool = False,
    force: bool = False,
) -> Generator[Prediction, None, None]:
    """Draw the detections in images, folders and videos into `out`, and list them in `out/detections.json`.

    `detector` may be a run folder or a checkpoint, which is loaded on `device`. An image becomes `<name>.jpg`, a video
    `<name>.mp4`; with `voc`, `out` becomes a VOC dataset of the images, and the drawings are in `out/drawings` (see
    `PredictionFolder`). Detections below `score`, by default the detector's threshold for each label, are left out.
    Files that cannot be decoded or written are skipped, and raised together at the end. After an interruption `out`
    holds the results so far and a list that matches them. `out` must be new, empty, or an earlier result, which is
    replaced but for the files that a user changed or added: `read_marker(out)` lists them as `kept`. With `force` they
    are replaced, too.
    """
    items = list(dict.fromkeys(find_sources(sources, skip=out)))  # duplicates count once
    _refuse(items, out)
    if isinstance(detector, Path):
        detector = _load_detector(detector, device)
    folder = PredictionFolder(out, items, detector.labels, voc=voc, force=force)
    limit = detector.thresholds if score is None else float(score)
    errors: list[VocdetError] = []
    complete = False
    try:
        with quiet():
            total = _count_frames(items)
            for frame, detections in _predict_all(items, folder, detector, limit, batch, errors):
                done = len(folder.listed) + len(errors)
                drawing = folder.drawing(frame.source)
                yield Prediction(frame.source, frame.number, detections, done, max(total, done), drawing)
        complete = True
    finally:
        folder.close(complete=complete)
    raise_all(errors)


def live(
    detector: Path | Predictor,
    source: str = "0",
    *,
    save: Path | None = None,
    score: float | None = None,
    frames: int = 0,
    device: str = "auto",
    force: bool = False,
) -> Generator[LiveFrame, None, None]:
    """Show a camera, a stream or a video with its detections in a window, until q, Esc, or `frames` frames.

    `save` also writes a video file, which is complete however the display ends; a file that vocdet did not write is
    only replaced with `force`. Without a screen, only the file is written; without both, it is a `MediaError`. A video
    plays at most at its own speed.
    """
    item = _playable(source)
    no_window = no_screen()
    if no_window and save is None:
        raise MediaError(no_window, hint='write a video instead with `save="out.mp4"`')
    if save:
        check_video_name(save)
        if item.path and is_file(save) and save.samefile(item.path):
            raise OutputError("is the video itself", place=save, hint="choose another name for `save`")
        check_output(save, "choose another name for `save`, or use `force=True`", force=force)
    if isinstance(detector, Path):
        detector = _load_detector(detector, device)
    with ExitStack() as stack:
        if save:
            stack.callback(_mark, save)
        video = stack.enter_context(open_video(item))
        limit = detector.thresholds if score is None else float(score)
        own = video.fps if item.kind == "video" else None
        write = stack.enter_context(writing_video(save, own)) if save else None
        show = None if no_window else stack.enter_context(window(f"vocdet: {item.name}"))
        times = deque([time.monotonic()], maxlen=RATED)
        for frame in islice(video.frames, frames or None):
            detections = detector.detect([frame.pixels])[0].above(limit)
            wait = times[-1] + 1 / own - time.monotonic() if own and show else 0.0
            times.append(time.monotonic() + max(wait, 0.0))
            fps = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
            drawn = draw(frame.pixels, detections, detector.labels)
            if write:
                write(drawn)
            yield LiveFrame(frame.number, detections, fps)
            if show and not show(caption(drawn, f"{fps:.0f} fps"), wait):
                return


def _mark(save: Path) -> None:
    if is_file(save):
        mark_file(save)


def _newest(runs: Path) -> Path:
    from vocdet.runs.folders import newest_detector

    return newest_detector(runs)


def _load_detector(run: Path, device: str) -> Predictor:
    from vocdet.inference.predictor import load_predictor

    return load_predictor(run, device=device)


def _refuse(items: Sequence[MediaSource], out: Path) -> None:
    """Raise for an `out` with other files or that is read-only, and for sources that cannot be predicted."""
    hint = "choose a new folder for `out`"
    if os.path.lexists(out) and not is_folder(out):
        raise OutputError("is a file, not a folder", place=out, hint=hint)
    try:
        if is_folder(out) and any(out.iterdir()) and not is_file(out / RESULTS):
            raise OutputError("contains other files", place=out, hint=hint)
    except OSError as error:
        raise OutputError(f"cannot be read: {reason(error)}", place=out, hint=hint) from error
    check_writable(out, inside=True)
    for item in items:
        if item.path is None:
            hint = "give images, folders or video files"
            raise ArgumentError(f"{item.address!r} is a camera or a stream, which has no end", hint=hint)
        if out.resolve() in item.path.resolve().parents:
            raise ArgumentError("is in the output folder", place=item.path, hint="choose another folder for `out`")


def _playable(text: str) -> MediaSource:
    hint = "give a camera number, a URL or a video file"
    if is_folder(Path(text)):
        raise ArgumentError("is a folder, not a camera, stream or video", place=Path(text), hint=hint)
    (item,) = find_sources([text])
    if item.kind == "image":
        raise ArgumentError("is not a video", place=item.path, hint=hint)
    return item


def _count_frames(items: Sequence[MediaSource]) -> int:
    """The number of images and frames, as far as videos state theirs."""
    total = 0
    for item in items:
        with suppress(VocdetError), open_video(item) if item.kind == "video" else nullcontext() as video:
            total += video.count if video else 1
    return total


def _predict_all(
    items: Sequence[MediaSource],
    folder: PredictionFolder,
    detector: Predictor,
    limit: Limit,
    batch: int,
    errors: list[VocdetError],
) -> Iterator[tuple[Frame, Detections]]:
    """Every image, then every frame of every video, with its detections; one that fails does not end the others."""
    images = [item for item in items if item.kind == "image"]
    for group in batches(_read(images, detector.levels, errors), batch):
        for frame, detections in zip(group, _detect(detector, group, limit), strict=True):
            if max(frame.pixels.shape) > MAX_JPEG_SIDE:
                problem = f"has more than {MAX_JPEG_SIDE} pixels on a side, too many for a JPEG"
                errors.append(ImageError(problem, place=frame.source.path, hint="split it into tiles"))
                continue
            try:
                folder.add_image(frame, detections)
            except OutputError as error:
                if folder.ends_all(error):
                    raise
                errors.append(error)
                continue
            yield frame, detections
    for item in items:
        if item.kind == "video":
            try:
                yield from _predict_video(item, folder, detector, limit, batch)
            except (ImageError, OutputError) as error:
                if isinstance(error, OutputError) and folder.ends_all(error):
                    raise
                errors.append(error)


def _predict_video(
    item: MediaSource, folder: PredictionFolder, detector: Predictor, limit: Limit, batch: int
) -> Iterator[tuple[Frame, Detections]]:
    with open_video(item) as video, folder.video(item, video.fps) as write:
        for group in batches(video.frames, batch):
            for frame, detections in zip(group, _detect(detector, group, limit), strict=True):
                write(draw(frame.pixels, detections, detector.labels))
                folder.add_frame(frame, detections)
                yield frame, detections


def _detect(detector: Predictor, frames: Sequence[Frame], limit: Limit) -> Iterator[Detections]:
    return (detections.above(limit) for detections in detector.detect([frame.pixels for frame in frames]))


def _read(items: Iterable[MediaSource], levels: Levels | None, errors: list[VocdetError]) -> Iterator[Frame]:
    """The images in order, decoded in advance; those that cannot be decoded go to `errors`."""
    rest = iter(items)
    with ThreadPoolExecutor(READERS) as pool:
        ahead: deque[tuple[MediaSource, Future[Image]]] = deque()
        while True:
            for item in islice(rest, AHEAD - len(ahead)):
                ahead.append((item, pool.submit(decode, Path(item.address), oriented=True, levels=levels)))
            if not ahead:
                return
            item, pixels = ahead.popleft()
            try:
                yield Frame(pixels.result(), item, 0)
            except ImageError as error:
                errors.append(error)
