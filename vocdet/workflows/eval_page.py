"""The page of an evaluation, and its plots as pictures."""

from __future__ import annotations

from pathlib import Path

from vocdet.evaluation.report import EvalReport
from vocdet.files import write_text
from vocdet.plots.evaluation import PLOTS, evaluation_plot
from vocdet.plots.report_page import PageFacts, report_html
from vocdet.workflows.eval_options import EvalOptions


def write_page(report: EvalReport, about: PageFacts, folder: Path, options: EvalOptions) -> Path:
    """Write `report-<split>.html`, and with `options.plots` its plots into `plots-<split>`; the path of the page."""
    page = folder / f"report-{options.split}.html"
    write_text(page, report_html(report, about))
    for name in PLOTS if options.plots else ():
        evaluation_plot(report, name).save(folder / f"plots-{options.split}")
    return page
