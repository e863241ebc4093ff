"""`vocdet convert`: write a dataset in another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vocdet_cli import render
from vocdet_cli.left_out import count_left_out, show_left_out
from vocdet_cli.next_steps import same_dataset
from vocdet_cli.option_groups import grouped
from vocdet_cli.options import FileOptions, ReadOptions
from vocdet_cli.safe import escape

if TYPE_CHECKING:
    from vocdet.workflows.convert import ConvertReport, WrittenFolder

app = typer.Typer()


@app.command()
@grouped
def convert(
    source: Annotated[Path, typer.Argument(help="Dataset folder, COCO file, or data.yaml of YOLO.")],
    target: Annotated[Path, typer.Argument(help="New folder; it appears whole or not at all.")],
    to: Annotated[Literal["voc", "coco", "yolo", "yolo-seg", "labelme", "csv"], typer.Option(help="Format to write.")],
    rescale: Annotated[
        bool,
        typer.Option("--rescale", help="Scale boxes and masks to images that were resized after their annotation."),
    ] = False,
    write_coordinates: Annotated[
        Literal["same", "zero", "one"],
        typer.Option(help="Coordinates of the written XMLs: zero, one, or the same as in the source."),
    ] = "same",
    *,
    files: FileOptions,
    read: ReadOptions,
) -> None:
    """Write a dataset in another format, and report everything that the format cannot hold.

    Reads VOC and labelImg folders, COCO, YOLO, labelme, CVAT, VIA and CSV; the format is detected.
    """
    from vocdet.workflows import convert as workflow

    data = read.source(source)
    with render.progress("converting") as progress:
        options = files.write_options(None if write_coordinates == "same" else write_coordinates)
        report = workflow.convert(data, target, to, options, rescale=rescale, progress=progress)
    _print_source(report, render.command("check", *same_dataset(data)))
    _print_written(report.written, complete=not report.left_out)
    count_left_out(report.left_out)
    _print_written_folder(report.written)


def _print_source(report: ConvertReport, check: str) -> None:
    from vocdet.workflows.convert import summary

    scan = report.scan
    render.out.print(f"read as {scan.kind}", markup=False, soft_wrap=True)
    if scan.label_source:
        render.out.print(f"labels are in the order of {scan.label_source}", markup=False, soft_wrap=True)
    if scan.reason:
        render.out.print(f"coordinates are {scan.coordinates}-based: {scan.reason}", markup=False, soft_wrap=True)
    for other in report.others:
        render.note(f"it also matches {other}: read that with --from {other}")
    splits = ", ".join(f"{len(rows)} in {name}" for name, rows in report.dataset.splits.items())
    render.out.print(f"{summary(report.dataset)}; {splits or 'no splits'}", markup=False, soft_wrap=True)
    show_left_out(report.left_out, check)
    render.findings(report.warnings, check)


def _print_written(written: WrittenFolder, *, complete: bool) -> None:
    """The losses, and what happened to the images."""
    if not written.losses and complete:
        render.out.print(f"{written.to} holds everything")
    elif written.losses:
        made = render.table(f"not in {written.to}", "what", "count", "why")
        made.columns[2].justify = "left"
        for loss in written.losses:
            made.add_row(escape(loss.what), str(loss.count), escape(loss.why))
        render.show(made)
    if written.copied:
        render.note(f"{written.copied} images were copied: this disk cannot link them")


def _print_written_folder(written: WrittenFolder) -> None:
    check = render.command("check", str(written.folder))
    if written.images:
        render.done(f"wrote {written.folder} with {written.images} images", then=check)
        return
    place = written.folder / written.targets[0].split("/")[0]
    then = f"move the images to {place}, then {check}"
    render.done(f"wrote {written.folder}; the images were not moved", then=then)
