"""The result of an evaluation, with its page and its pictures."""

from __future__ import annotations

from dataclasses import dataclass, fields

from vocdet.errors import ArgumentError
from vocdet.evaluation import report
from vocdet.plots import notebook
from vocdet.plots.evaluation import PLOTS, Plot, evaluation_plot
from vocdet.plots.report_page import PageFacts, report_html
from vocdet.wording import listed

_COLUMNS = {"objects": "objects", "AP50": "ap50", "AP": "ap", "precision": "precision", "recall": "recall", "F1": "f1"}


@dataclass(frozen=True, slots=True, repr=False)
class EvalReport(report.EvalReport):
    """The result of an evaluation: a row for every label, the same over all, and COCO's twelve metrics.

    A notebook shows it as a table with its curves and its confusion matrix.

    >>> report = vocdet.evaluate("shelf", detector)
    >>> report.images
    2
    >>> report.overall.objects
    4
    >>> report.plot("confusion")
    <plot of confusion>
    """

    __repr__ = report.EvalReport.__repr__

    @classmethod
    def of(cls, other: report.EvalReport) -> EvalReport:
        """The same result with this page and these pictures."""
        return cls(**{field.name: getattr(other, field.name) for field in fields(other)})

    def plot(self, name: str) -> Plot:
        """A picture: precision-recall, f1, confusion or reliability; an `ArgumentError` for another name.

        It has the bytes `png` and `svg`, and `save(folder)` writes both.
        """
        if name not in PLOTS:
            raise ArgumentError(f"there is no plot {name!r}", hint=f"the plots are {listed(list(PLOTS), most=8)}")
        return evaluation_plot(self, name)

    def to_html(self, title: str = "Evaluation") -> str:
        """The page of the evaluation, which `vocdet.write_report` writes: it needs neither a server nor a network."""
        return report_html(self, PageFacts(title))

    def _repr_html_(self) -> str:
        rows = [("all", self.overall), *((row.label, row) for row in self.labels)]
        values = [(name, *(getattr(row, key) for key in _COLUMNS.values())) for name, row in rows]
        shown = ("precision-recall", "confusion") if self.evidence is not None else ()
        pictures = (notebook.png(self.plot(name).png, 480, alt=name) for name in shown)
        return notebook.heading(repr(self)[1:-1]) + notebook.table(("", *_COLUMNS), values) + "".join(pictures)
