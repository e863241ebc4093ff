"""A detector at work: on a camera, and behind HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vocdet.api.detections import Detections
from vocdet.api.detector import Detector, load
from vocdet.api.run import Run
from vocdet.errors import ArgumentError
from vocdet.inference.access import ServeLimits
from vocdet.inference.live_page import LIVE_PORT
from vocdet.inference.tracking import VideoOptions, parse_line
from vocdet.workflows import live as workflow
from vocdet.workflows import serve as service
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.live_page import PageStart, WebOptions, live_page


def live(
    detector: Detector | Run | str | Path,
    source: int | str | Path = 0,
    *,
    web: bool = False,
    host: str = "127.0.0.1",
    port: int = LIVE_PORT,
    save: str | Path | None = None,
    score: float | None = None,
    frames: int = 0,
    track: bool = False,
    count: str = "",
    started: Callable[[str], object] = lambda url: None,  # noqa: ARG005
) -> Iterator[Detections]:
    """Show a camera, a stream or a video with its detections in a window, and yield those of every frame shown.

    `source` is a camera number, an address such as `rtsp://…`, or a video file. A thread reads a camera or stream as
    fast as it delivers: the newest frame is detected, frames that come meanwhile are dropped, and a lost stream is
    opened again. It ends with q or Esc, after `frames` frames, or with the video. `web` shows it on a page instead:
    `started` gets its address, with the token that another `host` than the loopback needs. `save` writes a video, also
    without a screen, but not with `web`. `score`, `track` and `count` are those of `predict`.

    >>> for detections in vocdet.live(run, "film.avi", web=True, port=0, frames=1):
    ...     print(detections)
    <... 96x72 pixels...>
    """
    if web and save is not None:
        raise ArgumentError("a page writes no video", hint="leave out `save`, or `web=True`")
    model = (detector if isinstance(detector, Detector) else load(detector)).model
    videos, options = VideoOptions(track, parse_line(count) if count else None, frames), DetectorOptions(score=score)
    if web:
        events = live_page(model, str(source), WebOptions(host, port), options=options, videos=videos)
    else:
        events = workflow.live(
            model, str(source), save=None if save is None else Path(save), options=options, videos=videos
        )
    for one in events:
        if isinstance(one, PageStart):
            started(one.url)
        else:
            assert one.pixels is not None
            yield Detections(one.detections, model.labels, one.pixels.shape[1::-1], one.pixels)


def serve(
    detector: Detector | Run | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = service.SERVICE_PORT,
    token: str = "",
    batch: int = 8,
    started: Callable[[str, str], object] = lambda url, token: None,  # noqa: ARG005
) -> None:
    """Serve a detector over HTTP until SIGTERM or Ctrl-C: POST an image to `/detect`, get JSON or a drawing.

    `/` explains and tries it, `/openapi.json` describes it, and `/health` is for supervisors. Up to `batch` images that
    wait go through the network together. On another address than the loopback, requests need `token`, by default a new
    one; `started` gets the address and the token. `DependencyError` without the extra `serve`, `MediaError` for an
    address that cannot be used.

    >>> vocdet.serve(detector, port=70000)
    Traceback (most recent call last):
    vocdet.errors.MediaError: no service at 127.0.0.1, port 70000: there is no such port ...
    """
    model = (detector if isinstance(detector, Detector) else load(detector)).model
    service.serve(model, host=host, port=port, token=token, limits=ServeLimits(batch=batch), started=started)
