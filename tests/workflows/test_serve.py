"""The service: images in, JSON or a drawing out, and every kind of hostile request answered or refused."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.errors import MediaError
from vocdet.inference.access import ServeLimits

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
from vocdet.inference.serve_app import application
from vocdet.workflows.serve import serve

LIMITS = ServeLimits(megabytes=0.2, megapixels=1.0, batch=4, waiting=40, seconds=0.5)


class FindsMiddle:
    labels = ("cat", "dog")
    thresholds = np.array([0.5, 0.5], np.float32)
    levels: Levels | None = None

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.fails = False

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
        self.batches.append(len(images))
        if self.fails:
            raise RuntimeError("out of memory")
        boxes = [np.array([[i.shape[1] / 4, 0, i.shape[1] / 2, i.shape[0]]] * 2) for i in images]
        return [Detections(box, np.array([0.9, 0.3], np.float32), np.array([0, 1])) for box in boxes]


class Running:
    """A service in a thread."""

    def __init__(self, *, token: str = "", patience: int | None = None) -> None:
        import uvicorn

        self.detector = FindsMiddle()
        app = application(self.detector, LIMITS, token=token, local=not token)
        self.server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_config=None, lifespan="on", timeout_graceful_shutdown=patience)
        )
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()

    def post(self, body: bytes, path: str = "/detect", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
        return self.request("POST", path, body, headers)

    def request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def raw(self, data: bytes) -> bytes:
        """The beginning of the answer to these bytes, after which nothing more is sent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(data)
            return client.recv(4000)


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    running = Running()
    yield running
    running.stop()


def jpeg(size: tuple[int, int] = (80, 40), exif: int = 1) -> bytes:
    file = io.BytesIO()
    tags = Image.Exif()
    tags[0x0112] = exif
    Image.new("RGB", size, (90, 90, 90)).save(file, "JPEG", exif=tags)
    return file.getvalue()


def error_of(answer: tuple[int, bytes, http.client.HTTPMessage]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["error"]


def test_an_image_gets_its_objects(service: Running) -> None:
    status, body, _ = service.post(jpeg())
    assert status == 200
    assert json.loads(body) == {
        "width": 80, "height": 40, "objects": [{"label": "cat", "score": 0.9, "box": [20.0, 0.0, 40.0, 40.0]}],
    }  # fmt: skip
    assert json.loads(service.post(jpeg(exif=6))[1])["width"] == 40  # upright
    assert len(json.loads(service.post(jpeg(), "/detect?score=0.2")[1])["objects"]) == 2


def test_a_drawing_is_an_image_of_the_same_size(service: Running) -> None:
    for path, accept in (("/detect?format=jpeg", "*/*"), ("/detect", "image/jpeg")):
        status, body, headers = service.post(jpeg(), path, Accept=accept)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(body)).size == (80, 40)


def test_the_service_describes_itself(service: Running) -> None:
    described = json.loads(service.request("GET", "/openapi.json", None, {})[1])
    assert described["openapi"] == "3.1.0"
    assert {"/detect", "/health"} == set(described["paths"])
    assert b"openapi.json" in service.request("GET", "/", None, {})[1]
    assert json.loads(service.request("GET", "/health", None, {})[1])["status"] == "ok"


def bomb() -> bytes:
    """A PNG of a few bytes whose header announces 40,000 by 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("body", "path", "status", "problem"),
    [
        (b"", "/detect", 400, "the body is empty"),
        (b"hello", "/detect", 422, "is not an image"),
        (jpeg()[:300], "/detect", 422, "the image"),
        (bomb(), "/detect", 422, "has too many pixels to be decoded"),
        (jpeg((1200, 900)), "/detect", 413, "1200×900 pixels, more than 1 million"),
        (bytes(300_000), "/detect", 413, "larger than 0.2 MB"),
        (jpeg(), "/detect?score=2", 400, "score is '2'"),
        (jpeg(), "/detect?score=x", 400, "score is 'x'"),
        (jpeg(), "/detect?format=gif", 400, "format is 'gif'"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused(
    service: Running, body: bytes, path: str, status: int, problem: str
) -> None:
    code, error = error_of(service.post(body, path))
    assert code == status
    assert problem in error


def test_a_body_of_ten_gigabytes_is_refused_before_it_comes(service: Running) -> None:
    answer = service.raw(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no asyncio.timeout")
def test_a_body_that_never_ends_is_given_up(service: Running) -> None:
    answer = service.raw(
        b"POST /detect HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 408")


def test_many_requests_at_once_are_batched_or_refused(service: Running) -> None:
    service.detector.batches.clear()
    with ThreadPoolExecutor(100) as pool:
        statuses = list(pool.map(lambda _: service.post(jpeg())[0], range(200)))
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) == sum(service.detector.batches)
    assert max(service.detector.batches) <= LIMITS.batch
    assert service.post(jpeg())[0] == 200


def test_a_detector_that_fails_does_not_end_the_service(service: Running) -> None:
    service.detector.fails = True
    assert error_of(service.post(jpeg())) == (500, "the detector failed: RuntimeError")
    service.detector.fails = False
    assert service.post(jpeg())[0] == 200


def test_other_sites_and_requests_without_the_token_are_refused(service: Running) -> None:
    assert service.post(jpeg(), Host="evil.example")[0] == 401
    closed = Running(token="secret")
    try:
        assert error_of(closed.post(jpeg()))[0] == 401
        assert closed.post(jpeg(), Authorization="Bearer secret")[0] == 200
        assert closed.request("GET", "/openapi.json", None, {})[0] == 401
        assert closed.request("GET", "/health", None, {})[0] == 200
    finally:
        closed.stop()


def test_a_token_may_have_any_letters_and_its_scheme_any_case() -> None:
    closed = Running(token="schlüssel")
    try:
        for scheme in ("Bearer", "bearer"):
            sent = f"{scheme} schlüssel".encode().decode("latin-1")
            assert closed.post(jpeg(), Authorization=sent)[0] == 200
    finally:
        closed.stop()


def test_a_port_in_use_is_an_error(service: Running) -> None:
    with pytest.raises(MediaError, match=f"no service at 127.0.0.1, port {service.port}"):
        serve(FindsMiddle(), port=service.port)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_ends_the_service_after_what_it_has_accepted(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_serve import FindsMiddle\n"
        "from vocdet.workflows.serve import serve\n"
        "class Slow(FindsMiddle):\n"
        "    def detect(self, images, **options):\n"
        "        print('detecting', flush=True)\n"
        "        time.sleep(0.3)\n"
        "        return super().detect(images)\n"
        "serve(Slow(), port=0, started=lambda url, token: print(url, flush=True))\n"
        "print('ended', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    with process, process.stdout as output:
        port = int(output.readline().rpartition(":")[2].strip("/\n"))
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        wait_until(lambda: _connects(client))
        client.request("POST", "/detect", jpeg())
        assert output.readline() == "detecting\n"
        process.send_signal(signal.SIGTERM)
        assert client.getresponse().status == 200
        client.close()
        assert output.readline() == "ended\n"
        assert process.wait(20) == 0


def test_a_request_that_outlasts_the_patience_of_the_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(patience=0)
    begun, go = threading.Event(), threading.Event()

    def detect(images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        begun.set()
        assert go.wait(20)
        return FindsMiddle().detect(images)

    monkeypatch.setattr(running.detector, "detect", detect)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(running.post, jpeg())
        assert begun.wait(20)
        running.server.should_exit = True
        assert error_of(pending.result()) == (503, "the service ends: try again")
        go.set()
    running.stop()


def wait_until(ready: Callable[[], bool]) -> None:
    for _ in range(1000):
        if ready():
            return
        time.sleep(0.01)
    pytest.fail("the service does not start")


def _connects(client: http.client.HTTPConnection) -> bool:
    try:
        client.connect()
    except OSError:
        return False
    return True
