"""Downloading one large file over HTTP, resuming after every interruption."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import ssl
import string
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.message import Message
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from vocdet import __version__
from vocdet.errors import ArgumentError, DownloadError
from vocdet.files import unwritable, write_text
from vocdet.formats.scan import Progress
from vocdet.wording import reason

Notify = Callable[[str], None]

OFFLINE = "VOCDET_OFFLINE"  # environment variable: set to 1, nothing is downloaded
NETWORK_BLOCK = 1 << 18  # bytes
LONGEST_WAIT = 60.0  # seconds between two attempts
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses worth another attempt


class ServerUnavailableError(DownloadError):
    """The server cannot be reached or fails repeatedly, so other downloads from it would also fail."""


class _TemporaryError(Exception):
    """A failure that another attempt may overcome."""

    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem)
        self.wait = wait  # seconds, from Retry-After


@dataclass(frozen=True, slots=True)
class Retries:
    """When a download gives up: after this number of consecutive failures, each after a timeout in seconds."""

    tries: int = 5
    timeout: float = 30.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class _PartialDownload:
    """The source of a partially downloaded file, stored beside it."""

    url: str = ""
    validator: str = ""  # strong ETag, or Last-Modified; it changes with the file
    total: int = 0  # bytes; 0: unknown


def download(
    url: str,
    part: Path,
    *,
    size: int = 0,
    retries: Retries | None = None,
    progress: Progress | None = None,
    note: Notify | None = None,
) -> None:
    """Download a URL into `part`, resuming a partial download, even one from another URL.

    `size` is the expected size in bytes; 0 accepts any. After the last failure the received bytes stay in `part`, with
    `part`.info beside it, so that a later call resumes. Raises a `DownloadError`.
    """
    url = checked_url(url)
    check_online()
    retries = retries or Retries()
    received = _length_of(part)
    failures = 0
    while True:
        try:
            return _receive(url, part, size, retries.timeout, progress)
        except _TemporaryError as problem:
            failures = 1 if _length_of(part) > received else failures + 1
            received = max(received, _length_of(part))
            if failures >= retries.tries:
                often = f", {retries.tries} times in a row" if retries.tries > 1 else ""
                raise ServerUnavailableError(f"{url}: {problem}{often}") from problem
            wait = min(max(problem.wait, 2.0 ** (failures - 1)), LONGEST_WAIT)
            if note:
                note(f"{problem}; retrying in {wait:.0f} s")
            retries.sleep(wait)


def check_online() -> None:
    """Raise a `ServerUnavailableError` if downloads are switched off."""
    if os.environ.get(OFFLINE, "").lower() not in ("", "0", "off", "false", "no"):
        raise ServerUnavailableError(f"downloads are switched off by {OFFLINE}", hint=f"unset {OFFLINE} to download")


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """In the block, nothing is downloaded, also by processes that start in it."""
    before = os.environ.get(OFFLINE)
    os.environ[OFFLINE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OFFLINE]
        else:
            os.environ[OFFLINE] = before


def checked_url(url: str) -> str:
    """An HTTP or HTTPS URL with special characters quoted; anything else is an `ArgumentError`."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True) and not parts.username
    except ValueError:  # an invalid port or IPv6 address
        usable = False
    if not usable:
        raise ArgumentError(f"{url!r} is not an HTTP URL", hint="use http://… or https://…")
    return quote(url, safe=string.punctuation)


def finish(part: Path, path: Path) -> None:
    """Give a complete download its name."""
    try:
        part.replace(path)
        _info_path(part).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def discard(part: Path) -> None:
    """Delete a partial download."""
    part.unlink(missing_ok=True)
    _info_path(part).unlink(missing_ok=True)


def md5_of(path: Path, progress: Progress | None = None) -> str:
    """The MD5 of a file in hexadecimal, the checksum that the datasets were published with."""
    return _hex_digest(path, hashlib.md5(usedforsecurity=False), progress)  # otherwise refused in FIPS mode


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    return _hex_digest(path, hashlib.sha256())


def _hex_digest(path: Path, digest: hashlib._Hash, progress: Progress | None = None) -> str:
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while block := file.read(NETWORK_BLOCK):
            digest.update(block)
            done += len(block)
            if progress:
                progress(done, total)
    return digest.hexdigest()


def size_text(count: int) -> str:
    """A number of bytes in decimal units: 460.0 MB."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def _receive(url: str, part: Path, size: int, timeout: float, progress: Progress | None) -> None:
    known = _partial_download(part, size)
    start = _length_of(part) if known.total else 0
    if start > known.total:
        start = 0
    if start and start == known.total:
        return
    with _open_url(url, start, known.validator if known.url == url else "", part, timeout) as reply:
        if reply.status == 206:
            total = _resumed_total(reply, start, known.total, part)
        elif reply.status == 200:  # the whole file: it has changed, or the server has no ranges
            start, total = 0, reply.length or 0
        else:
            raise DownloadError(f"{url}: the server answers {reply.status} {reply.reason}")
        if reply.headers.get_content_type() == "text/html":  # before it replaces the partial download
            raise DownloadError(f"{url}: the server answers with a web page", hint="the network may require a login")
        if size and total not in (0, size):
            raise DownloadError(f"{url}: the file on the server has {total} bytes, the archive {size}")
        write_text(
            _info_path(part), json.dumps(asdict(_PartialDownload(url, _validator(reply.headers), total or size)))
        )
        done = _write_reply(reply, part, start, total or size, progress)
    if done < (total or size):
        raise _TemporaryError(f"the answer ended after {done} of {total or size} bytes")


def _write_reply(reply: http.client.HTTPResponse, part: Path, start: int, most: int, progress: Progress | None) -> int:
    done = start
    try:
        with part.open("ab" if start else "wb") as file:
            for block in _received_blocks(reply):
                done += len(block)
                if most and done > most:
                    raise DownloadError(f"the server sends more than the expected {most} bytes", place=part)
                file.write(block)
                if progress:
                    progress(done, most)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(part, error) from error
    except DownloadError:
        discard(part)
        raise
    return done


def _received_blocks(reply: IO[bytes] | http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := reply.read(NETWORK_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _TemporaryError(f"the connection was lost: {_network_reason(error)}") from error


def _resumed_total(reply: http.client.HTTPResponse, start: int, total: int, part: Path) -> int:
    """The size of the whole file, from the range that the server sends."""
    content_range = reply.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range.strip())
    if match and int(match[1]) == start and int(match[2]) == total:
        return total
    discard(part)
    raise _TemporaryError(f"the server sends {content_range!r}, not bytes {start} to {total}; starting over")


def _open_url(url: str, start: int, validator: str, part: Path, timeout: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"vocdet/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator.isascii() and validator.isprintable() and validator:
            headers["If-Range"] = validator
    try:
        return _reply_to(Request(url, headers=headers), timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:
            discard(part)
            raise _TemporaryError(f"the file on the server ends before byte {start}; starting over") from error
        if error.code in TEMPORARY:
            raise _TemporaryError(
                f"the server answers {error.code} {error.reason}", _retry_after(error.headers)
            ) from error
        raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, (str, ssl.SSLCertVerificationError, http.client.InvalidURL)):
            raise DownloadError(f"{url}: {_network_reason(cause)}") from error
        raise _TemporaryError(f"no answer: {_network_reason(cause)}") from error


def _reply_to(request: Request, timeout: float) -> http.client.HTTPResponse:
    """The answer to a request, or a `TimeoutError` after `timeout` seconds.

    The opener's own timeout is that of every single step: it does not limit the resolution of the name, and starts over
    with every address and every redirect.
    """
    answers: SimpleQueue[http.client.HTTPResponse | Exception] = SimpleQueue()
    late = threading.Event()

    def ask() -> None:
        try:
            reply = _opener().open(request, timeout=timeout)
        except Exception as error:  # raised again below
            answers.put(error)
            return
        if late.is_set():
            reply.close()
        answers.put(reply)

    threading.Thread(target=ask, daemon=True).start()  # a hanging one does not keep the process alive
    try:
        answer = answers.get(timeout=timeout)
    except Empty:
        late.set()
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


class _Redirects(HTTPRedirectHandler):
    """urllib's redirects, with status 308, which urllib supports since Python 3.11."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)

    http_error_308 = HTTPRedirectHandler.http_error_302


def _opener() -> OpenerDirector:
    """HTTP and HTTPS only: urllib's default opener would follow a redirect to FTP."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(), HTTPHandler(), HTTPSHandler(), _Redirects(), HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(), UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _partial_download(part: Path, size: int) -> _PartialDownload:
    try:
        stored = json.loads(_info_path(part).read_text(encoding="utf-8"))
        known = _PartialDownload(str(stored["url"]), str(stored["validator"]), int(stored["total"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _PartialDownload(total=size)  # copied there by hand
    return known if not size or known.total == size else _PartialDownload(total=size)


def _info_path(part: Path) -> Path:
    return part.with_name(part.name + ".info")


def _length_of(part: Path) -> int:
    with contextlib.suppress(OSError):
        return part.stat().st_size
    return 0


def _validator(headers: Message) -> str:
    tag = str(headers.get("ETag") or "")
    return tag if tag.startswith('"') else str(headers.get("Last-Modified") or "")  # a weak tag allows differences


def _retry_after(headers: Message) -> float:
    seconds = str(headers.get("Retry-After") or "")
    return float(seconds) if re.fullmatch(r"[0-9]{1,6}", seconds) else 0.0


def _network_reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return reason(error)
    return str(error) or type(error).__name__
