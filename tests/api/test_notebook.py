"""Public objects show themselves in a notebook: whole pictures and tables, every text escaped, nothing ever raised."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vocdet
from vocdet.api.dataset import as_loaded
from vocdet.data import detections as columns
from vocdet.evaluation.audit import Suspicion
from vocdet.plots import notebook
from vocdet.workflows.audit import _written

EVIL = "</script><script>alert(1)</script>"
FILE = '"><img src=x>'
BOX, OTHER = (5.0, 5.0, 45.0, 50.0), (55.0, 10.0, 95.0, 70.0)


class _Reader(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(thing: Any) -> tuple[int, str]:
    """The number of pictures and the text that a notebook shows; all pictures are inside, and nothing else is."""
    html = thing._repr_html_()
    reader = _Reader()
    reader.feed(html)
    assert {tag for tag, _ in reader.elements} <= {
        "p",
        "b",
        "table",
        "tr",
        "th",
        "td",
        "div",
        "figure",
        "figcaption",
        "img",
    }
    sources = [attributes["src"] or "" for tag, attributes in reader.elements if tag == "img"]
    assert all(re.match(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/=]+$", source) for source in sources)
    assert len(html) < 1_200_000
    return len(sources), reader.text


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    stems = [FILE, *(f"img{i}" for i in range(8))]
    return make_voc(
        {stem: [("cat", BOX), (EVIL, OTHER)] for stem in stems}, splits={"train": stems[1:], "test": stems[:1]}
    )


def test_a_dataset_shows_its_labels_and_some_images(root: Path) -> None:
    dataset = vocdet.read(root)
    pictures, text = shown(dataset)
    assert pictures == 6
    assert f"{EVIL}99cat99" in text  # 9 objects in 9 images
    assert f"2 objects in {FILE}.jpg, 100x80 pixels" in text
    assert escape(EVIL) in dataset._repr_html_()
    assert shown(dataset.subset([]))[0] == 0


def test_an_image_shows_its_objects(root: Path) -> None:
    image = vocdet.read(root)[0]
    assert image.label_names == ("cat", EVIL)
    assert repr(image) == f"<2 objects in {FILE}.jpg, 100x80 pixels: cat, {EVIL}>"
    pictures, text = shown(image)
    assert (pictures, f"{EVIL}55 10 95 70" in text) == (1, True)
    drawn = np.asarray(image.draw())
    assert drawn.shape == (80, 100, 3)
    assert np.array_equal(drawn[5, 20:44], np.tile(drawn[49, 20], (24, 1)))  # upper and lower side of a box


def test_an_image_that_is_not_there_is_said_in_words(root: Path) -> None:
    dataset = vocdet.read(root)
    (root / "JPEGImages" / "img3.jpg").unlink()
    row = dataset.images.stems.index("img3")
    pictures, text = shown(dataset[row])
    assert pictures == 0
    assert "no picture: cannot be read: no such file or directory" in text
    assert shown(dataset.subset([row, 0 if row else 1]))[0] == 1


def test_a_large_image_is_shrunk_and_its_boxes_with_it(tmp_path: Path, make_voc: Callable[..., Path]) -> None:
    root = make_voc({"a": [("cat", (400.0, 400.0, 2000.0, 1600.0))]}, size=(2400, 1800))
    small = vocdet.read(root)[0].small(320)
    assert small.shape == (240, 320, 3)
    assert np.ptp(small[53:54, 80:250], axis=1).max() == 0  # the upper side, 400 * 320 / 2400 pixels from above
    assert np.ptp(small[60:61, 80:250], axis=1).max() > 0


def test_detections_show_their_picture_and_scores(root: Path) -> None:
    path = root / "JPEGImages" / f"{FILE}.jpg"
    found = columns.Detections(np.array([BOX, OTHER]), np.array([0.9, 0.5], np.float32), np.array([1, 0]))
    detections = vocdet.Detections(found, (EVIL, "cat"), (100, 80), path)
    pictures, text = shown(detections)
    assert pictures == 1
    assert f"{EVIL}0.50055 10 95 70" in text
    assert repr(detections[0]) == "<cat 0.90 at 5 5 45 50>"
    path.unlink()
    assert shown(detections)[0] == 0


def test_a_prediction_shows_some_of_its_drawings(
    trained: tuple[Path, vocdet.Run], detector: vocdet.Detector, tmp_path: Path
) -> None:
    result = vocdet.predict(detector, trained[0] / "JPEGImages", out=tmp_path / "found")
    assert shown(result)[0] == 12
    (tmp_path / "found" / "img00.jpg").unlink()
    pictures, text = shown(result)
    assert pictures == 11
    assert "img00.jpg: no picture" in text


def test_a_run_shows_its_metrics_and_says_that_its_curves_are_missing(trained: tuple[Path, vocdet.Run]) -> None:
    _, text = shown(trained[1])
    assert f"ap50{trained[1].metrics['ap50']:.3f}" in text
    assert "curves.png: no picture" in text


def test_statistics_and_checks_show_tables(root: Path) -> None:
    statistics = vocdet.statistics(root)
    pictures, text = shown(statistics)
    assert pictures == 1
    assert f"{EVIL}9981" in text  # objects, images, and objects of train and of test
    assert repr(statistics) == "<statistics of 9 images, 18 objects, 2 labels>"
    (root / "JPEGImages" / "img3.jpg").unlink()
    assert "image.missing" in shown(vocdet.check(root))[1]


def test_an_audit_shows_its_first_suspicions(root: Path, tmp_path: Path) -> None:
    loaded = as_loaded(vocdet.read(root))
    wrong = [Suspicion("label", 0.9, row, 2 * row, 1, BOX, 0.8) for row in range(9)]
    result = _written(loaded, wrong, tmp_path, 0)
    pictures, text = shown(result)
    assert pictures == 9
    assert f"{FILE}.jpg" in text
    assert repr(result) == f"<audit with 9 suspicions (9 label): {tmp_path / 'index.html'}>"


def test_many_pictures_stay_below_a_megabyte() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    many = notebook.gallery([("noise", lambda: noise)] * 100)
    assert many.count("<img") == notebook.MOST_PICTURES
    assert len(notebook.gallery([("noise", lambda: noise)] * 100, side=800)) < 1_000_000
    assert "and 5 more" in notebook.table(("a",), [("b",)] * (notebook.MOST_ROWS + 5))


def test_the_package_never_imports_ipython() -> None:
    library = Path(vocdet.__file__).parent
    assert not [path for path in library.rglob("*.py") if "IPython" in path.read_text(encoding="utf-8")]
