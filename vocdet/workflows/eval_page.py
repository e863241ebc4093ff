"""The page of an evaluation, and its plots as pictures."""

from __future__ import annotations

from pathlib import Path

from vocdet.evaluation.report import EvalReport
from vocdet.files import write_text
from vocdet.plots.evaluation import PLOTS, evaluation_plot
from vocdet.plots.report_page import PageFacts, report_html


def write_page(report: EvalReport, about: PageFacts, folder: Path, split: str) -> Path:
    """Write `report-<split>.html`, and `plots-<split>` with its plots as PNG and SVG; the path of the page."""
    page = folder / f"report-{split}.html"
    write_text(page, report_html(report, about))
    for name in PLOTS:
        evaluation_plot(report, name).save(folder / f"plots-{split}")
    return page
