"""The page of a live detector: the picture, the objects, thresholds to move, a snapshot."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from vocdet.data.detections import Detections
from vocdet.inference.access import address_of, binding, family_of, is_local, may_access, token_for
from vocdet.inference.output import encode_picture
from vocdet.inference.results import exact_score
from vocdet.inputs.images import Image
from vocdet.resources import bundled_text

LIVE_PORT = 8765
BOUNDARY = "frame"
LONGEST_BODY = 10_000  # bytes of a request
BROWSER_TIMEOUT = 5.0  # seconds that a browser may take to accept a picture
LISTED_OBJECTS = 200  # in the list
PAGE_POLICY = "default-src 'self' 'unsafe-inline'; img-src 'self' blob: data:"


class LivePage:
    """What the page shows, and the thresholds that its sliders set."""

    def __init__(self, labels: Sequence[str], thresholds: NDArray[np.float32], *, token: str = "") -> None:
        self.labels, self.token = tuple(labels), token
        self.thresholds = np.array(thresholds, np.float32)  # (L,)
        self.local = True
        self.url = ""
        self._drawn: Image | None = None
        self._state: dict[str, Any] = {}
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._number = 0
        self._encoding = threading.Lock()
        self._changed = threading.Condition()
        self.closed = False

    def show(self, drawn: Image, detections: Detections, facts: dict[str, Any]) -> None:
        """Show a picture with its objects; `facts` are numbers such as the frame rate."""
        counts = np.bincount(detections.labels, minlength=len(self.labels)).tolist()
        ids = [None] * len(detections) if detections.ids is None else detections.ids.tolist()
        rows = zip(detections.labels.tolist(), detections.scores.tolist(), detections.boxes.tolist(), ids, strict=True)
        objects = [
            {"label": self.labels[label], "score": round(score, 3), "box": [round(side, 1) for side in box]}
            | ({"id": id} if id and id > 0 else {})
            for label, score, box, id in list(rows)[:LISTED_OBJECTS]
        ]
        with self._changed:
            self._drawn = drawn
            self._number += 1
            self._state = facts | {"counts": dict(zip(self.labels, counts, strict=True)), "objects": objects}
            self._changed.notify_all()

    def close(self) -> None:
        """End all streams."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def state(self) -> bytes:
        """The numbers, the objects and the thresholds, as JSON."""
        with self._changed:
            thresholds = {label: exact_score(one) for label, one in zip(self.labels, self.thresholds, strict=True)}
            return json.dumps(self._state | {"frame": self._number, "thresholds": thresholds}).encode()

    def set_thresholds(self, body: bytes) -> bool:
        """Set the thresholds in a JSON object by label; whether all are valid."""
        try:
            values = json.loads(body)
            new = {self.labels.index(label): float(value) for label, value in values.items()}
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
            return False
        if not all(0 <= value <= 1 for value in new.values()):
            return False
        changed = self.thresholds.copy()
        changed[list(new)] = list(new.values())
        self.thresholds = changed
        return True

    def picture(self, after: int, wait: float = 1.0) -> tuple[int, bytes]:
        """The number and the JPEG of the newest picture, which is encoded once for all; waits for one after `after`."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > after or self.closed, wait)
            number, drawn = self._number, self._drawn
        if drawn is None:
            return 0, b""
        with self._encoding:
            if self._jpeg[0] < number:
                self._jpeg = (number, encode_picture(Path("live.jpg"), drawn))
            return self._jpeg


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = BROWSER_TIMEOUT
    page: LivePage

    def log_message(self, *_: object) -> None:
        """The library never prints."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if not self._allowed(address.query):
            return
        if address.path == "/":
            state = self.page.state().replace(b"<", b"\\u003c")  # a label must not end the script
            body = bundled_text("live.html").encode().replace(b">null</script>", b">" + state + b"</script>", 1)
            self._send(body, "text/html; charset=utf-8", self._cookie())
        elif address.path == "/state":
            self._send(self.page.state(), "application/json")
        elif address.path == "/stream":
            self._stream()
        elif address.path == "/picture.jpg":
            after = (parse_qs(address.query).get("after") or ["0"])[0]
            number, jpeg = self.page.picture(int(after) if after.isascii() and after.isdigit() else 0)
            self._send(jpeg, "image/jpeg", {"X-Frame": str(number)})
        elif address.path == "/snapshot.jpg":
            number, jpeg = self.page.picture(-1)
            name = f'attachment; filename="snapshot_{number:06}.jpg"'
            self._send(jpeg, "image/jpeg", {"Content-Disposition": name})
        else:
            self._refuse(404, "there is no such page")

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        if not self._allowed(address.query):
            return
        length = self.headers.get("Content-Length", "")
        origin = self.headers.get("Origin")
        if origin and urlsplit(origin).netloc != self.headers.get("Host", ""):
            self._refuse(403, "requests of other sites are refused")
        elif address.path != "/thresholds":
            self._refuse(404, "there is no such page")
        elif not length.isascii() or not length.isdigit() or int(length) > LONGEST_BODY:
            self._refuse(413, f"give a Content-Length up to {LONGEST_BODY}")
        elif self.page.set_thresholds(self.rfile.read(int(length))):
            self._send(self.page.state(), "application/json")
        else:
            self._refuse(400, "give a JSON object with a threshold from 0 to 1 for each label")

    def _allowed(self, query: str) -> bool:
        given = (parse_qs(query).get("token") or [self._cookie_token()])[0]
        if may_access(self.page.token, given, self.headers.get("Host", ""), local=self.page.local):
            return True
        self._refuse(403, "open the address that vocdet printed, with its token")
        return False

    def _cookie_token(self) -> str:
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get("vocdet")
        except CookieError:
            return ""
        return unquote(morsel.value) if morsel else ""

    def _cookie(self) -> dict[str, str]:
        """The token for further requests; never a text of the request, which could end the header."""
        token = quote(self.page.token, safe="")
        return {"Set-Cookie": f"vocdet={token}; HttpOnly; SameSite=Strict"} if token else {}

    def _send(self, body: bytes, kind: str, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        security = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
                    "Content-Security-Policy": PAGE_POLICY}  # fmt: skip
        for name, value in (
            {"Content-Type": kind, "Content-Length": str(len(body))} | security | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, text: str) -> None:
        self.close_connection = True
        self._send(f"{text}\n".encode(), "text/plain; charset=utf-8", {"Connection": "close"}, status)

    def _stream(self) -> None:
        """One JPEG after another; a browser that is slow skips pictures, and one that accepts none is dropped."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        number = 0
        while not self.page.closed:
            newest, jpeg = self.page.picture(number)
            if newest > number:
                number = newest
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A browser that goes away is no error."""


@contextmanager
def serving_page(page: LivePage, host: str = "127.0.0.1", port: int = LIVE_PORT) -> Iterator[LivePage]:
    """The page at its `url` until the block ends; for an address that others reach, with a token in it."""
    page.local = is_local(host)
    page.token = token_for(host, page.token)
    handler = type("Handler", (_Handler,), {"page": page})
    with binding("page", host, port):
        server = type("Server", (_Server,), {"address_family": family_of(host)})((host, port), handler)
    query = f"?token={quote(page.token, safe='')}" if page.token else ""
    page.url = f"{address_of(host, server.server_address[1])}{query}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield page
    finally:
        page.close()
        server.shutdown()
        thread.join()
        server.server_close()
