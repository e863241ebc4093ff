"""The statistics of a dataset as one picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vocdet.data.stats import GRID, MEDIUM, SMALL, Histogram, Stats
from vocdet.plots.fonts import drawable, shortened
from vocdet.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_FORMATS = ("png", "svg", "pdf")

INK, FAINT, LINES, PAPER = "#22303c", "#7c8994", "#e4e8ec", "#ffffff"
BAR = "#3d7ea6"
SPLIT_COLORS = {"train": "#3d7ea6", "val": "#efaa45", "test": "#c8553d", "trainval": "#6aa5c6", "no split": "#c3ccd4"}
HEAT = "YlGnBu"

FEW_LABELS = 9  # labels that fit into half the height
MOST_BARS, RAREST = 40, 10  # labels with a bar; with more labels, this many bars are of the rarest
MOST_CELLS, WRITTEN_CELLS = 16, 12  # labels in the table of pairs; labels up to which its cells have numbers
LONGEST_TICK = 22  # characters of a label
MOST_COLUMNS = 30  # bars of objects per image
FILLED = 6  # objects per cell of the map of centers, on average; with fewer it would show noise

Draw = Callable[["Axes", Stats, list[str]], None]  # with the displayed labels


def picture(statistics: Stats, title: str, *, format: str = "png") -> bytes:
    """The picture as a file of one of `PLOT_FORMATS`: labels, sizes, shapes, objects per image, positions, pairs.

    A label that no installed font can draw becomes `#` and its number in the list of labels, from 1.
    """
    import matplotlib
    from matplotlib.figure import Figure

    (*names, head), families = drawable([*statistics.labels, title])
    head = head if head == title else "the dataset"
    style: dict[Any, Any] = {
        "font.family": families, "font.size": 9.5, "text.parse_math": False, "text.color": INK,
        "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titlesize": 11.5, "axes.titlelocation": "left",
        "axes.titlepad": 9, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
        "grid.color": LINES, "xtick.color": INK, "ytick.color": INK, "xtick.major.size": 3, "ytick.major.size": 3,
        "svg.fonttype": "path",
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(16, 9.6), dpi=100, facecolor=PAPER)
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 0.9), w_pad=0.14, h_pad=0.12, wspace=0.03, hspace=0.05)
        figure.text(0.012, 0.955, shortened(head, 60), fontsize=19)
        figure.text(0.0125, 0.924, _dataset_subtitle(statistics), fontsize=11, color=FAINT)
        grid = figure.add_gridspec(2, 4, width_ratios=(1.3, 1, 1, 1))
        for rows, columns, draw in _panels(statistics):
            draw(figure.add_subplot(grid[rows, columns]), statistics, [shortened(name, LONGEST_TICK) for name in names])
        file = io.BytesIO()
        figure.savefig(file, format=format)
    return file.getvalue()


def _panels(statistics: Stats) -> list[tuple[slice, slice, Draw]]:
    """The rows and columns of every panel, in a grid of two rows and four columns."""
    top, bottom, both = slice(0, 1), slice(1, 2), slice(0, 2)
    few = len(statistics.labels) <= FEW_LABELS
    last = _draw_pairs if len(statistics.pairs) else _draw_image_sizes
    return [
        (top if few else both, slice(0, 1), _draw_label_counts),
        (top, slice(1, 2), _draw_sizes),
        (top, slice(2, 3), _draw_shapes),
        (top, slice(3, 4), _draw_objects_per_image),
        (bottom, slice(0 if few else 1, 2), _draw_centers),
        (bottom, slice(2, 4), last),
    ]


def _dataset_subtitle(statistics: Stats) -> str:
    least, median, most = statistics.min_median_max()
    width, height, count = statistics.image_sizes[0]
    share = "all" if count == statistics.images else _percent(count / statistics.images)
    flags = [
        f"{count:,} {'with a mask' if name == 'mask' else name}" for name, count in statistics.flags.items() if count
    ]
    objects, labels = int(statistics.objects.sum()), len(statistics.labels)
    return "   ·   ".join([
        *(f"{count:,} {noun}" if count != 1 else f"1 {noun[:-1]}" for count, noun in (
            (statistics.images, "images"), (objects, "objects"), (labels, "labels"),
        )),
        f"{least} to {most} objects per image, median {median}",
        f"{share} of {width} × {height} pixels",
        *flags,
    ])  # fmt: skip


def _draw_label_counts(axes: Axes, statistics: Stats, names: list[str]) -> None:
    """Objects of every label as a bar in the colors of the splits."""
    order = statistics.order().tolist()
    hidden = max(len(order) - MOST_BARS, 0)
    shown = [*order[: MOST_BARS - RAREST], *order[-RAREST:]] if hidden else order
    place = np.arange(len(shown)) + (np.arange(len(shown)) >= MOST_BARS - RAREST if hidden else 0)
    left = np.zeros(len(shown))
    by_split = {name: objects for name, (_, objects) in statistics.splits.items()}
    for split, objects in (by_split | {"no split": statistics.in_no_split[1]}).items():
        if objects.any():
            color = SPLIT_COLORS.get(split, BAR) if by_split else BAR
            axes.barh(place, objects[shown], 0.72, left, color=color, label=split)
            left += objects[shown]
    for y, end, row in zip(place, left, shown, strict=True):
        axes.text(end, y, f" {statistics.objects[row]:,}", va="center", fontsize=8.5, color=FAINT)
    ticks, texts = place.tolist(), [names[row] for row in shown]
    if hidden:
        ticks, texts = [*ticks, MOST_BARS - RAREST], [*texts, f"… {hidden} more …"]
    axes.set_yticks(ticks, texts)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(max(place[-1], 4) + 0.6, -0.6), xlim=(0, left.max() * 1.15))
    axes.spines["left"].set_visible(False)
    _finish_axes(axes, "Objects of each label", counts="x")
    if by_split:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=2.2, ncols=4, frameon=False)


def _draw_sizes(axes: Axes, statistics: Stats, _: list[str]) -> None:
    """Sizes in pixels, with COCO's limits of small and medium objects."""
    _log_bars(axes, statistics.sizes)
    low, high = statistics.sizes.edges[[0, -1]]
    bounds = [low, *np.clip(np.sqrt((SMALL, MEDIUM)), low, high), high]
    groups = statistics.groups[-1] / max(statistics.groups[-1].sum(), 1)
    for name, share, left, right in zip(("small", "medium", "large"), groups, bounds, bounds[1:], strict=False):
        if right > left * 1.4:
            axes.text(np.sqrt(left * right), 1.0, f"{name}\n{_percent(share)}", transform=axes.get_xaxis_transform(),
                      ha="center", va="top", fontsize=8.5, color=FAINT)  # fmt: skip
        if low < right < high:
            axes.axvline(right, color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_ylim(top=axes.get_ylim()[1] * 1.18)
    octaves = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    ticks = octaves[:: len(octaves) // 8 + 1]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(
        "pixels: square root of the box area" + ("; groups by mask area" if statistics.flags["mask"] else "")
    )
    _finish_axes(axes, "Object sizes", counts="y")


def _draw_shapes(axes: Axes, statistics: Stats, _: list[str]) -> None:
    """Width by height."""
    _log_bars(axes, statistics.shapes)
    used = np.flatnonzero(statistics.shapes.counts)
    reach = max(-np.log2(statistics.shapes.edges[used[0]]), np.log2(statistics.shapes.edges[used[-1] + 1]), 1.0)
    axes.set_xlim(2.0**-reach, 2.0**reach)
    ratios = [1, 2, 4, 8, 16] if reach > 1.5 else [1, 1.5, 2]
    inside = [ratio for ratio in ratios if np.log2(ratio) <= reach]
    ticks = [*(1 / ratio for ratio in reversed(inside[1:])), *inside]
    axes.set_xticks(ticks, [*(f"1:{ratio:g}" for ratio in reversed(inside[1:])), *(f"{ratio:g}:1" for ratio in inside)])
    axes.axvline(1, color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_xlabel("tall   ←   width : height   →   wide")
    _finish_axes(axes, "Object shapes", counts="y")


def _draw_objects_per_image(axes: Axes, statistics: Stats, _: list[str]) -> None:
    """Images by their number of objects."""
    from matplotlib.ticker import MaxNLocator

    images = statistics.objects_per_image
    step = -(-len(images) // MOST_COLUMNS)
    sums = np.add.reduceat(images, np.arange(0, len(images), step))
    left = np.arange(len(sums)) * step
    axes.bar(left - 0.5, sums, 0.92 * step, align="edge", color=BAR)
    axes.set_xlim(-0.5 - 0.04 * step, max(left[-1] + step, 5) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("objects" + (f", in steps of {step}" if step > 1 else ""))
    _finish_axes(axes, "Objects per image", counts="y")


def _draw_centers(axes: Axes, statistics: Stats, _: list[str]) -> None:
    """The positions of object centers in their images."""
    width, height, _images = statistics.image_sizes[0]
    side = next((side for side in (GRID, GRID // 2) if statistics.centers.sum() >= FILLED * side**2), GRID // 4)
    cells = statistics.centers.reshape(side, GRID // side, side, GRID // side).sum(axis=(1, 3))
    most = int(cells.max())
    axes.imshow(np.where(cells, cells, np.nan), cmap=HEAT, vmin=-0.12 * most, vmax=most, extent=(0, 1, 1, 0),
                aspect=float(np.clip(height / width, 0.4, 1.6)), interpolation="nearest")  # fmt: skip
    axes.set_xticks([0, 0.5, 1], ["left", "", "right"])
    axes.set_yticks([0, 0.5, 1], ["top", "", "bottom"])
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_xlabel(f"{counted(most, 'object')} where it is darkest")
    _finish_axes(axes, "Positions of object centers")


def _draw_pairs(axes: Axes, statistics: Stats, names: list[str]) -> None:
    """The share of the images with a row's label that also have the column's."""
    import matplotlib

    pairs = statistics.pairs
    partners = np.stack([pairs.first, pairs.second], axis=1).ravel()  # those of the most frequent pairs first
    shown = np.array(list(dict.fromkeys(partners.tolist()))[:MOST_CELLS])
    shown = shown[np.argsort(-statistics.images_with[shown], kind="stable")]
    place = np.full(len(names), -1)
    place[shown] = np.arange(len(shown))
    both = np.zeros((len(shown), len(shown)))
    a, b = place[pairs.first], place[pairs.second]
    inside = (a >= 0) & (b >= 0)
    both[a[inside], b[inside]] = both[b[inside], a[inside]] = pairs.images[inside]
    share = both / statistics.images_with[shown][:, None]
    np.fill_diagonal(share, np.nan)
    heat = matplotlib.colormaps[HEAT].with_extremes(bad=LINES)
    axes.imshow(share, cmap=heat, vmin=0, vmax=1, aspect="auto")
    for i, j in zip(*np.nonzero(both), strict=True) if len(shown) <= WRITTEN_CELLS else ():
        color = PAPER if share[i, j] > 0.55 else INK
        axes.text(
            j,
            i,
            _percent(share[i, j]),
            ha="center",
            va="center",
            fontsize=8.5 if len(shown) > 6 else 11,
            color=color,
        )
    axes.set_xticks(range(len(shown)), [names[row] for row in shown], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shown)), [names[row] for row in shown])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    of = f" ({len(shown)} of {len(names)} labels)" if len(shown) < len(names) else ""
    axes.set_xlabel("share of the images with the row's label that also have the column's")
    _finish_axes(axes, f"Labels that share images{of}")


def _draw_image_sizes(axes: Axes, statistics: Stats, _: list[str]) -> None:
    """Widths and heights of the images; the area of a dot is the number of images."""
    widths, heights, counts = np.array(statistics.image_sizes).T
    axes.scatter(widths, heights, 18 + 900 * counts / counts.sum(), color=BAR, alpha=0.55, linewidth=0)
    reach = 1.12 * max(widths.max(), heights.max())
    axes.set(xlim=(0, reach), ylim=(0, reach), aspect="equal", xlabel="width", ylabel="height")
    axes.axline((0, 0), slope=1, color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
    axes.grid()
    _finish_axes(axes, f"Image sizes ({len(counts)} different)")


def _log_bars(axes: Axes, histogram: Histogram) -> None:
    edges = histogram.edges
    axes.set_xscale("log")
    axes.bar(edges[:-1], histogram.counts, 0.94 * np.diff(edges), align="edge", color=BAR)
    axes.set_xlim(edges[0], edges[-1])
    axes.minorticks_off()


def _finish_axes(axes: Axes, title: str, *, counts: str = "") -> None:
    """Set a panel's title, and integer ticks with grid lines on the axis `counts`."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_title(title)
    if counts:
        axis = axes.xaxis if counts == "x" else axes.yaxis
        axis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.grid(True)


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")
