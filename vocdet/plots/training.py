"""The course of a training as one picture: losses, metrics, labels and learning rate by epoch."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vocdet.plots.dataset import FAINT, INK, LINES, PAPER
from vocdet.plots.fonts import drawable, shortened
from vocdet.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Epochs = Sequence[Mapping[str, float]]  # of every epoch
Series = dict[str, NDArray[np.float64]]  # (E,) by epoch; NaN if an epoch has no value

COLORS = ("#3d7ea6", "#c8553d", "#efaa45", "#5b9a68", "#8168a8", "#7c8994", "#b0728f", "#3b4a57")
MOST_LINES = 8  # labels with a line each; for more, the spread is drawn
DOTTED = 25  # maximum number of epochs with a dot each
STEEP = 30.0  # a loss that falls by this factor is drawn on a logarithmic scale
LONGEST_LINE_NAME = 24  # characters of a label


def curves(rows: Epochs, *, labels: Epochs = (), title: str = "", best: int = 0, label_metric: str = "AP50") -> bytes:
    """A PNG of 1400 x 900 pixels of the epochs so far.

    A row has `epoch`, and any of `train_*` losses, `val_loss`, other `val_*` as metrics, `lr` and
    `images_per_second`. `labels` are rows with `epoch` and the `label_metric` of every label. `best` is the best epoch;
    0: none. Values that are missing or not finite are gaps.
    """
    if not rows:
        raise ValueError("no epoch to draw")
    import matplotlib
    from matplotlib.figure import Figure

    names = [name for name in dict.fromkeys(name for row in labels for name in row) if name != "epoch"]
    (*shown, head), families = drawable([*names, title])
    style: dict[Any, Any] = {
        "font.family": families, "font.size": 10.5, "text.parse_math": False, "text.color": INK,
        "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titlesize": 12, "axes.titlelocation": "left",
        "axes.titlepad": 9, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": LINES, "xtick.color": INK, "ytick.color": INK, "lines.linewidth": 1.7,
        "legend.frameon": False, "legend.fontsize": 9.5,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(14, 9), dpi=100, facecolor=PAPER)
        figure.text(0.012, 0.952, shortened(head, 60) if head == title else "training", fontsize=18)
        figure.text(0.0125, 0.921, _subtitle(rows, best), fontsize=11, color=FAINT)
        # fixed positions: an automatic layout takes longer than the drawing
        grid = figure.add_gridspec(2, 2, left=0.055, right=0.985, top=0.86, bottom=0.115, hspace=0.48, wspace=0.17)
        _draw_losses(figure.add_subplot(grid[0, 0]), rows, best)
        _draw_metrics(figure.add_subplot(grid[0, 1]), rows, best)
        _draw_labels(figure.add_subplot(grid[1, 1]), labels, dict(zip(names, shown, strict=True)), label_metric, best)
        _draw_rate(figure.add_subplot(grid[1, 0]), rows)
        file = io.BytesIO()
        figure.savefig(file, format="png")
    return file.getvalue()


def is_metric(name: str) -> bool:
    """Whether a column holds a validation metric other than the loss."""
    return name.startswith("val_") and name != "val_loss"


def _subtitle(rows: Epochs, best: int) -> str:
    last = rows[-1]
    texts = [counted(int(last["epoch"]), "epoch")]
    seconds = last.get("seconds", math.nan)
    if math.isfinite(seconds):
        minutes = round(seconds / 60)
        texts.append(f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min")
    row = next((row for row in reversed(rows) if row["epoch"] == best), None)
    if row:
        metrics = [f"{name[4:]} {value:.3f}" for name, value in row.items() if is_metric(name) and math.isfinite(value)]
        texts.append(", ".join([f"best: epoch {best}", *metrics]))
    return "   ·   ".join(texts)


def _draw_losses(axes: Axes, rows: Epochs, best: int) -> None:
    """The training losses with their sum, and the validation loss."""
    series = _series(rows, lambda name: name.startswith("train_") or name == "val_loss")
    losses = {name[6:]: values for name, values in series.items() if name.startswith("train_")}
    if len(losses) > 1 and "loss" not in losses:
        losses = {"training": np.sum(list(losses.values()), axis=0)} | losses
    elif losses:
        first, *others = losses
        losses = {"training": losses[first]} | {name: losses[name] for name in others}
    lines = losses | ({"validation": series["val_loss"]} if "val_loss" in series else {})
    for i, (name, values) in enumerate(lines.items()):
        whole = name in ("training", "validation")
        color = COLORS[1] if name == "validation" else COLORS[0] if whole else COLORS[2 + (i - 1) % 6]
        _line(axes, rows, values, name, color, thin=not whole)
    drawn = np.concatenate(list(lines.values())) if lines else np.zeros(0)
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size and drawn.min() > 0 and drawn.max() > STEEP * drawn.min():
        axes.set_yscale("log")
    elif drawn.size:
        axes.set_ylim(bottom=0)
    _finish(axes, "Loss", rows, best, empty="no loss yet")


def _draw_metrics(axes: Axes, rows: Epochs, best: int) -> None:
    """The validation metrics."""
    series = _series(rows, is_metric)
    for i, (name, values) in enumerate(series.items()):
        _line(axes, rows, values, name[4:].replace("_", " "), COLORS[i % len(COLORS)])
    if series:
        axes.set_ylim(0, 1.02 if max(np.nanmax(values) for values in series.values()) <= 1 else None)
    _finish(axes, "Validation", rows, best, empty="no validation")


def _draw_labels(axes: Axes, labels: Epochs, names: Mapping[str, str], metric: str, best: int) -> None:
    """A metric of every label: a line each; for many labels the spread, the median and the worst three."""
    series = _series(labels, lambda name: name != "epoch")
    title = f"{metric} of every label on the validation split"
    if 0 < len(series) <= MOST_LINES:
        ends = {name: values[np.isfinite(values)][-1] for name, values in series.items()}
        for i, name in enumerate(sorted(series, key=lambda name: -ends[name])):
            _line(axes, labels, series[name], shortened(names[name], LONGEST_LINE_NAME), COLORS[i % len(COLORS)])
    elif series:
        values = np.stack(list(series.values()))  # (L, E)
        with np.errstate(all="ignore"):
            low, lower, median, upper, high = (
                np.array([np.quantile(c[np.isfinite(c)], q) if np.isfinite(c).any() else math.nan for c in values.T])
                for q in (0, 0.25, 0.5, 0.75, 1)
            )
        x = _epoch_numbers(labels)
        axes.fill_between(x, low, high, color=COLORS[0], alpha=0.12, linewidth=0, label="all labels")
        axes.fill_between(x, lower, upper, color=COLORS[0], alpha=0.25, linewidth=0, label="middle half")
        _line(axes, labels, median, "median", COLORS[0])
        ends = {name: line[np.isfinite(line)][-1] for name, line in series.items()}
        for i, name in enumerate(sorted(ends, key=lambda name: ends[name])[:3]):
            _line(axes, labels, series[name], shortened(names[name], LONGEST_LINE_NAME), COLORS[1 + i], thin=True)
        title = f"{metric} of {len(series)} labels on the validation split; the three worst are named"
    if series:
        axes.set_ylim(0, 1.02)
    _finish(axes, title, labels, best, empty="no metrics by label")


def _draw_rate(axes: Axes, rows: Epochs) -> None:
    """The learning rate, and the speed of training on the right."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    series = _series(rows, lambda name: name in ("lr", "images_per_second"))
    if "lr" in series:
        _line(axes, rows, series["lr"], "learning rate", COLORS[0])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    _finish(axes, "Learning rate", rows, 0, empty="no learning rate")
    speed = series.get("images_per_second")
    if speed is not None:
        right = axes.twinx()
        _line(right, rows, speed, "images per second", COLORS[5], thin=True)
        right.set_ylim(0, 1.25 * np.nanmax(speed) or 1)
        right.yaxis.set_major_locator(MaxNLocator(5))
        right.grid(False)
        right.spines["right"].set_visible(True)
        right.set_ylabel("images per second", color=FAINT)
        axes.set_title("Learning rate, and images per second")
        handles = [*axes.get_lines(), *right.get_lines()]
        _legend(axes, len(handles), handles=handles)


def _series(rows: Epochs, selected: Callable[[str], bool]) -> Series:
    """The selected columns in order of occurrence, without those that have no number."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if selected(name)]
    columns = {name: np.array([row.get(name, math.nan) for row in rows], np.float64) for name in names}
    columns = {name: np.where(np.isfinite(values), values, math.nan) for name, values in columns.items()}
    return {name: values for name, values in columns.items() if np.isfinite(values).any()}


def _epoch_numbers(rows: Epochs) -> NDArray[np.float64]:
    return np.array([row["epoch"] for row in rows], np.float64)


def _line(axes: Axes, rows: Epochs, values: NDArray[np.float64], name: str, color: str, *, thin: bool = False) -> None:
    """A line through the epochs that have a value; it bridges epochs without validation."""
    known = np.isfinite(values)
    marker = "o" if known.sum() <= DOTTED else ""
    label = f" {name}" if name.startswith("_") else name  # matplotlib hides labels that begin with _
    axes.plot(
        _epoch_numbers(rows)[known], values[known], color=color, label=label, marker=marker, markersize=3.5,
        linewidth=1.1 if thin else None, alpha=0.85 if thin else None,
    )  # fmt: skip


def _finish(axes: Axes, title: str, rows: Epochs, best: int, *, empty: str) -> None:
    """The title of a panel, its epochs, its legend, and a mark at the best epoch."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title)
    lines = axes.get_legend_handles_labels()[0]
    if not lines:
        axes.set_axis_off()
        axes.text(0, 0.97, empty, transform=axes.transAxes, color=FAINT, va="top")
        return
    epochs = _epoch_numbers(rows)
    margin = 0.02 * (epochs[-1] - epochs[0]) or 1.0  # of one epoch: its two neighbors
    axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("epoch")
    if best:
        axes.axvline(best, color=FAINT, linewidth=1, linestyle=(0, (3, 3)), zorder=1, label="_best")
    _legend(axes, len(lines))


def _legend(axes: Axes, lines: int, **more: Any) -> None:
    """The legend, below the panel and clear of the lines."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.2, ncols=min(lines, 4),
                columnspacing=1.4, **more)  # fmt: skip
