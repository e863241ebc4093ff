"""A headless Chromium, driven through its debugging pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REQUIRED = "VOCDET_BROWSER" in os.environ  # tests in a browser fail without one, instead of being skipped
PATIENCE = 120.0  # seconds until a page that never answers fails the test
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Escape": 27,
        "+": 187, "-": 189, "u": 85}  # fmt: skip
PROBLEMS = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Network.loadingFailed")


class Browser:
    """One page; `problems` are exceptions, console messages and requests that failed or left the file."""

    def __init__(self, profile: Path, *, camera: Path | None = None) -> None:
        """`profile` is an empty folder, `camera` the video (.y4m) that a camera of the page sees."""
        assert CHROMIUM
        self.problems: list[str] = []
        ours, theirs = os.pipe(), os.pipe()
        os.set_inheritable(ours[0], True)
        os.set_inheritable(theirs[1], True)
        command = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
            "--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        if camera:
            command[1:1] = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
            command.insert(1, f"--use-file-for-fake-video-capture={camera}")
        script = f'exec 3<&{ours[0]} 4>&{theirs[1]}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command], pass_fds=(ours[0], theirs[1]), stderr=subprocess.DEVNULL
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._write, self._read = ours[1], theirs[0]
        self._rest, self._number, self._session = b"", 0, ""
        target = next(one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """The result of a command of the protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser ended"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(text)
        if answer.get("method") in PROBLEMS:
            self.problems.append(json.dumps(answer["params"])[:600])
        if answer.get("method") == "Network.requestWillBeSent":
            url = answer["params"]["request"]["url"]
            self.problems += [url] if not url.startswith(("file:", "data:")) else []
        return answer

    def visit(self, address: str) -> None:
        """Load an address."""
        self.send("Page.navigate", url=address)
        self.wait(
            f'location.protocol {"===" if address == "about:blank" else "!=="} "about:" && document.readyState === "complete"'
        )

    def open(self, path: Path, *, width: int, dark: bool = False) -> None:
        """Load a file at a width in pixels, and wait until it is ready."""
        self.screen(width, dark=dark)
        self.visit(path.absolute().as_uri())
        self.wait('document.documentElement?.dataset.ready === "true"')

    def screen(self, width: int, *, dark: bool = False) -> None:
        """Set the width in pixels, and the colors."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)

    def wait(self, expression: str) -> Any:
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + PATIENCE
        while not (value := self.value(expression)):
            assert time.monotonic() < end, f"never true: {expression}; {self.problems}"
            time.sleep(0.05)
        return value

    def value(self, expression: str) -> Any:
        """The value of an expression of JavaScript, awaited."""
        got = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def press(self, key: str, *, times: int = 1) -> None:
        """Press a key."""
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        for _ in range(times):
            common = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
            self.send("Input.dispatchKeyEvent", type="keyDown", **common, **text)
            self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        height = self.value("document.documentElement.scrollHeight")
        width = self.value("document.documentElement.clientWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 12000), "scale": 1}
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._write)
        os.close(self._read)
