"""The result of an evaluation draws itself."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import pytest

import vocdet
from tests.evaluation.conftest import Make
from vocdet.api.report import EvalReport
from vocdet.evaluation.report import evaluate
from vocdet.plots.evaluation import PLOTS

EVIL = "</script><b>"
BOX = (10.0, 10.0, 60.0, 60.0)


@pytest.fixture(scope="module")
def report() -> EvalReport:
    make = Make()
    truth = make.truth(("cat", EVIL), [[("cat", BOX), (EVIL, (80.0, 80.0, 120.0, 120.0))]] * 3)
    found = make.found(("cat", EVIL), [[("cat", 0.9, BOX), (EVIL, 0.3, BOX)]] * 3)
    return EvalReport.of(evaluate(truth, found))


def test_a_plot_is_a_picture_with_the_names_and_counts(report: EvalReport, tmp_path: Path) -> None:
    plot = report.plot("confusion")
    assert repr(plot) == "<plot of confusion>"
    png, svg = plot.save(tmp_path / "new")
    assert png.read_bytes()[:4] == b"\x89PNG"
    text = svg.read_text(encoding="utf-8")
    assert text.lstrip().startswith("<?xml")
    assert escape(EVIL, quote=False) in text
    assert EVIL not in text
    assert text.count(">3<") == 2  # cats that are correct, objects of the other label that are missed


def test_an_unknown_plot_is_an_error_with_the_names(report: EvalReport) -> None:
    with pytest.raises(vocdet.ArgumentError, match="no plot 'roc'") as error:
        report.plot("roc")
    assert all(name in (error.value.hint or "") for name in PLOTS)


def test_a_notebook_shows_a_table_with_pictures(report: EvalReport) -> None:
    shown = re.sub(r' style="[^"]*"', "", report._repr_html_())
    assert f"<th>{escape(EVIL)}</th><td>3</td>" in shown
    assert EVIL not in shown
    assert shown.count("<img ") == 2


def test_the_page_is_also_a_text(report: EvalReport) -> None:
    assert "<title>shelf</title>" in report.to_html("shelf")
