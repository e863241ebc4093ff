"""`vocdet stats`: statistics of a dataset."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocdet_cli import render
from vocdet_cli.options import Coordinates, Data, Labels
from vocdet_cli.tables import Row, both_ends, fitted, shortened

if TYPE_CHECKING:
    from vocdet.data.stats import Stats
    from vocdet.workflows.stats import StatsReport

app = typer.Typer()

MOST_PAIRS = 10
MOST_SIZES = 4  # of images
INPUT = 320  # pixels: what train-ssd takes without --size
FEW = 0.05  # share of objects smaller than a cell that suggests a larger input
QUARTILES = ("25 %", "50 %", "75 %")


@app.command()
def stats(
    data: Data = Path(),
    picture: Annotated[Path | None, typer.Option(help="Also draw the statistics: a .png, .svg or .pdf file.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show every label and pair.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the statistics as JSON.")] = False,
    labels: Labels = None,
    coordinates: Coordinates = "auto",
) -> None:
    """Count objects by label and split; show their sizes, shapes and positions, and which labels share images.

    The size is the square root of a box's area.
    Small is below 32² pixels and medium below 96², as in COCO.
    """
    from vocdet.formats.source import Source
    from vocdet.workflows.stats import dataset_stats

    with render.progress("reading") as progress:
        report = dataset_stats(Source(data, labels=labels, coordinates=coordinates), drawn=picture, progress=progress)
    if as_json:
        typer.echo(json.dumps(_json(report), indent=2))
        return
    _print_labels(report.figures, every=show_all)
    _print_images(report.figures)
    _print_pairs(report.figures, every=show_all)
    _print_input(report.figures)
    same = [*render.given(data), *render.given(labels, "--labels", None)]
    same += render.given(coordinates, "--coordinates", "auto")
    _print_doubts(report, render.command("check", *same))
    wrote = f"wrote {report.picture}" if report.picture else f"counted {report.kind}"
    render.done(wrote, then=render.command(_next(report), *same))


def _print_labels(figures: Stats, *, every: bool) -> None:
    """Three tables: how many objects, how large in pixels, how large and of what shape in their images."""
    splits = dict(figures.splits)
    if splits and figures.in_no_split[0]:
        splits["no split"] = figures.in_no_split
    order = figures.order().tolist()
    counts: list[Row] = [
        (figures.labels[i], [*(some[i] for _, some in splits.values()), figures.objects[i], figures.images_with[i]])
        for i in order
    ]
    first: list[Row] = [
        ("images", [*(images for images, _ in splits.values()), figures.images, ""]),
        ("objects", [*(some.sum() for _, some in splits.values()), figures.objects.sum(), _shown(figures)]),
    ]
    _show("objects of every label, and images that show it", [*splits, "all", "images"], counts, first, every=every)
    rows = [*zip(order, (figures.labels[i] for i in order), strict=True), (len(order), "all labels")]
    sizes: list[Row] = [
        (name, [*(_pixels(value) for value in figures.pixels[i]), *figures.groups[i]]) for i, name in rows
    ]
    columns = [*QUARTILES, "small", "medium", "large"]
    _show("sizes in pixels: quartiles, and COCO's groups", columns, sizes[:-1], sizes[-1:], every=every)
    shapes: list[Row] = [
        (name, [*(_figure(100 * v, 1) for v in figures.shares[i]), *(_figure(v, 2) for v in figures.aspects[i])])
        for i, name in rows
    ]
    columns = [f"size {QUARTILES[0]}", *QUARTILES[1:], f"shape {QUARTILES[0]}", *QUARTILES[1:]]
    title = "sizes in % of the image's, and shapes as width : height"
    _show(title, columns, shapes[:-1], shapes[-1:], every=every)


def _show(title: str, columns: Sequence[str], rows: Sequence[Row], first: Sequence[Row], *, every: bool) -> None:
    render.show(fitted(title, columns, both_ends(rows, len(columns), every=every), first=first))
    render.out.print()


def _print_images(figures: Stats) -> None:
    from vocdet.wording import counted

    least, half, most = figures.quartiles_an_image()
    empty = figures.images - _shown(figures)
    without = f"; {counted(empty, 'image')} without" if empty else ""
    render.out.print(f"{least} to {most} objects an image, median {half}{without}", soft_wrap=True)
    sizes = [f"{width}×{height} ({images})" for width, height, images in figures.image_sizes[:MOST_SIZES]]
    others = len(figures.image_sizes) - MOST_SIZES
    more = f" and {counted(others, 'other')}" if others > 0 else ""
    render.out.print(f"image sizes: {', '.join(sizes)}{more}", soft_wrap=True)
    flags = [f"{count} {'with a mask' if name == 'mask' else name}" for name, count in figures.flags.items() if count]
    if flags:
        render.out.print(f"of the objects, {', '.join(flags)}", soft_wrap=True)


def _print_pairs(figures: Stats, *, every: bool) -> None:
    pairs = figures.pairs
    if not len(pairs):
        return
    most = len(pairs) if every else MOST_PAIRS
    columns = ["images", "of the first", "lift"]
    room = (max(render.out.width, 80) - sum(len(column) + 2 for column in columns) - 3) // 2
    rows: list[Row] = [
        (
            f"{shortened(figures.labels[pairs.first[i]], room)} + {shortened(figures.labels[pairs.second[i]], room)}",
            [pairs.images[i], f"{pairs.share[i]:.0%}", _figure(pairs.lift[i], 2)],
        )
        for i in range(min(most, len(pairs)))
    ]
    if len(pairs) > most:
        rows.append((f"… {len(pairs) - most} more: --all", ["", "", ""]))
    render.out.print()
    render.show(fitted("labels in one image; lift 1 is what chance would give", columns, rows))
    render.out.print()


def _print_input(figures: Stats) -> None:
    """How the input size fits the sizes of the objects."""
    from vocdet.data.stats import CELL

    half = figures.shares[-1, 1] * INPUT
    below = figures.below_cell[INPUT]
    text = f"at train-ssd's --size {INPUT} the median object is {half:.0f} pixels large"
    text += f"; {_percent(below)} are below {CELL}, a cell of the finest map"
    if below > FEW:
        side = figures.enough_input(FEW) or max(figures.below_cell)
        text += f", {_percent(figures.below_cell[side])} at --size {side}"
        text += f", about {(side / INPUT) ** 2:.1f} times the work"
    render.out.print(text, soft_wrap=True)


def _print_doubts(report: StatsReport, check: str) -> None:
    from vocdet.wording import counted

    if report.left_out:
        render.warning(f"{counted(report.left_out, 'object')} outside the image left out: see {check}")
    if report.errors:
        render.warning(f"{counted(report.errors, 'error')} in the files, which are left out: see {check}")


def _next(report: StatsReport) -> str:
    if report.errors:
        return "check"
    if not report.figures.splits:
        return "split"
    return "train-backbone" if len(report.figures.labels) > 1 else "train-ssd"


def _shown(figures: Stats) -> int:
    """Images with objects."""
    return figures.images - int(figures.objects_an_image[0])


def _pixels(value: float) -> str:
    return _figure(value, 0 if value >= 10 else 1)


def _figure(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


def _percent(share: float) -> str:
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _json(report: StatsReport) -> dict[str, Any]:
    figures = report.figures
    least, half, most = figures.quartiles_an_image()
    return {
        "images": figures.images,
        "objects": int(figures.objects.sum()),
        "splits": {name: images for name, (images, _) in figures.splits.items()},
        "in_no_split": figures.in_no_split[0],
        "objects_an_image": {"least": least, "median": half, "most": most, "without": int(figures.objects_an_image[0])},
        "image_sizes": [{"width": w, "height": h, "images": n} for w, h, n in figures.image_sizes],
        "flags": dict(figures.flags),
        "all": _boxes_json(figures, len(figures.labels)),
        "labels": [
            {
                "label": label,
                "objects": int(figures.objects[i]),
                "images": int(figures.images_with[i]),
                "splits": {name: int(some[i]) for name, (_, some) in figures.splits.items()},
                **_boxes_json(figures, i),
            }
            for i, label in enumerate(figures.labels)
        ],
        "centres": figures.centres.tolist(),
        "pairs": [
            {"labels": [figures.labels[a], figures.labels[b]], "images": int(n), "of_the_first": share, "lift": lift}
            for a, b, n, share, lift in zip(
                figures.pairs.first, figures.pairs.second, figures.pairs.images.tolist(),
                figures.pairs.share.tolist(), figures.pairs.lift.tolist(), strict=True,
            )
        ],
        "below_cell": {str(side): share for side, share in figures.below_cell.items()},
        "left_out": report.left_out,
        "errors": report.errors,
    }  # fmt: skip


def _boxes_json(figures: Stats, row: int) -> dict[str, Any]:
    """Quartiles, and null for a label without objects, for which JSON has no number."""
    quartiles = {"pixels": figures.pixels, "share_of_image": figures.shares, "width_by_height": figures.aspects}
    found = {name: [None if math.isnan(v) else float(v) for v in rows[row]] for name, rows in quartiles.items()}
    return found | dict(zip(("small", "medium", "large"), figures.groups[row].tolist(), strict=True))
