"""Apply a detector to a camera or a video, on a page in the browser."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocdet.inference.camera import RETRY, camera
from vocdet.inference.frames import FPS
from vocdet.inference.live_page import LIVE_PORT, LivePage, serving_page
from vocdet.inference.tracking import VideoOptions
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.live import LiveFrame, playable, watch

if TYPE_CHECKING:
    from vocdet.runtimes.predictor import Predictor


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Where the page is."""

    host: str = "127.0.0.1"  # this machine alone; any other address needs a token
    port: int = LIVE_PORT  # 0: a free one
    token: str = ""  # "": a new one where one is needed
    retry: float = RETRY  # seconds until a lost stream is opened again


@dataclass(frozen=True, slots=True)
class PageStart:
    """The page can be opened."""

    url: str  # with its token


def live_page(
    detector: Path | Predictor,
    source: str = "0",
    web: WebOptions = WebOptions(),
    *,
    options: DetectorOptions = DetectorOptions(),
    videos: VideoOptions = VideoOptions(),
) -> Generator[PageStart | LiveFrame, None, None]:
    """Show a camera, a stream or a video with its detections on a page, until its end or `videos.frames`.

    The address is yielded first, then every frame. A thread reads the camera as fast as it delivers, and only the
    newest frame is detected: the others are dropped and counted. A lost stream is opened again. The page has the
    picture, the objects, a slider for the threshold of each label, and a snapshot; on another address than the
    loopback, it needs the token that is in the address. `videos` may give objects ids, and count those that cross a
    line.
    """
    item = playable(source)
    detector = options.open(detector)
    page = LivePage(detector.labels, options.limits(detector), token=web.token)
    with serving_page(page, web.host, web.port), camera(item, retry=web.retry) as reader:
        yield PageStart(page.url)
        tracks = videos.start(page.thresholds, len(detector.labels), FPS)
        for one in watch(reader.news(), detector, lambda: page.thresholds, tracks, videos.frames):
            if one is None:
                continue
            facts: dict[str, Any] = {
                "fps": one.fps,
                "read": reader.read,
                "dropped": reader.dropped,
                "reconnected": reader.reconnected,
            }
            if tracks and tracks.line:
                forward, back = tracks.totals()
                facts["crossed"] = f"{forward} forward, {back} back"
            page.show(one.drawn, one.found, facts)
            yield LiveFrame(one.frame.number, one.found, one.fps, reader.dropped, one.frame.pixels)
