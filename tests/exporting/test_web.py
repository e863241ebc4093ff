"""The page of an export in a real browser: on a picture, and on a camera that shows a video."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.browser import CHROMIUM, REQUIRED, Browser
from tests.exporting.conftest import LABELS, Exported, picture
from vocdet.errors import DownloadError
from vocdet.exporting import web
from vocdet.exporting.graphs import Graph
from vocdet.runtimes.onnx import load_onnx

Server = Callable[[Path], AbstractContextManager[str]]
in_a_browser = pytest.mark.skipif(
    not REQUIRED and (web.RUNTIME_VARIABLE not in os.environ or CHROMIUM is None),
    reason=f"no chromium, or {web.RUNTIME_VARIABLE} is not set to the runtime, which .ci/run fetches with npm",
)
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def page(ssd: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an export, with a picture and a video beside it."""
    folder = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "onnx_bytes", lambda *_: ssd[1].read_bytes())
        files = web.web_files(Graph(None, ()), load_onnx(ssd[1]).description)  # type: ignore[arg-type]
    for name, data in files.items():
        (folder / name).write_bytes(data)
    image = picture(200, 300, 4)
    cv2.imwrite(str(folder / "photo.png"), image[..., ::-1])
    frame = cv2.cvtColor(picture(240, 320, 4), cv2.COLOR_RGB2YUV_I420).tobytes()
    (folder / "camera.y4m").write_bytes(b"YUV4MPEG2 W320 H240 F10:1 Ip C420jpeg\n" + b"".join([b"FRAME\n" + frame] * 5))
    return folder


@in_a_browser
def test_a_picture_has_the_detections_of_the_file(page: Path, ssd: Exported, serving: Server, tmp_path: Path) -> None:
    with serving(page) as address, closing(Browser(tmp_path)) as browser:
        browser.visit(f"{address}/index.html#picture=photo.png")
        shown = browser.wait(f"{STATUS}.includes(' ms') && document.getElementById('list').innerText")
        boxes = browser.value("[...document.querySelectorAll('li')].map(one => one.dataset.box)")
    detector = load_onnx(ssd[1])
    expected = detector.candidates(picture(200, 300, 4), (200, 300)).above(detector.thresholds)
    assert len(expected) > 3
    rows = [f"{LABELS[k]} {score:.3f}" for k, score in zip(expected.labels, expected.scores, strict=True)][:60]
    assert len(shown.splitlines()) == len(rows)
    assert shown.splitlines()[:3] == rows[:3]
    np.testing.assert_allclose([list(map(float, box.split())) for box in boxes][:3], expected.boxes[:3], atol=0.2)


@in_a_browser
def test_the_camera_is_detected_in_until_it_is_stopped(page: Path, serving: Server, tmp_path: Path) -> None:
    camera = page / "camera.y4m"
    with serving(page) as address, closing(Browser(tmp_path, camera=camera)) as browser:
        browser.visit(f"{address}/index.html#camera")
        assert browser.wait(f"{STATUS}.includes(' ms') && document.getElementById('view').width") == 320
        assert browser.value("document.querySelectorAll('li').length") > 0
        browser.value("document.getElementById('camera').click()")
        assert browser.value("document.getElementById('camera').textContent") == "Camera"


def test_files_of_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(web.RUNTIME_VARIABLE, str(tmp_path))
    with pytest.raises(DownloadError, match=r"lacks ort\.wasm\.min\.js"):
        web.runtime_files()
    for name in web.RUNTIME:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(DownloadError, match="is another version of the file"):
        web.runtime_files()
    monkeypatch.setattr(web, "RUNTIME", {name: hashlib.sha256(b"something else").hexdigest() for name in web.RUNTIME})
    assert set(web.runtime_files()) == set(web.RUNTIME)


def test_without_a_network_the_error_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(web.RUNTIME_VARIABLE, raising=False)
    monkeypatch.setenv("VOCDET_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DownloadError, match="is not on this disk, and VOCDET_OFFLINE is set") as caught:
        web.runtime_files()
    assert "npm pack onnxruntime-web@1.22.0" in caught.value.hint


def test_the_runtime_is_kept_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(web.RUNTIME_VARIABLE, raising=False)
    monkeypatch.setenv("VOCDET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web, "RUNTIME", {name: hashlib.sha256(b"one").hexdigest() for name in web.RUNTIME})
    kept = tmp_path / "cache" / "onnxruntime-web-1.22.0"
    kept.mkdir(parents=True)
    for name in web.RUNTIME:
        (kept / name).write_bytes(b"one")
    assert set(web.runtime_files()) == set(web.RUNTIME)
