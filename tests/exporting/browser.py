"""A headless Chromium that is driven through pipes (the DevTools protocol), without any package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120.0  # seconds until a page that never answers fails the test


class Page:
    """One page of the browser."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._numbers, self._read = send, receive, count(1), b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._read:
                self._read += os.read(self._receive, 1 << 16)
            answer, _, self._read = self._read.partition(b"\0")
            parsed = json.loads(answer)
            if parsed.get("id") == number:
                assert "error" not in parsed, parsed
                return dict(parsed["result"])

    def value(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, script: str) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + PATIENCE
        while not (value := self.value(script)):
            assert time.monotonic() < end, self.value("document.body.innerText")
            time.sleep(0.05)
        return value

    def screenshot(self, path: Path) -> None:
        """Write a picture of the page."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def opened(address: str, profile: Path, *, video: Path | None = None, size: str = "900,800") -> Iterator[Page]:
    """A page at an address; `video` (.y4m) is what its camera sees."""
    assert CHROMIUM
    ours, theirs = os.pipe(), os.pipe()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    flags.append(f"--window-size={size}")
    if video:
        flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        flags.append(f"--use-file-for-fake-video-capture={video}")

    def place() -> None:  # Chromium reads from 3 and writes to 4
        read, write = os.dup(ours[0]), os.dup(theirs[1])
        os.dup2(read, 3)
        os.dup2(write, 4)

    process = subprocess.Popen(
        [CHROMIUM, *flags], preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        page = Page(ours[1], theirs[0])
        page.call("Page.navigate", url=address)
        yield page
    finally:
        process.kill()
        process.wait()
        for end in (*ours, *theirs):
            os.close(end)
