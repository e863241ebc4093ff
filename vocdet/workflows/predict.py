"""A trained detector at work: on files (`predict`), and on a camera or a video as it plays (`live`)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vocdet.data.detections import Detections
from vocdet.errors import ImageError, OutputError, VocdetError, raise_all
from vocdet.files import write_text
from vocdet.formats.results import write_coco_results
from vocdet.inference.draw import caption, draw
from vocdet.inference.frames import Frame, Source, batches, find, open_video, quiet
from vocdet.inference.output import LARGEST_SIDE, check_video_name, no_screen, window, write_picture, writing_video
from vocdet.inputs.images import Image, decode
from vocdet.workflows.voc_found import check_voc_labels, write_found

if TYPE_CHECKING:  # imports torch, for which a wrong path need not wait
    from vocdet.inference.predictor import Predictor

RESULTS = "detections.json"
LABELS = "labels.txt"  # line k is the label of category_id k
READERS = 4  # threads that decode images while the detector works
AHEAD = 16  # images decoded before they are asked for
RATED = 30  # frames over which the rate is told: a second or so


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture, or one frame of a video, in which `found` was found."""

    source: Source
    number: int  # of the frame, from 0
    found: Detections
    done: int  # pictures and frames so far
    total: int  # as far as is known: a video may not say how many frames it has
    wrote: Path


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame of a camera or video that was shown."""

    number: int  # from 0
    found: Detections
    fps: float  # frames a second over the last ones


def choose_run(given: Sequence[str], *, runs: Path = Path("runs")) -> tuple[Path, list[str]]:
    """The run to use and the sources to use it on: the first of `given` if it is a run or a checkpoint, else the
    newest detector in `runs`."""
    first = Path(given[0]) if given else Path()
    if Path(first, "best.safetensors").is_file() or first.suffix == ".safetensors":
        return first, list(given[1:])
    return _newest(runs), list(given)


def predict(
    run: Path,
    sources: Sequence[str],
    *,
    out: Path,
    score: float | None = None,
    batch: int = 8,
    device: str = "auto",
    voc: bool = False,
    detector: Predictor | None = None,
) -> Generator[Seen, None, None]:
    """Draw what is found in images, folders and videos into `out`, and list it in `out/detections.json`.

    With `voc` there are also the XML files of VOC for the images, and with masks their PNGs (see `write_found`).
    An image becomes `<name>.jpg`, a video `<name>.mp4`. What scores less than `score`, or than the detector's own
    threshold for its label, is left out. Files that cannot be decoded are passed over and raised at the end,
    together. However it ends, what was done until then is there, and the list matches it; where nothing was done
    nothing is there. `out` must be new, empty, or an earlier result, so that no picture is ever overwritten.
    """
    items = list(dict.fromkeys(find(sources, skip=out)))  # a file given twice counts once
    _refuse(items, out)
    detector = detector or _load(run, device)
    if voc:
        check_voc_labels(out, detector.labels)
    limit = detector.thresholds if score is None else float(score)
    listed: list[tuple[str, Detections]] = []  # file name, and what was found in it
    errors: list[VocdetError] = []
    earlier = (out / RESULTS).exists()
    if not earlier:
        write_coco_results(out / RESULTS, [], [])  # from now on the folder is ours, even if the disk fills up
    try:
        with quiet():
            total = _count(items)
            for frame, seen, wrote in _looked_at(items, out, detector, limit, batch, errors):
                source = frame.source
                if voc and source.path and source.kind == "image":
                    size = (frame.pixels.shape[1], frame.pixels.shape[0])
                    write_found(out, wrote.stem, source.path, size, seen, detector.labels)
                name = f"{source.name}#{frame.number}" if source.kind == "video" else source.name
                listed.append((name, seen))
                done = len(listed) + len(errors)
                yield Seen(source, frame.number, seen, done, max(total, done), wrote)
    finally:
        if listed:
            write_coco_results(out / RESULTS, [name for name, _ in listed], [seen for _, seen in listed])
            write_text(out / LABELS, "".join(f"{label}\n" for label in detector.labels))
        elif not earlier:
            (out / RESULTS).unlink(missing_ok=True)
            with suppress(OSError):  # another program has put something into it
                out.rmdir()
    raise_all(errors)


def live(
    run: Path,
    source: str = "0",
    *,
    save: Path | None = None,
    score: float | None = None,
    frames: int = 0,
    device: str = "auto",
    detector: Predictor | None = None,
) -> Generator[Shown, None, None]:
    """Show a camera, a stream or a video in a window with what is found in it, until q, Esc, or `frames` frames.

    With `save` it is written as a video too, which is whole however it ends; where there is no screen to show a
    window on it is then written only, and without `save` that is a `VocdetError`. A video is shown at its own
    speed where the detector is faster, a camera as fast as both go.
    """
    item = _playable(source)
    reason = no_screen()
    if reason and save is None:
        raise VocdetError(reason, hint="give --save out.mp4 to write a video instead")
    if save:
        check_video_name(save)
        if item.path and save.exists() and save.samefile(item.path):
            raise OutputError("is the video that is played", place=save, hint="give --save another name")
    detector = detector or _load(run, device)
    with ExitStack() as stack:
        video = stack.enter_context(open_video(item))
        limit = detector.thresholds if score is None else float(score)
        own = video.fps if item.kind == "video" else None
        write = stack.enter_context(writing_video(save, own)) if save else None
        show = None if reason else stack.enter_context(window(f"vocdet: {item.name}"))
        times = deque([time.monotonic()], maxlen=RATED)
        for frame in islice(video.frames, frames or None):
            seen = detector.detect([frame.pixels])[0].above(limit)
            wait = times[-1] + 1 / own - time.monotonic() if own and show else 0.0
            times.append(time.monotonic() + max(wait, 0.0))
            fps = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
            drawn = draw(frame.pixels, seen, detector.labels)
            if write:
                write(drawn)
            yield Shown(frame.number, seen, fps)
            if show and not show(caption(drawn, f"{fps:.0f} frames a second"), wait):
                return


def _newest(runs: Path) -> Path:
    from vocdet.runs.folders import newest_detector

    return newest_detector(runs)


def _load(run: Path, device: str) -> Predictor:
    from vocdet.inference.predictor import load_predictor

    return load_predictor(run, device=device)


def _refuse(items: Sequence[Source], out: Path) -> None:
    """Keep `predict` from writing over what is not its own, and from looking at what it wrote."""
    if out.exists() and not out.is_dir():
        raise OutputError("is a file, not a folder", place=out, hint="name a new folder with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / RESULTS).exists():
        raise OutputError("holds other files", place=out, hint="name a new folder with --out")
    for item in items:
        if item.path is None:
            hint = f"vocdet live --source {item.address}"
            raise VocdetError(f"{item.address!r} is a camera or a stream, which has no end", hint=hint)
        if out.resolve() in item.path.resolve().parents:
            raise VocdetError("lies in the folder that results go to", place=item.path, hint="name another with --out")


def _playable(text: str) -> Source:
    hint = "vocdet predict takes images and folders"
    if Path(text).is_dir():
        raise VocdetError("is a folder, not a camera, stream or video", place=Path(text), hint=hint)
    (item,) = find([text])
    if item.kind == "image":
        raise VocdetError("is no video", place=item.path, hint=hint)
    return item


def _count(items: Sequence[Source]) -> int:
    """Pictures and frames, as far as the videos say."""
    total = 0
    for item in items:
        with suppress(VocdetError), open_video(item) if item.kind == "video" else nullcontext() as video:
            total += video.count if video else 1
    return total


def _looked_at(
    items: Sequence[Source],
    out: Path,
    detector: Predictor,
    limit: float | NDArray[np.float32],
    batch: int,
    errors: list[VocdetError],
) -> Iterator[tuple[Frame, Detections, Path]]:
    """Every picture, then every frame of every video, with what was found in it and the file it was drawn to."""
    paths = _outputs(items, out)
    images = [item for item in items if item.kind == "image"]
    for group in batches(_read(images, errors), batch):
        found = detector.detect([frame.pixels for frame in group])
        for frame, seen in zip(group, (one.above(limit) for one in found), strict=True):
            if max(frame.pixels.shape) > LARGEST_SIDE:
                problem = f"has more than {LARGEST_SIDE} pixels on a side, too many for the JPEG to draw"
                errors.append(ImageError(problem, place=frame.source.path, hint="cut it into pieces"))
                continue
            write_picture(paths[frame.source], draw(frame.pixels, seen, detector.labels))
            yield frame, seen, paths[frame.source]
    for item in items:
        if item.kind == "video":
            try:
                yield from _film(item, paths[item], detector, limit, batch)
            except ImageError as error:
                errors.append(error)


def _film(
    item: Source, path: Path, detector: Predictor, limit: float | NDArray[np.float32], batch: int
) -> Iterator[tuple[Frame, Detections, Path]]:
    with open_video(item) as video, writing_video(path, video.fps) as write:
        for group in batches(video.frames, batch):
            found = detector.detect([frame.pixels for frame in group])
            for frame, seen in zip(group, (one.above(limit) for one in found), strict=True):
                write(draw(frame.pixels, seen, detector.labels))
                yield frame, seen, path


def _read(items: Iterable[Source], errors: list[VocdetError]) -> Iterator[Frame]:
    """The pictures in order, decoded ahead of time; what cannot be decoded goes to `errors`."""
    rest = iter(items)
    with ThreadPoolExecutor(READERS) as pool:
        ahead: deque[tuple[Source, Future[Image]]] = deque()
        while True:
            for item in islice(rest, AHEAD - len(ahead)):
                ahead.append((item, pool.submit(decode, Path(item.address), oriented=True)))
            if not ahead:
                return
            item, pixels = ahead.popleft()
            try:
                yield Frame(pixels.result(), item, 0)
            except ImageError as error:
                errors.append(error)


def _outputs(items: Sequence[Source], out: Path) -> dict[Source, Path]:
    """Where each file's drawing goes: folders become part of the name, and names that clash get a number."""
    paths: dict[Source, Path] = {}
    taken: set[str] = set()
    for item in items:
        stem, suffix = (
            Path(item.name).with_suffix("").as_posix().replace("/", "_"),
            ".mp4" if item.kind == "video" else ".jpg",
        )
        name, number = f"{stem}{suffix}", 1
        while name.casefold() in taken:  # some disks do not tell A.jpg from a.jpg
            number += 1
            name = f"{stem}_{number}{suffix}"
        taken.add(name.casefold())
        paths[item] = out / name
    return paths
