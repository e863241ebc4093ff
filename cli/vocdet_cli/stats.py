"""`vocdet stats`: statistics of a dataset."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocdet_cli import render
from vocdet_cli.left_out import count_left_out, show_left_out, skipping
from vocdet_cli.next_steps import same_dataset
from vocdet_cli.option_groups import grouped
from vocdet_cli.options import Data, ReadOptions
from vocdet_cli.tables import Row, both_ends, fitted, shortened

if TYPE_CHECKING:
    from vocdet.data.stats import Stats
    from vocdet.workflows.stats import StatsReport

app = typer.Typer()

MOST_PAIRS = 10
MOST_SIZES = 4  # of images
INPUT = 320  # pixels; the default --size of train-ssd
MANY_SMALL = 0.05  # share of objects smaller than a cell that suggests a larger input
QUARTILES = ("25 %", "50 %", "75 %")


@app.command()
@grouped
def stats(
    data: Data = Path(),
    picture: Annotated[Path | None, typer.Option(help="Also draw the statistics: a .png, .svg or .pdf file.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show every label and pair.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the statistics as JSON.")] = False,
    *,
    read: ReadOptions,
) -> None:
    """Count objects by label and split; show their sizes, shapes and positions, and which labels share images.

    The size is the square root of a box's area.
    Small is below 32² pixels and medium below 96², as in COCO.
    """
    from vocdet.workflows.stats import dataset_stats

    with render.progress("reading") as progress:
        source = read.source(data)
        report = dataset_stats(source, drawn=picture, progress=progress)
    if as_json:
        typer.echo(json.dumps(_stats_json(report), indent=2))
        return
    same = same_dataset(source)
    show_left_out(report.skipped, render.command("check", *same))
    _print_labels(report.statistics, every=show_all)
    _print_images(report.statistics)
    _print_pairs(report.statistics, every=show_all)
    _print_input(report.statistics)
    _print_problems(report, render.command("check", *same))
    count_left_out(report.skipped)
    wrote = f"wrote {report.picture}" if report.picture else f"counted {report.kind}"
    render.done(wrote, then=render.command(_next_command(report), *same, *skipping(read.skip_bad)))


def _print_labels(statistics: Stats, *, every: bool) -> None:
    """Three tables: numbers of objects, sizes in pixels, sizes and shapes relative to the images."""
    splits = dict(statistics.splits)
    if splits and statistics.in_no_split[0]:
        splits["no split"] = statistics.in_no_split
    order = statistics.order().tolist()
    counts: list[Row] = [
        (
            statistics.labels[i],
            [*(objects[i] for _, objects in splits.values()), statistics.objects[i], statistics.images_with[i]],
        )
        for i in order
    ]
    first: list[Row] = [
        ("images", [*(images for images, _ in splits.values()), statistics.images, ""]),
        (
            "objects",
            [*(objects.sum() for _, objects in splits.values()), statistics.objects.sum(), _with_objects(statistics)],
        ),
    ]
    _show("objects of every label, and images with it", [*splits, "all", "images"], counts, first, every=every)
    rows = [*zip(order, (statistics.labels[i] for i in order), strict=True), (len(order), "all labels")]
    sizes: list[Row] = [
        (name, [*(_pixels_text(value) for value in statistics.pixels[i]), *statistics.groups[i]]) for i, name in rows
    ]
    columns = [*QUARTILES, "small", "medium", "large"]
    _show("sizes in pixels: quartiles, and COCO's groups", columns, sizes[:-1], sizes[-1:], every=every)
    shapes: list[Row] = [
        (name, [*(_number(100 * v, 1) for v in statistics.shares[i]), *(_number(v, 2) for v in statistics.aspects[i])])
        for i, name in rows
    ]
    columns = [f"size {QUARTILES[0]}", *QUARTILES[1:], f"shape {QUARTILES[0]}", *QUARTILES[1:]]
    title = "sizes in % of the image, and shapes as width : height"
    _show(title, columns, shapes[:-1], shapes[-1:], every=every)


def _show(title: str, columns: Sequence[str], rows: Sequence[Row], first: Sequence[Row], *, every: bool) -> None:
    render.show(fitted(title, columns, both_ends(rows, len(columns), every=every), first=first))
    render.out.print()


def _print_images(statistics: Stats) -> None:
    from vocdet.wording import counted

    least, median, most = statistics.min_median_max()
    empty = statistics.images - _with_objects(statistics)
    without = f"; {counted(empty, 'image')} without" if empty else ""
    render.out.print(f"{least} to {most} objects per image, median {median}{without}", soft_wrap=True)
    sizes = [f"{width}×{height} ({images})" for width, height, images in statistics.image_sizes[:MOST_SIZES]]
    others = len(statistics.image_sizes) - MOST_SIZES
    more = f" and {counted(others, 'other')}" if others > 0 else ""
    render.out.print(f"image sizes: {', '.join(sizes)}{more}", soft_wrap=True)
    flags = [
        f"{count} {'with a mask' if name == 'mask' else name}" for name, count in statistics.flags.items() if count
    ]
    if flags:
        render.out.print(f"object flags: {', '.join(flags)}", soft_wrap=True)


def _print_pairs(statistics: Stats, *, every: bool) -> None:
    pairs, labels = statistics.pairs, statistics.labels
    if not len(pairs):
        return
    most = len(pairs) if every else MOST_PAIRS
    columns = ["images", "share of first", "lift"]
    room = (max(render.out.width, 80) - sum(len(column) + 2 for column in columns) - 3) // 2
    rows: list[Row] = [
        (
            f"{shortened(labels[pairs.first[i]], room)} + {shortened(labels[pairs.second[i]], room)}",
            [pairs.images[i], f"{pairs.share[i]:.0%}", _number(pairs.lift[i], 2)],
        )
        for i in range(min(most, len(pairs)))
    ]
    if len(pairs) > most:
        rows.append((f"… {len(pairs) - most} more: --all", ["", "", ""]))
    render.out.print()
    render.show(fitted("labels that share images; lift 1 means independent", columns, rows))
    render.out.print()


def _print_input(statistics: Stats) -> None:
    """How well the default input size suits the sizes of the objects."""
    from vocdet.data.stats import CELL

    median = statistics.shares[-1, 1] * INPUT
    below = statistics.below_cell[INPUT]
    text = f"at the default --size {INPUT} of train-ssd the median object has {median:.0f} pixels"
    text += f"; {_percent_text(below)} have fewer than {CELL}, a cell of the finest feature map"
    if below > MANY_SMALL:
        side = statistics.enough_input(MANY_SMALL) or max(statistics.below_cell)
        fewer, compute = _percent_text(statistics.below_cell[side]), (side / INPUT) ** 2
        text += f"; at --size {side}, {fewer}, for {compute:.1f}× the compute"
    render.out.print(text, soft_wrap=True)


def _print_problems(report: StatsReport, check: str) -> None:
    from vocdet.wording import counted

    for note in report.notes:
        render.note(note)
    if report.left_out:
        render.warning(f"{counted(report.left_out, 'object')} outside the image left out, see {check}")
    if report.errors:
        render.warning(f"{counted(report.errors, 'error')} in the files: invalid ones are left out, see {check}")


def _next_command(report: StatsReport) -> str:
    if report.refused:
        return "check"
    if "train" not in report.statistics.splits:
        return "split"
    return "train-backbone" if len(report.statistics.labels) > 1 else "train-ssd"


def _with_objects(statistics: Stats) -> int:
    """Images with objects."""
    return statistics.images - int(statistics.objects_per_image[0])


def _pixels_text(value: float) -> str:
    return _number(value, 0 if value >= 10 else 1)


def _number(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


def _percent_text(share: float) -> str:
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _stats_json(report: StatsReport) -> dict[str, Any]:
    statistics = report.statistics
    least, median, most = statistics.min_median_max()
    pairs, labels = statistics.pairs, statistics.labels
    return {
        "images": statistics.images,
        "images_without_objects": int(statistics.objects_per_image[0]),
        "objects": int(statistics.objects.sum()),
        "splits": {name: images for name, (images, _) in statistics.splits.items()},
        "in_no_split": statistics.in_no_split[0],
        "objects_per_image": {"min": least, "median": median, "max": most},
        "image_sizes": [{"width": w, "height": h, "images": n} for w, h, n in statistics.image_sizes],
        "flags": dict(statistics.flags),
        "all": _boxes_json(statistics, len(statistics.labels)),
        "labels": [
            {
                "label": label,
                "objects": int(statistics.objects[i]),
                "images": int(statistics.images_with[i]),
                "splits": {name: int(objects[i]) for name, (_, objects) in statistics.splits.items()},
                **_boxes_json(statistics, i),
            }
            for i, label in enumerate(labels)
        ],
        "centers": statistics.centers.tolist(),
        "pairs": [
            {"labels": [labels[a], labels[b]], "images": int(n), "share_of_first": share, "lift": lift}
            for a, b, n, share, lift in zip(
                pairs.first, pairs.second, pairs.images.tolist(), pairs.share.tolist(), pairs.lift.tolist(),
                strict=True,
            )
        ],
        "below_cell": {str(side): share for side, share in statistics.below_cell.items()},
        "left_out": report.left_out,
        "skipped": report.skipped.as_dict(),
        "errors": report.errors,
    }  # fmt: skip


def _boxes_json(statistics: Stats, row: int) -> dict[str, Any]:
    """Quartiles; null for a label without objects."""
    quartiles = {
        "pixels": statistics.pixels,
        "share_of_image": statistics.shares,
        "width_by_height": statistics.aspects,
    }
    values = {name: [None if math.isnan(v) else float(v) for v in rows[row]] for name, rows in quartiles.items()}
    return values | dict(zip(("small", "medium", "large"), statistics.groups[row].tolist(), strict=True))
