"""Apply a detector to files, cameras and streams, and write the results."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.errors import ArgumentError, ImageError, MediaError, OutputError, VocdetError, raise_all
from vocdet.files import check_writable, is_file, is_folder
from vocdet.inference.behind import written_behind
from vocdet.inference.draw import draw
from vocdet.inference.frames import Frame, MediaSource, batches, find_sources, open_video, quiet
from vocdet.inference.tracking import Tracks, VideoOptions
from vocdet.inputs.images import Image, decode
from vocdet.inputs.prefetch import AHEAD, prefetch
from vocdet.outputs import BEST
from vocdet.runtimes.description import is_exported
from vocdet.wording import did_you_mean, listed, reason
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.prediction_folder import FORMS, RESULTS, Also, PredictionFolder

if TYPE_CHECKING:  # imports torch; errors in paths are reported before that
    from vocdet.runtimes.predictor import Predictor

READERS = 4  # threads that decode images while the detector works


@dataclass(frozen=True, slots=True)
class Prediction:
    """The detections in one image, or in one frame of a video."""

    source: MediaSource
    number: int  # of the frame, from 0
    detections: Detections
    done: int  # images and frames so far
    total: int  # of images and frames, as far as videos state their number
    drawing: Path  # the file with the drawn image, or the video


def choose_run(arguments: Sequence[str], *, runs: Path = Path("runs")) -> tuple[Path, list[str]]:
    """The run and the sources: the first argument if it is a run, checkpoint or export, else the newest in `runs`."""
    first = Path(arguments[0]) if arguments else Path()
    if is_file(first / BEST) or first.suffix == ".safetensors" or is_exported(first):
        return first, list(arguments[1:])
    return _newest(runs), list(arguments)


def predict(
    detector: Path | Predictor,
    sources: Sequence[str],
    *,
    out: Path,
    options: DetectorOptions = DetectorOptions(),
    videos: VideoOptions = VideoOptions(),
    also: Collection[Also] = (),
    force: bool = False,
) -> Generator[Prediction, None, None]:
    """Draw the detections in images, videos, cameras and streams into `out`, and list them in `out/detections.json`.

    `detector` may be a run folder or a checkpoint, which is opened. An image becomes `<name>.jpg`, a video
    `<name>.mp4`; `also` adds other files: with voc, `out` becomes a VOC dataset of the images, and the drawings are in
    `out/drawings` (see `PredictionFolder`). `videos` may give the objects of videos ids, and count those that cross a
    line in `out/crossings.csv`. Images are decoded, detected, and drawn and written at the same time.
    Files that cannot be decoded or written are skipped, and raised together at the end. After an interruption `out`
    holds the results so far and a list that matches them. `out` must be new, empty, or an earlier result, which is
    replaced but for the files that a user changed or added: `read_marker(out)` lists them as `kept`. With `force` they
    are replaced, too.
    """
    if unknown := [form for form in also if form not in FORMS]:
        hint = did_you_mean(unknown[0], FORMS) or f"give {listed(FORMS, conjunction='or')}"
        raise ArgumentError(f"also has {unknown[0]!r}", hint=hint)
    items = list(dict.fromkeys(find_sources(sources, skip=out)))  # duplicates count once
    _refuse(items, out)
    detector = options.open(detector)
    folder = PredictionFolder(out, items, detector.labels, also, force=force)
    errors: list[VocdetError] = []
    complete, count = False, 0
    try:
        with quiet():
            total = _count_frames(items, videos.frames)
            work = _Prediction(folder, detector, options, videos, errors)
            with closing(_predict_all(items, work)) as predicted:
                for frame, detections in predicted:
                    count += 1
                    done, drawing = count + len(errors), folder.drawing(frame.source)
                    yield Prediction(frame.source, frame.number, detections, done, max(total, done), drawing)
        complete = True
    finally:
        folder.close(complete=complete)
    raise_all(errors)


def _newest(runs: Path) -> Path:
    from vocdet.runs.folders import newest_detector

    return newest_detector(runs)


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
        if item.path and out.resolve() in item.path.resolve().parents:
            raise ArgumentError("is in the output folder", place=item.path, hint="choose another folder for `out`")


def _count_frames(items: Sequence[MediaSource], limit: int) -> int:
    """The number of images and frames, as far as videos state theirs; `limit` of each video, if it is not 0."""
    total = 0
    for item in items:
        with suppress(VocdetError), open_video(item) if item.kind == "video" else nullcontext() as video:
            count = video.count if video else 1 if item.kind == "image" else limit
            total += min(count, limit) if limit and item.kind != "image" else count
    return total


@dataclass(frozen=True, slots=True, eq=False)
class _Prediction:
    """What all sources are predicted with."""

    folder: PredictionFolder
    detector: Predictor
    options: DetectorOptions
    videos: VideoOptions
    errors: list[VocdetError]

    def detected(self, frames: Iterable[Frame], tracks: Tracks | None = None) -> Iterator[tuple[Frame, Detections]]:
        """Every frame with its detections, and with their ids if they are followed."""
        limits = self.options.limits(self.detector)
        for group in batches(frames, self.options.batch):
            found = self.detector.detect([frame.pixels for frame in group])
            for frame, one in zip(group, found, strict=True):
                size = (frame.pixels.shape[1], frame.pixels.shape[0])
                yield frame, tracks.update(one, frame.number, size) if tracks else one.above(limits)

    def failed(self, error: VocdetError) -> None:
        """Note an error of one source; one that ends all is raised."""
        if isinstance(error, OutputError) and self.folder.ends_all(error):
            raise error
        self.errors.append(error)


def _predict_all(items: Sequence[MediaSource], work: _Prediction) -> Generator[tuple[Frame, Detections], None, None]:
    """Every image, then every frame of every video, with its detections; one that fails does not end the others."""
    images = [item for item in items if item.kind == "image"]
    folder = work.folder
    frames = work.detected(read_images(images, work.detector.levels, work.errors))
    with closing(
        written_behind(frames, lambda one: folder.draw_image(*one), lambda one, file: folder.add_image(*one, file))
    ) as written:
        for done, error in written:
            if error:
                work.failed(error)
            else:
                yield done
    for item in items:
        if item.kind != "image":
            try:
                yield from _predict_video(item, work)
            except (ImageError, MediaError, OutputError) as error:
                work.failed(error)


def _predict_video(item: MediaSource, work: _Prediction) -> Generator[tuple[Frame, Detections], None, None]:
    labels = work.detector.labels
    with open_video(item) as video, work.folder.video(item, video.fps) as write:
        tracks = work.videos.start(work.options.limits(work.detector), len(labels), video.fps)

        def drawn_frame(one: tuple[Frame, Detections]) -> Image:
            drawn = draw(one[0].pixels, one[1], labels)
            return tracks.draw(drawn, one[0].number) if tracks else drawn

        def add(one: tuple[Frame, Detections], drawn: Image) -> None:
            write(drawn)
            work.folder.add_frame(*one)
            if tracks and tracks.line:
                passed = [crossing for crossing in tracks.crossings if crossing.frame == one[0].number]
                work.folder.add_crossings(item, passed, video.fps)

        frames = prefetch(lambda: islice(video.frames, work.videos.frames or None), AHEAD, wait=True)
        with (
            closing(frames),
            closing(written_behind(work.detected(frames, tracks), drawn_frame, add)) as written,
        ):
            seen = 0
            for done, error in written:
                if error:
                    raise error
                yield done
                seen += 1
            if seen != work.videos.frames:
                video.check_whole(seen)


def read_images(
    items: Iterable[MediaSource], levels: Levels | None, errors: list[VocdetError]
) -> Generator[Frame, None, None]:
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
