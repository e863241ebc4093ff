"""Fixtures: tiny datasets made on the spot, and real ones where they are at hand."""

from __future__ import annotations

import functools
import gc
import http.server
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from tests.browser import CHROMIUM, REQUIRED, Browser
from vocdet import files
from vocdet.formats.voc.preserved import Header
from vocdet.formats.voc.write import WrittenObject, annotation_text

os.environ["VOCDET_CACHE"] = "off"  # but for its own tests
os.environ["VOCDET_OFFLINE"] = "1"  # no test downloads, except from a server of its own
os.environ["TORCH_HOME"] = os.devnull  # weights on this machine change no test
os.environ.pop("VOCDET_WEIGHTS", None)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded: on a busy machine its threads spin
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests run in as many processes as there are cores

# Property tests draw the same few examples every time; `make fuzz` draws many new ones, from a seed that it prints.
# No time is limited: a busy machine is slow.
timeless: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("repeatable", max_examples=40, derandomize=True, database=None, **timeless)
settings.register_profile("fuzz", max_examples=300, print_blob=True, **timeless)
settings.load_profile("repeatable")

Boxes = Sequence[tuple[str, tuple[float, float, float, float]]]  # label and box of every object


LONGEST = (
    "runs/test_resume.py", "formats/test_hostile.py", "cli/training/test_commands.py", "cli/test_next_steps.py",
    "docs/test_snippets.py", "workflows/test_train_ssd.py", "cli/training/test_two_devices.py",
    "workflows/test_train_maskrcnn.py", "formats/test_hostile_times.py", "training/test_distributed.py",
    "workflows/test_explain.py", "formats/test_fuzz.py", "cli/test_links_are_kept.py", "cli/training/test_train.py",
    "workflows/test_train.py", "workflows/test_convert.py", "workflows/test_train_backbone.py", "workflows/test_bench.py",
    "api/test_training.py", "api/test_permissions.py",
)  # fmt: skip


gc.disable()  # until all tests are collected: of what is imported and made for them, next to nothing is garbage


def pytest_collection_finish() -> None:
    """Collect garbage again, except among the modules and the tests, which stay: each pass over them takes long."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first: of several processes none is left alone with one in the end."""
    tests = Path(__file__).parent
    rank = {tests / name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(autouse=True)
def quick_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: what stays after a crash is looked at in tests/test_files.py."""
    if request.path.name != "test_files.py":
        monkeypatch.setattr(files, "_flush", lambda _: None)
        monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True, scope="session")
def heed_ctrl_c() -> Iterator[None]:
    """Ctrl-C does what it does for a user: a shell that starts the tests in the background lets it be ignored."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real datasets that are not part of the project: `$VOCDET_SHARED`, or a folder beside the checkout."""
    folder = Path(os.environ.get("VOCDET_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real datasets at {folder}: set VOCDET_SHARED to where they are")
    return folder


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[..., Path]:
    """Make a dataset of one small image for every stem; each image is different, in a way its stem decides."""

    def make(
        scenes: Mapping[str, Boxes],
        *,
        root: Path | None = None,
        layout: str = "voc",  # voc: Annotations and JPEGImages; flat: XML beside image
        size: tuple[int, int] = (100, 80),
        suffix: str = ".jpg",
        splits: Mapping[str, Sequence[str]] | None = None,
    ) -> Path:
        folder = root or tmp_path / "set"
        xmls, images = (folder, folder) if layout == "flat" else (folder / "Annotations", folder / "JPEGImages")
        for path in (xmls, images):
            path.mkdir(parents=True, exist_ok=True)
        for stem, boxes in scenes.items():
            save_image(images / f"{stem}{suffix}", size, seed=zlib.crc32(stem.encode()))
            objects = [WrittenObject(label, box) for label, box in boxes]
            header = Header(folder=images.name, path=f"{stem}{suffix}")
            text = annotation_text(f"{stem}{suffix}", size, objects, header=header)
            (xmls / f"{stem}.xml").write_text(text, encoding="utf-8")
        for name, stems in (splits or {}).items():
            path = folder / "ImageSets" / "Main" / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{stem}\n" for stem in stems))
        return folder

    return make


def save_image(path: Path, size: tuple[int, int], *, seed: int = 0) -> None:
    """A picture of coarse colored noise in the format its suffix names."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).resize(size).save(path)


class _QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], AbstractContextManager[str]]:
    """Serve a folder, or what a request handler answers, on the loopback address: the URL. Downloads are switched on."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("VOCDET_OFFLINE")

    @contextmanager
    def serve(what: Any) -> Iterator[str]:
        handler = functools.partial(_QuietFiles, directory=str(what)) if isinstance(what, Path) else what
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()

    return serve


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None and not REQUIRED:
        pytest.skip("chromium is not installed")
    with closing(Browser(tmp_path_factory.mktemp("profile"))) as browser:
        yield browser


@pytest.fixture
def browser(_chromium: Browser) -> Browser:
    """The one browser of all tests, without the problems of the others."""
    _chromium.visit("about:blank")
    _chromium.problems.clear()
    return _chromium


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training does not draw its curves, which takes longer than a tiny training does."""
    monkeypatch.setattr("vocdet.runs.journal.curves", lambda *_, **__: b"")


@pytest.fixture
def quick_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of a training supposes a speed and looks, which take longer to find out than a tiny training."""
    from vocdet.recipes.plan import Looks
    from vocdet.workflows import training_facts

    monkeypatch.setattr(training_facts, "training_speed", lambda *_: 1000.0)
    monkeypatch.setattr(training_facts, "looks", lambda *_: Looks())


@pytest.fixture(scope="module")
def module_tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files a property test overwrites for every example."""
    return tmp_path_factory.mktemp("module")
