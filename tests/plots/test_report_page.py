"""The page of an evaluation, in a real browser: what it shows, by mouse and by keyboard, on a phone and on a desktop."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser import Browser
from tests.evaluation.conftest import Make
from vocdet.data.dataset import Images
from vocdet.evaluation.report import EvalReport, evaluate
from vocdet.plots.report_page import PageFacts, report_html

EVIL = "</script><script>alert(1)</script>"
LABELS = ("cat", EVIL)
NAMES = ("a.jpg", '"><img src=x>.jpg', "gone.jpg")
THING, OTHER = (10.0, 10.0, 60.0, 60.0), (100.0, 100.0, 180.0, 160.0)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> EvalReport:
    """Two cats and two of the other label: one each is correct, one is confused, one is missed; one false detection."""
    root = tmp_path_factory.mktemp("images")
    for name in NAMES[:2]:
        Image.new("RGB", (200, 200), (90, 120, 90)).save(root / name)
    truth = Make().truth(LABELS, [[("cat", THING), (EVIL, OTHER)], [("cat", THING), (EVIL, OTHER)], []])
    size = np.full(3, 200, np.int32)
    table = Images(("a", "b", "c"), NAMES, size, size, ("",) * 3)
    found = Make().found(LABELS, [
        [("cat", 0.9, THING), (EVIL, 0.8, OTHER)], [(EVIL, 0.7, THING)], [("cat", 0.6, OTHER)],
    ])  # fmt: skip
    return evaluate(
        replace(truth, root=root, images=table), found, thresholds=np.full(2, 0.5, np.float32), resamples=20
    )


@pytest.fixture(scope="module")
def page(report: EvalReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    about = PageFacts(
        f"run {EVIL}",
        {"network": EVIL},
        {"train.lr": "0.1"},
        [f"vocdet eval {EVIL}"],
        {"epoch": [1, 2], "val_ap50": [None, 0.5]},
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_html(report, about), encoding="utf-8")
    return path


def test_the_data_cannot_end_their_script(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert [row["label"] for row in json.loads(data)["labels"]] == [*LABELS]
    assert len(text) < 15_000_000
    assert not re.search(r'(?:src|href)="https?:', text.split('<script type="text/plain"')[0])


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1600, False)])
def test_it_fits_and_is_accessible(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    assert browser.value("document.documentElement.scrollWidth") <= width
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(20, 23, 27)") == dark
    browser.value((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8") + ";0")
    assert browser.value("axe.run(document).then(all => all.violations.map(one => one.id))") == []
    assert browser.problems == []


def test_names_are_shown_as_text(browser: Browser, page: Path) -> None:
    browser.open(page, width=1600)
    assert browser.value('document.querySelector("h1").textContent') == f"run {EVIL}"
    assert EVIL in browser.value('document.getElementById("label-table").textContent')
    assert EVIL in browser.value('document.querySelector("#pr .legend").textContent')
    captions = browser.value('[...document.querySelectorAll("figcaption")].map(one => one.firstChild.textContent)')
    assert captions == [f"{NAMES[1]}: 3 errors"]  # gone.jpg cannot be read, and a.jpg has no error
    assert browser.value('document.querySelectorAll("script").length') == 3
    assert browser.value('document.querySelectorAll("img:not([src^=data])").length') == 0
    assert browser.problems == []


def test_the_threshold_moves_counts_and_boxes(browser: Browser, page: Path) -> None:
    browser.open(page, width=1600)
    counts, boxes = 'document.getElementById("counts").textContent', 'document.querySelectorAll("rect.false").length'
    assert "2 correct · 2 false · 2 not detected" in browser.value(counts)
    assert browser.value(boxes) == 1
    browser.value('document.getElementById("threshold").focus()')
    browser.press("End")
    assert "threshold 1.00 · 0 correct · 0 false · 4 not detected" in browser.value(counts)
    assert browser.value(boxes) == 0
    caption = 'document.querySelector("figcaption").firstChild.textContent'
    assert browser.value(caption) == f"{NAMES[1]}: 2 errors"  # the false detection is gone
    assert browser.value('document.getElementById("gallery-threshold").value') == "1"
    browser.press("Tab")
    browser.press("Enter")  # each label's own
    assert "2 correct" in browser.value(counts)
    browser.value('document.getElementById("show-detections").click()')
    assert browser.value(boxes) == 0
    assert browser.value('document.querySelectorAll("rect.missed").length') == 2


def test_a_number_of_the_matrix_shows_its_images(browser: Browser, page: Path) -> None:
    browser.open(page, width=1600)
    cells = 'JSON.stringify([...document.querySelectorAll("#matrix tbody tr")].map(r => [...r.cells].slice(1).map(c => c.textContent)))'
    assert json.loads(browser.value(cells)) == [["1", "1", "·"], ["·", "1", "1"], ["1", "·", "·"]]
    shown = 'document.getElementById("shown").textContent'
    browser.value("document.querySelector('#matrix button[data-cell=\"0,1\"]').focus()")
    browser.press("Enter")
    assert browser.value(shown) == f"1 of 1 images: object cat, detection {EVIL}"
    browser.value("document.querySelector('#matrix button[data-cell=\"2,0\"]').click()")
    assert browser.value(shown).startswith("0 of 1 images")
    browser.value('document.getElementById("all").click()')
    assert browser.value(shown) == "1 of 1 images"


def test_a_heading_sorts_the_labels(browser: Browser, page: Path) -> None:
    browser.open(page, width=1600)
    first = 'document.querySelector("#label-table tbody th").textContent'
    browser.value('document.querySelector("#label-table thead button").focus()')
    browser.press("Enter")
    assert browser.value(first) == EVIL  # before a letter
    browser.press("Enter")
    assert browser.value(first) == "cat"
    assert browser.value('document.querySelector("#label-table thead th").getAttribute("aria-sort")') == "descending"
    assert browser.problems == []


def test_metrics_counts_and_errors_show_their_intervals(browser: Browser, page: Path) -> None:
    browser.open(page, width=1600)
    text = browser.value(
        'JSON.stringify([...document.querySelectorAll("#label-table td, #error-table td")].map(c => c.textContent))'
    )
    below = [cell.partition("\n")[2] for cell in json.loads(text)]
    assert sum(bool(re.fullmatch(r"\d+–\d+", one)) for one in below) == 2 * 4 + 6  # counts of labels, of errors
    assert "(0." in browser.value('document.getElementById("calibration-note").textContent')


def test_without_objects_there_is_a_page(report: EvalReport) -> None:
    assert report.evidence is not None
    dataset = report.evidence.dataset.subset([2])
    text = report_html(evaluate(dataset, Make().found(LABELS, [[]])), PageFacts("nothing"))
    assert "<title>nothing</title>" in text
