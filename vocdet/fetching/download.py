"""Fetching one large file over HTTP, however often the line breaks."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import ssl
import string
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.message import Message
from pathlib import Path
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
from vocdet.errors import VocdetError
from vocdet.files import unwritable, write_text

Progress = Callable[[int, int], None]  # bytes done, and of how many; 0 where nobody knows
Note = Callable[[str], None]

BLOCK = 1 << 18  # bytes
LONGEST_WAIT = 60.0  # seconds between two tries
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that may be another in a moment


class DownloadError(VocdetError):
    """A file cannot be fetched, or is not what was published."""


class NoAnswerError(DownloadError):
    """The server cannot be reached, or fails again and again: it would for other files, too."""


class _TryAgain(Exception):
    """Something that may go better next time."""

    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem)
        self.wait = wait  # seconds the server asks for


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered of a file of which a part is here."""

    url: str = ""
    validator: str = ""  # strong ETag, or Last-Modified: the same as long as the file is
    total: int = 0  # bytes; 0: not known


def download(
    url: str,
    part: Path,
    *,
    size: int = 0,
    tries: int = 5,
    timeout: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress | None = None,
    note: Note | None = None,
) -> None:
    """Fetch a URL into `part`, going on from what is there, also where that came from another URL.

    `size` is what the file must have, in bytes; 0 accepts any. It is given up after `tries` failures in a row that
    brought nothing new. What was received stays in `part`, with `part`.info beside it, so that a later call goes on.
    """
    url = checked_url(url)
    reached = _length(part)
    failures = 0
    while True:
        try:
            return _receive(url, part, size, timeout, progress)
        except _TryAgain as problem:
            failures = 1 if _length(part) > reached else failures + 1
            reached = max(reached, _length(part))
            if failures >= tries:
                raise NoAnswerError(f"{url}: {problem}, {tries} times in a row") from problem
            wait = min(max(problem.wait, 2.0 ** (failures - 1)), LONGEST_WAIT)
            if note:
                note(f"{problem}; trying again in {wait:.0f} s")
            sleep(wait)


def checked_url(url: str) -> str:
    """A URL of http or https with its odd characters quoted; anything else is an error."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True) and not parts.username
    except ValueError:  # of a port or an IPv6 address
        usable = False
    if not usable:
        raise DownloadError(f"{url!r} is no URL that can be fetched", hint="give http://… or https://…")
    return quote(url, safe=string.punctuation)


def finish(part: Path, path: Path) -> None:
    """Give a complete download its name."""
    try:
        part.replace(path)
        _info(part).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def discard(part: Path) -> None:
    """Forget what was received."""
    part.unlink(missing_ok=True)
    _info(part).unlink(missing_ok=True)


def md5_of(path: Path, progress: Progress | None = None) -> str:
    """The MD5 of a file in hexadecimal: what the datasets were published with."""
    digest = hashlib.md5(usedforsecurity=False)  # else refused where FIPS rules
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            if progress:
                progress(done, total)
    return digest.hexdigest()


def size_text(count: int) -> str:
    """A number of bytes as people say it: 460.0 MB."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def _receive(url: str, part: Path, size: int, timeout: float, progress: Progress | None) -> None:
    known = _remembered(part, size)
    start = _length(part) if known.total else 0
    if start > known.total:
        start = 0
    if start and start == known.total:
        return
    with _opened(url, start, known.validator if known.url == url else "", part, timeout) as reply:
        if reply.status == 206:
            total = _rest_of(reply, start, known.total, part)
        elif reply.status == 200:  # the whole file, whatever was asked for: another one, or a server without ranges
            start, total = 0, reply.length or 0
        else:
            raise DownloadError(f"{url}: the server answers {reply.status} {reply.reason}")
        if reply.headers.get_content_type() == "text/html":  # before it takes the place of what is here
            raise DownloadError(f"{url}: the server answers with a web page", hint="does the network want a login?")
        if size and total not in (0, size):
            raise DownloadError(f"{url}: what the server has is {total} bytes long, the archive {size}")
        write_text(_info(part), json.dumps(asdict(_Known(url, _validator(reply.headers), total or size))))
        done = _write(reply, part, start, total or size, progress)
    if done < (total or size):
        raise _TryAgain(f"the answer ended after {done} of {total or size} bytes")


def _write(reply: http.client.HTTPResponse, part: Path, start: int, most: int, progress: Progress | None) -> int:
    done = start
    try:
        with part.open("ab" if start else "wb") as file:
            for block in _blocks(reply):
                done += len(block)
                if most and done > most:
                    raise DownloadError(f"the server sends more than the {most} bytes there are", place=part)
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


def _blocks(reply: IO[bytes] | http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := reply.read(BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgain(f"the connection broke off: {_text(error)}") from error


def _rest_of(reply: http.client.HTTPResponse, start: int, total: int, part: Path) -> int:
    """The size of the whole file of which this is the rest."""
    said = reply.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", said.strip())
    if match and int(match[1]) == start and int(match[2]) == total:
        return total
    discard(part)
    raise _TryAgain(f"the server offers {said!r}, not the rest of {total} bytes from {start}; starting over")


def _opened(url: str, start: int, validator: str, part: Path, timeout: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"vocdet/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator.isascii() and validator.isprintable() and validator:
            headers["If-Range"] = validator
    try:
        reply: http.client.HTTPResponse = _opener().open(Request(url, headers=headers), timeout=timeout)
        return reply
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:
            discard(part)
            raise _TryAgain(f"the server has no bytes from {start} on; starting over") from error
        if error.code in PASSING:
            raise _TryAgain(f"the server answers {error.code} {error.reason}", _asked_wait(error.headers)) from error
        raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, (str, ssl.SSLCertVerificationError, http.client.InvalidURL)):
            raise DownloadError(f"{url}: {_text(reason)}") from error
        raise _TryAgain(f"no answer: {_text(reason)}") from error


class _Redirects(HTTPRedirectHandler):
    """Redirects as urllib follows them, with 308, which it knows from Python 3.11 on."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)

    http_error_308 = HTTPRedirectHandler.http_error_302


def _opener() -> OpenerDirector:
    """HTTP and HTTPS alone: urllib's own opener would follow a redirect to ftp, too."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(), HTTPHandler(), HTTPSHandler(), _Redirects(), HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(), UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _remembered(part: Path, size: int) -> _Known:
    try:
        said = json.loads(_info(part).read_text(encoding="utf-8"))
        known = _Known(str(said["url"]), str(said["validator"]), int(said["total"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _Known(total=size)  # put there by hand
    return known if not size or known.total == size else _Known(total=size)


def _info(part: Path) -> Path:
    return part.with_name(part.name + ".info")


def _length(part: Path) -> int:
    with contextlib.suppress(OSError):
        return part.stat().st_size
    return 0


def _validator(headers: Message) -> str:
    tag = str(headers.get("ETag") or "")
    return tag if tag.startswith('"') else str(headers.get("Last-Modified") or "")  # a weak tag promises too little


def _asked_wait(headers: Message) -> float:
    said = str(headers.get("Retry-After") or "")
    return float(said) if re.fullmatch(r"[0-9]{1,6}", said) else 0.0


def _text(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
