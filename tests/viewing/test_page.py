"""The viewer: who may use it, what it answers, what a person sees and does in a browser."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser import Browser
from tests.conftest import save_image
from vocdet.data.detections import Detections
from vocdet.errors import AnnotationError, ArgumentError
from vocdet.formats.scan import Source
from vocdet.inference.results import write_coco_results
from vocdet.workflows.view import ViewOptions, open_viewer

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
from vocdet.viewing.app import application

EVIL = "</script><script>alert(1)</script>"
EVIL_IMAGE = '"><img src=x>.jpg'
SIZE = (120, 80)
TOKEN = "secret"


@dataclass
class Served:
    """A viewer at work."""

    port: int
    root: Path
    notes: Path

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> tuple[int, bytes, Any]:
        sent = {"Cookie": f"vocdet-view-{self.port}={TOKEN}"} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def json(self, path: str) -> Any:
        status, body, _ = self.ask(path)
        assert status == 200, body
        return json.loads(body)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Three images in the style of YOLO; the second is no image. The second object is missed, and dog is detected wrong."""
    base = tmp_path_factory.mktemp("view")
    root = base / "set"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for name in (EVIL_IMAGE, "b.jpg", "c.png"):
        save_image(root / "images" / name, SIZE)
        (root / "labels" / f"{name[:-4]}.txt").write_text(
            "0 .25 .5 .5 .5\n1 .75 .5 .25 .5\n" if name != "c.png" else ""
        )
    (root / "classes.txt").write_text(f"cat\n{EVIL}\n")
    boxes = np.array([[0.0, 20.0, 60.0, 60.0]])
    found = [Detections(boxes, np.array([score], np.float32), np.array([0])) for score in (0.9, 0.8, 0.85)]
    write_coco_results(base / "found.json", [EVIL_IMAGE, "b.jpg", "c.png"], found)
    options = ViewOptions(base / "found.json", "all", base / "notes.csv")
    viewer = open_viewer(Source(root, labels=root / "classes.txt"), options)
    (root / "images" / "b.jpg").write_bytes(b"no image")
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(application(viewer, token=TOKEN, local=True), log_config=None, lifespan="off")
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Served(listening.getsockname()[1], root, base / "notes.csv")
        server.should_exit = True
        thread.join()


def test_only_whoever_has_the_token_gets_in(served: Served) -> None:
    for path in ("/", "/state", "/images/0", "/pictures/0", "/page.js"):
        assert served.ask(path, Cookie="")[0] == 403
        assert served.ask(path, Cookie=f"vocdet-view-{served.port}=other")[0] == 403
    status, _, headers = served.ask(f"/?token={TOKEN}", Cookie="")
    assert (status, headers["Location"]) == (303, "/")  # without the token in the address
    assert headers["Set-Cookie"] == f"vocdet-view-{served.port}={TOKEN}; HttpOnly; Path=/; SameSite=strict"


def test_viewers_on_other_ports_of_the_host_have_cookies_of_their_own(served: Served) -> None:
    both = f"vocdet-view-1=other; vocdet-view-{served.port}={TOKEN}"
    assert served.ask("/state", Cookie=both)[0] == 200


def test_other_hosts_and_other_sites_are_refused(served: Served) -> None:
    assert served.ask("/state", Host="evil.example")[:2] == (
        403,
        b"other hosts are refused: open the address that vocdet printed\n",
    )
    assert served.ask("/notes/0", "POST", "ok", Origin="http://evil.example")[0] == 403
    assert served.ask("/notes/0", "GET")[0] == 405
    assert "default-src 'none'" in served.ask("/")[2]["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path", ["/images/3", "/images/-1", "/thumbnails/x", "/pictures/..%2F..%2Fetc%2Fpasswd", "/..%2Fset%2Fclasses.txt", "/images/1e3",
             "/page.html", "/pictures/99999999999999999999"],
)  # fmt: skip
def test_there_is_nothing_but_images_of_the_dataset(served: Served, path: str) -> None:
    assert served.ask(path)[0] == 404


def test_filters_are_numbers(served: Served) -> None:
    assert served.ask("/images?label=cat")[0] == 400
    assert served.json("/images?label=99")["count"] == 0
    assert [one["name"] for one in served.json("/images?label=1")["images"]] == [f"images/{EVIL_IMAGE}", "images/b.jpg"]
    assert served.ask("/list.txt?name=C.PNG")[1].decode() == f"{served.root / 'images' / 'c.png'}\n"


def test_an_image_has_its_objects_detections_and_the_command_that_corrects_it(served: Served) -> None:
    one = served.json("/images/0")
    assert [(thing["box"], thing["missed"]) for thing in one["objects"]] == [
        ([0, 20, 60, 60], False),
        ([75, 20, 105, 60], True),
    ]
    assert [(thing["score"], thing["correct"]) for thing in one["detections"]] == [(0.9, True)]
    assert one["command"].startswith("labelImg '") and one["command"].endswith(f"{served.root / 'labels'}")
    kinds = {name: count for _, name, count in served.json("/state")["errors"] if count}
    assert kinds == {"correct": 2, "background": 1, "missed": 2}


def test_pictures_are_jpegs_and_one_that_cannot_be_read_says_so(served: Served) -> None:
    for path in ("/thumbnails/0", "/pictures/0"):
        status, data, headers = served.ask(path)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(data)).size == SIZE
    status, data, headers = served.ask("/thumbnails/1")
    assert (status, headers["Content-Type"]) == (200, "image/svg+xml")
    assert b"is not an image" in data


def test_a_note_is_in_the_file_at_once(served: Served) -> None:
    assert served.ask("/notes/0", "POST", "wrong")[0] == 200
    assert served.notes.read_text() == 'image,note\n"images/""><img src=x>.jpg",wrong\n'
    assert [one["row"] for one in served.json("/images?note=1")["images"]] == [0]
    assert served.ask("/notes/0", "POST", "perhaps")[0] == 400
    assert served.ask("/notes/0", "POST", "x" * 2000)[0] == 413
    assert served.ask("/notes/0", "POST", "")[0] == 200
    assert served.notes.read_text() == "image,note\n"


def test_the_split_of_detections_needs_detections(served: Served) -> None:
    with pytest.raises(ArgumentError, match="chooses detections, and there are none"):
        open_viewer(Source(served.root), ViewOptions(split="val"))


def test_a_file_of_notes_may_come_from_a_spreadsheet(served: Served) -> None:
    served.notes.write_bytes("\ufeffimage,note\r\nc.png,ok\r\n".encode())
    assert served.ask("/notes/1", "POST", "wrong")[0] == 200
    assert served.notes.read_text() == "image,note\nc.png,ok\nimages/b.jpg,wrong\n"
    assert served.ask("/notes/1", "POST", "")[0] == 200
    served.notes.unlink()


def test_the_page_says_why_a_note_cannot_be_written(served: Served) -> None:
    served.notes.write_text("image;note\n")
    status, answer, _ = served.ask("/notes/0", "POST", "ok")
    assert status == 409 and b"is not a file of notes" in answer
    assert served.notes.read_text() == "image;note\n"
    served.notes.unlink()


def test_it_is_used_by_mouse_and_by_keyboard(served: Served, browser: Browser) -> None:
    address, count = f"http://127.0.0.1:{served.port}/?token={TOKEN}", 'document.getElementById("count").textContent'
    for width, dark in ((390, True), (1600, False)):
        browser.screen(width, dark=dark)
        browser.visit(address)
        browser.wait('document.documentElement?.dataset.ready === "true"')
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert width == 1600 or axe(browser) == []  # then in the dialog
    assert browser.value(count) == "3 images"
    assert browser.value("location.search") == ""
    names = "[...document.querySelectorAll('[role=option] b')].map(one => one.textContent)"
    assert browser.value(names) == [f"images/{EVIL_IMAGE}", "images/b.jpg", "images/c.png"]
    assert EVIL in browser.value("document.querySelector('select[name=label]').textContent")
    browser.value(
        "(document.querySelector('select[name=label]').value = '1', document.getElementById('filters').dispatchEvent(new Event('input')))"
    )
    browser.wait(f'{count} === "2 images of 3"')
    browser.value("document.getElementById('grid').focus()")
    browser.press("ArrowRight")
    browser.press("u")
    browser.wait(f'{count} === "images/b.jpg: unsure"')
    assert served.notes.read_text() == "image,note\nimages/b.jpg,unsure\n"
    browser.press("Home")
    browser.press("Enter")
    browser.wait("document.getElementById('zoom').open && document.querySelectorAll('#picture rect').length === 3")
    assert browser.value("document.getElementById('name').textContent") == f"images/{EVIL_IMAGE} (1 of 2)"
    assert f"{EVIL}, missed" in browser.value("document.getElementById('things').textContent")
    assert axe(browser) == []
    shown = "document.getElementById('picture').clientWidth"
    before = browser.value(shown)
    browser.press("+")
    assert browser.value(shown) > 1.4 * before
    browser.press("-")
    browser.press("ArrowRight")
    browser.wait("document.getElementById('name').textContent.startsWith('images/b.jpg')")
    browser.press("Escape")
    browser.wait("!document.getElementById('zoom').open")
    assert browser.value("document.activeElement.id") == "grid"
    assert browser.value("document.querySelectorAll('script').length") == 1
    assert [one for one in browser.problems if not one.startswith(address.partition("?")[0])] == []


def axe(browser: Browser) -> list[str]:
    browser.value((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8") + ";0")
    return list(browser.value("axe.run(document).then(all => all.violations.map(one => one.id))"))


def test_images_without_annotations_are_shown_too(served: Served, tmp_path: Path) -> None:
    viewer = open_viewer(Source(served.root / "images"), ViewOptions(notes=tmp_path / "notes.csv"))
    assert viewer.table.dataset.images.files == (EVIL_IMAGE, "c.png")
    assert viewer.table.errors == {}


def test_a_file_of_something_else_is_not_overwritten(make_voc: Callable[..., Path], tmp_path: Path) -> None:
    root = make_voc({"a": [("cat", (5.0, 5.0, 40.0, 50.0))]})
    other = tmp_path / "other.csv"
    for text, place in (
        ("filename,width\n", f"{other}: is not a file"),
        ("image,note\na.jpg,fine\n", f"{other}:2: 'a.jpg,fine'"),
    ):
        other.write_text(text)
        with pytest.raises(AnnotationError) as caught:
            open_viewer(Source(root), ViewOptions(notes=other))
        assert str(caught.value).startswith(place)
        assert other.read_text() == text
