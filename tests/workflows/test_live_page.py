"""The live page: picture, numbers, thresholds and snapshot over HTTP, and in a browser."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.browser import CHROMIUM, REQUIRED
from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.errors import MediaError
from vocdet.inference.access import family_of
from vocdet.workflows.live import LiveFrame
from vocdet.workflows.live_page import PageStart, WebOptions, live_page


class FindsTwo:
    labels = ("cat", "dog & <b>")
    thresholds = np.array([0.5, 0.5], np.float32)
    levels: Levels | None = None

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
        boxes = np.array([[10.0, 10, 60, 60], [80, 20, 140, 100]])
        return [Detections(boxes, np.array([0.9, 0.4], np.float32), np.array([0, 1])) for _ in images]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Ten seconds of gray."""
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (160, 120))
    for i in range(200):
        writer.write(np.full((120, 160, 3), 60 + i % 100, np.uint8))
    writer.release()
    return tmp_path / "a.avi"


@contextmanager
def page(film: Path, options: WebOptions = WebOptions(port=0)) -> Iterator[str]:
    """The address of a page that shows a film, with its first picture."""
    events = live_page(FindsTwo(), str(film), options)
    with closing(events):
        start = next(events)
        assert isinstance(start, PageStart)
        assert isinstance(next(events), LiveFrame)
        stop = threading.Event()

        def run() -> None:
            for _ in events:
                if stop.is_set():
                    return

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield start.url
        finally:
            stop.set()
            thread.join()


def ask(
    url: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    with closing(connection):
        connection.request("POST" if body is not None else "GET", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def test_the_page_has_the_picture_the_numbers_and_thresholds(film: Path) -> None:
    with page(film) as url:
        state = json.loads(ask(url, "/state")[1])
        assert state["counts"] == {"cat": 1, "dog & <b>": 0}
        assert state["objects"] == [{"label": "cat", "score": 0.9, "box": [10.0, 10.0, 60.0, 60.0]}]
        assert state["thresholds"] == {"cat": 0.5, "dog & <b>": 0.5}
        assert {"fps", "read", "dropped", "reconnected", "frame"} <= state.keys()
        status, jpeg, headers = ask(url, "/snapshot.jpg")
        assert (status, Image.open(io.BytesIO(jpeg)).size) == (200, (160, 120))
        assert headers["Content-Disposition"].startswith('attachment; filename="snapshot_')
        assert json.loads(ask(url, "/thresholds", '{"dog & <b>": 0.3}')[1])["thresholds"]["dog & <b>"] == 0.3
        for _ in range(100):
            if json.loads(ask(url, "/state")[1])["counts"]["dog & <b>"]:
                break
        else:
            pytest.fail("the threshold changed nothing")


@pytest.mark.parametrize(
    "body",
    ["", "[]", '{"cat": 2}', '{"cat": NaN}', '{"bird": 0.5}', '{"cat": "x"}', "[" * 5000, "x" * 20_000,
     '{"cat": ' + 400 * "9" + "}"],
)  # fmt: skip
def test_invalid_thresholds_change_nothing(film: Path, body: str) -> None:
    with page(film) as url:
        assert ask(url, "/thresholds", body)[0] in (400, 413)
        assert json.loads(ask(url, "/state")[1])["thresholds"] == {"cat": 0.5, "dog & <b>": 0.5}


def test_pages_of_the_web_and_requests_without_the_token_are_refused(film: Path) -> None:
    with page(film) as url:
        assert ask(url, "/state", headers={"Host": "evil.example"})[0] == 403
        assert ask(url, "/thresholds", '{"cat": 0.1}', {"Origin": "http://evil.example"})[0] == 403
        assert ask(url, "/../../etc/passwd")[0] == 404
    with page(film, WebOptions(host="0.0.0.0", port=0)) as url:
        assert ask(url, "/")[0] == 403
        assert ask(url, "/?token=wrong")[0] == 403
        status, body, headers = ask(url, f"/?{urlsplit(url).query}")
        assert (status, b"vocdet live" in body) == (200, True)
        assert ask(url, "/state", headers={"Cookie": headers["Set-Cookie"].partition(";")[0]})[0] == 200


def test_a_link_cannot_write_headers_or_a_page(film: Path) -> None:
    with page(film) as url:
        status, body, headers = ask(url, "/?token=x%0d%0aX-Evil:%201%0d%0a%0d%0a%3Cscript%3E")
        assert (status, headers["X-Evil"], headers["Set-Cookie"]) == (200, None, None)
        assert b"vocdet live" in body


def test_a_token_may_have_any_characters(film: Path) -> None:
    token = 'a+b/c= &;,"é%41'
    with page(film, WebOptions(host="0.0.0.0", port=0, token=token)) as url:
        status, _, headers = ask(url, f"/?{urlsplit(url).query}")
        assert status == 200
        assert ask(url, "/state", headers={"Cookie": headers["Set-Cookie"].partition(";")[0]})[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
def test_every_loopback_address_has_a_page(film: Path, host: str) -> None:
    try:
        socket.create_server((host, 0), family=family_of(host)).close()
    except OSError:
        pytest.skip(f"this machine has no address {host}")
    with page(film, WebOptions(host=host, port=0)) as url:
        assert ask(url, "/state")[0] == 200


def test_a_port_in_use_is_an_error(film: Path) -> None:
    with page(film) as url, pytest.raises(MediaError, match="no page at"):
        next(live_page(FindsTwo(), str(film), WebOptions(port=urlsplit(url).port or 0)))


@pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="chromium is not installed")
def test_a_browser_shows_the_page(film: Path, tmp_path: Path) -> None:
    assert CHROMIUM
    with page(film) as url:
        text = subprocess.run(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", url],
            capture_output=True, text=True, timeout=60, check=True, env=os.environ | {"HOME": str(tmp_path)},
        ).stdout  # fmt: skip
    assert "<b>cat</b><span>1</span>" in text
    assert "<b>dog &amp; &lt;b&gt;</b><span>0</span>" in text  # a label is text
    assert "cat 90 %" in text
    assert 'aria-label="threshold of cat"' in text
