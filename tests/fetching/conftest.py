"""A small server on the loopback address that can fail in the ways real ones do."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Fault:
    """How one request is answered otherwise than well."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True  # whether Range is understood
    cut: int | None = None  # bytes of the body that are sent
    length: int | None = None  # Content-Length, where it is wrong
    no_length: bool = False
    hang: float = 0.0  # seconds before anything is said


class Site:
    """Files under a URL, how the next requests fail, and the requests there were."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []  # of the next requests, one each
        self.always: dict[str, Fault] = {}  # of every request of a file
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.arrived = threading.Event()  # after the first request: on a busy machine, a client may give up before it
        self.url = ""

    def fail(self, **how: Any) -> None:
        """Let one more of the next requests fail."""
        self.faults.append(Fault(**how))

    def always_fail(self, name: str, **how: Any) -> None:
        """Let all requests of a file fail."""
        self.always[name] = Fault(**how)

    def asked(self) -> list[str]:
        """The names that were asked for."""
        return [path.lstrip("/") for path, _ in self.requests]

    def ranges(self) -> list[str | None]:
        """The Range of every request."""
        return [headers.get("Range") for _, headers in self.requests]


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.requests.append((self.path, dict(self.headers)))
        site.arrived.set()
        name = self.path.lstrip("/")
        fault = site.always.get(name) or (site.faults.pop(0) if site.faults else Fault())
        if fault.hang:
            threading.Event().wait(fault.hang)
        body = site.files.get(name, b"")
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        headers = {"ETag": tag}
        status = fault.status or (200 if name in site.files else 404)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if fault.ranges else None
        if status == 200 and asked and self.headers.get("If-Range", tag) == tag:
            start, total = int(asked[1]), len(body)
            status = 206 if start < total else 416
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}" if start < total else f"bytes */{total}"
            body = body[start:]
        if not fault.no_length:
            headers["Content-Length"] = str(len(body) if fault.length is None else fault.length)
        self.send_response(status)
        for key, value in {**headers, **fault.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # nobody waits for it any more
            self.wfile.write(body[: fault.cut])

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def site(serving: Callable[[Any], AbstractContextManager[str]]) -> Iterator[Site]:
    """A site on 127.0.0.1, empty at first."""
    made = Site()
    with serving(type("Handler", (_Handler,), {"site": made})) as made.url:
        yield made
