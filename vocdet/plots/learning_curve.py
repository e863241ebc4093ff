"""A metric by the number of training images as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from vocdet.evaluation.learning_curve import CurveFit
from vocdet.plots.dataset import FAINT, INK, LINES, PAPER
from vocdet.plots.fonts import drawable, shortened
from vocdet.plots.training import COLORS, LONGEST_LINE_NAME, MOST_LINES

Line = tuple[str, Sequence[float | None], CurveFit | None]


def curve_picture(sizes: Sequence[int], lines: Sequence[Line], title: str) -> bytes:
    """A PNG of AP50 by the number of images, with the fits continued to twice as many; the last line is of all labels.

    Of many labels, those with the most to gain are drawn.
    """
    import matplotlib
    from matplotlib.figure import Figure

    some = sorted(lines[:-1], key=lambda line: -line[2].gain[1] if line[2] else 0.0)[: MOST_LINES - 1]
    (*names, head), families = drawable([*(line[0] for line in some), title])
    style: dict[Any, Any] = {
        "font.family": families, "font.size": 10.5, "text.parse_math": False, "text.color": INK,
        "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": LINES, "xtick.color": INK, "ytick.color": INK, "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(10, 6.5), dpi=100, facecolor=PAPER)
        axes = figure.add_axes((0.08, 0.11, 0.68, 0.78))
        figure.text(0.08, 0.93, shortened(head, 60), fontsize=16)
        for i, (name, (_, values, fit)) in enumerate(zip([*names, "all labels"], [*some, lines[-1]], strict=True)):
            color, wide = (INK, 2.4) if i == len(some) else (COLORS[i], 1.4)
            known = [(size, value) for size, value in zip(sizes, values, strict=True) if value is not None]
            axes.plot(
                *zip(*known, strict=True), "o", color=color, label=shortened(name, LONGEST_LINE_NAME)
            ) if known else None
            if fit:
                x = np.geomspace(sizes[0], 2 * sizes[-1], 60)
                axes.plot(x, 1 - (1 - fit.now) * (x / sizes[-1]) ** -fit.exponent, color=color, linewidth=wide)
                beside = 2 * sizes[-1] * 1.03 ** (i - len(some) / 2)
                axes.plot([beside, beside], [fit.low, fit.high], color=color, linewidth=wide, marker="_")
        axes.set_xscale("log")
        axes.set_xticks([*sizes, 2 * sizes[-1]], [str(size) for size in (*sizes, 2 * sizes[-1])])
        axes.minorticks_off()
        axes.set_ylim(0, 1)
        axes.set_xlabel("training images")
        axes.set_ylabel("AP50")
        figure.legend(loc="center left", bbox_to_anchor=(0.77, 0.5))
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
