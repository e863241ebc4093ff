"""The plots of an evaluation as pictures: precision and recall, F1, confusion, reliability."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from vocdet.evaluation.report import EvalReport
from vocdet.files import make_folder, write_bytes
from vocdet.plots.dataset import FAINT, HEAT, INK, LINES, PAPER
from vocdet.plots.fonts import drawable, shortened
from vocdet.plots.training import COLORS, LONGEST_LINE_NAME, MOST_LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LABELS = 30  # of a confusion matrix
MOST_NUMBERS = 14  # labels of a matrix with its numbers
_Draw: TypeAlias = "Callable[[Axes, EvalReport, list[str]], None]"


@dataclass(frozen=True, slots=True, repr=False)
class Plot:
    """A plot as a picture, which a notebook shows."""

    name: str
    png: bytes
    svg: bytes

    def __repr__(self) -> str:
        return f"<plot of {self.name.replace('-', ' ')}>"

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write the plot as PNG and as SVG into a folder, which is made if it is missing; both paths."""
        target = Path(folder)
        make_folder(target)
        paths = target / f"{self.name}.png", target / f"{self.name}.svg"
        write_bytes(paths[0], self.png)
        write_bytes(paths[1], self.svg)
        return paths


def evaluation_plot(report: EvalReport, name: str) -> Plot:
    """One of `PLOTS` of an evaluation."""
    import matplotlib
    from matplotlib.figure import Figure

    names, families = drawable([row.label for row in report.labels])
    style: dict[Any, Any] = {
        "font.family": families, "font.size": 10.5, "text.parse_math": False, "text.color": INK,
        "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.axisbelow": True, "axes.spines.top": False,
        "axes.spines.right": False, "axes.grid": True, "grid.color": LINES, "xtick.color": INK, "ytick.color": INK,
        "lines.linewidth": 1.7, "legend.frameon": False, "legend.fontsize": 9.5, "svg.hashsalt": name,
        "svg.fonttype": "none",
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8, 6.4 if name == "confusion" else 5), dpi=120, facecolor=PAPER, layout="constrained")
        PLOTS[name](figure.add_subplot(), report, [shortened(one, LONGEST_LINE_NAME) for one in names])
        return Plot(name, _bytes(figure, "png"), _bytes(figure, "svg"))


def _bytes(figure: Figure, format: Literal["png", "svg"]) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=format, metadata={"Date": None} if format == "svg" else None)
    return file.getvalue()


def _largest(report: EvalReport) -> list[int]:
    """The labels to draw: those with the most objects, in the order of the report."""
    count = np.array([row.objects for row in report.labels])
    return sorted(np.argsort(-count, kind="stable")[: min(MOST_LINES, int((count > 0).sum()))].tolist())


def _draw_precision(axes: Axes, report: EvalReport, names: list[str]) -> None:
    for color, i in zip(COLORS, _largest(report), strict=False):
        curve = report.curves[i]
        axes.plot(curve.recall, curve.precision, color=color, label=names[i])
    _finish(axes, report, "precision by recall, at IoU .5", "recall", "precision")


def _draw_f1(axes: Axes, report: EvalReport, names: list[str]) -> None:
    for color, i in zip(COLORS, _largest(report), strict=False):
        curve = report.curves[i]
        axes.plot(curve.scores, curve.f1, color=color, label=names[i])
        axes.axvline(report.labels[i].threshold, color=color, linewidth=0.8, linestyle=":")
    _finish(axes, report, "F1 by score threshold; dotted: the threshold", "score threshold", "F1")


def _finish(axes: Axes, report: EvalReport, title: str, x: str, y: str) -> None:
    shown, every = len(axes.get_legend_handles_labels()[1]), sum(row.objects > 0 for row in report.labels)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=x, ylabel=y)
    axes.set_title(title if shown == every else f"{title}: the {shown} labels with the most objects", loc="left")
    if shown:
        axes.legend(loc="best")


def _draw_confusion(axes: Axes, report: EvalReport, names: list[str]) -> None:
    matrix = report.confusion.matrix
    last = len(names)
    involved = matrix.sum(axis=0)[:last] + matrix.sum(axis=1)[:last]
    rows = [*sorted(np.argsort(-involved, kind="stable")[:MOST_LABELS].tolist()), last]
    shown = matrix[np.ix_(rows, rows)]
    shares = shown / np.maximum(matrix[rows].sum(axis=1, keepdims=True), 1)
    axes.grid(visible=False)
    axes.imshow(shares, cmap=HEAT, vmin=0, vmax=1)
    texts = [*(names[i] for i in rows[:-1]), "background"]
    axes.set_xticks(range(len(rows)), texts, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), texts)
    axes.set(xlabel="detection", ylabel="object")
    left = f", {len(rows) - 1} of {last} labels" if len(rows) <= last else ""
    axes.set_title(f"objects by detections at the thresholds; color: share of the row{left}", loc="left", fontsize=11)
    if len(rows) <= MOST_NUMBERS + 1:
        for (i, j), count in np.ndenumerate(shown):
            if count:
                axes.text(j, i, str(count), ha="center", va="center", color=PAPER if shares[i, j] > 0.55 else INK)


def _draw_reliability(axes: Axes, report: EvalReport, _: list[str]) -> None:
    calibration = report.calibration
    bins = [one for one in calibration.bins if one.score is not None and one.correct is not None]
    axes.bar([one.score or 0 for one in bins], [one.correct or 0 for one in bins], width=0.07, color=COLORS[0])
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", label="score = share")
    error = "no detections" if calibration.error is None else f"mean distance {calibration.error:.3f}"
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score", ylabel="share of detections that are correct")
    axes.set_title(f"reliability of the scores, at IoU .5: {error}", loc="left")
    axes.legend(loc="upper left")


PLOTS: Mapping[str, _Draw] = MappingProxyType({
    "precision-recall": _draw_precision,
    "f1": _draw_f1,
    "confusion": _draw_confusion,
    "reliability": _draw_reliability,
})  # fmt: skip
