"""Average precision over latency, a dot for each detector."""

from __future__ import annotations

import io
from collections.abc import Sequence

from vocdet.plots.dataset import FAINT, INK, LINES, PAPER
from vocdet.plots.fonts import drawable, shortened
from vocdet.plots.training import COLORS

_LONGEST = 40  # characters of a name
_SHAPES = "os^D"


def trade_off(points: Sequence[tuple[str, float, float | None]]) -> bytes:
    """A PNG of 1000 x 650 pixels of detectors: name, milliseconds an image, and AP; one without AP is left out."""
    import matplotlib
    from matplotlib.figure import Figure

    names, families = drawable([name for name, _, _ in points])
    style = {"font.family": families, "font.size": 10.5, "text.parse_math": False, "text.color": INK}
    with matplotlib.rc_context(style):  # type: ignore[arg-type]  # its keys are literals
        figure = Figure(figsize=(10, 6.5), dpi=100, facecolor=PAPER)
        axes = figure.add_axes((0.08, 0.1, 0.89, 0.8))
        for i, (name, (_, milliseconds, ap)) in enumerate(zip(names, points, strict=True)):
            if ap is None:
                continue
            shape, color = _SHAPES[i // len(COLORS) % len(_SHAPES)], COLORS[i % len(COLORS)]
            label = shortened(name, _LONGEST)
            axes.scatter([milliseconds], [ap], marker=shape, color=color, s=60, zorder=3, label=label)
        axes.margins(x=0.15, y=0.15)
        axes.set_xlim(left=0)
        if any(ap is not None for _, _, ap in points):
            axes.legend(frameon=False)
        axes.set_xlabel("ms an image, median")
        axes.set_title("AP over latency", loc="left", fontsize=14)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color(FAINT)
        axes.grid(color=LINES)
        file = io.BytesIO()
        figure.savefig(file, format="png")
    return file.getvalue()
