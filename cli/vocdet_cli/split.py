"""`vocdet split`: divide a dataset into train, val and test."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocdet_cli import render
from vocdet_cli.left_out import count_left_out, show_left_out, skipping
from vocdet_cli.next_steps import same_dataset, training_command
from vocdet_cli.option_groups import grouped
from vocdet_cli.options import Data, ReadOptions, Seed
from vocdet_cli.safe import escape

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.workflows.split import SplitReport

app = typer.Typer()

_DEFAULT_SHARE = "0.9; with --append the current share"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareOptions:
    """How the images are divided."""

    trainval: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of all images for train and val together.", show_default=_DEFAULT_SHARE),
    ] = None
    train: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of trainval for train.", show_default=_DEFAULT_SHARE)
    ] = None
    seed: Seed = 0
    stratify: Annotated[
        bool,
        typer.Option("--stratify/--no-stratify", help="Keep the shares of labels in every split, or split at random."),
    ] = True
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep images together: images of a folder (folder), near-duplicates (similar), only identical files "
            r"(identical), or images whose names match the same group of a regular expression, such as '(.*)_\d+' "
            "for the frames of a video. Repeatable.",
            show_default="similar, if it fits",
        ),
    ] = None
    kfold: Annotated[
        int | None, typer.Option(min=2, help="Write fold<k>_train.txt and fold<k>_val.txt of trainval, k from 1.")
    ] = None
    keep_test: Annotated[
        bool, typer.Option("--keep-test", help="Divide only the images for train and val; test is unchanged.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """The split files."""

    per_label: Annotated[bool, typer.Option("--per-label", help="Also write VOC's <label>_<split>.txt.")] = False
    force: Annotated[bool, typer.Option("--force", help="Replace existing split files.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the splits, and write nothing.")] = False


@app.command()
@grouped
def split(
    data: Data = Path(),
    *,
    shares: ShareOptions,
    append: Annotated[
        bool,
        typer.Option("--append", help="Add images without a split to the existing splits; all others are unchanged."),
    ] = False,
    from_coco: Annotated[
        list[Path] | None,
        typer.Option(
            help="Take the splits from COCO files: a folder, or a file such as instances_train.json. Repeatable.",
            show_default=False,
        ),
    ] = None,
    files: ListOptions,
    read: ReadOptions,
) -> None:
    """Write ImageSets/Main/{trainval,train,val,test}.txt, reproducible by seed.

    Sizes are rounded, with at least one image in every split.
    Every split has its share of the objects of each label.
    Identical images and near-duplicates stay in one split.
    """
    from vocdet.workflows.split import SplitFiles, SplitOptions, append_to_split, split_as_coco, split_dataset

    used = {
        "--trainval": shares.trainval is not None, "--train": shares.train is not None,
        "--no-stratify": not shares.stratify, "--group-by": bool(shares.group_by), "--kfold": bool(shares.kfold),
        "--append": append, "--keep-test": shares.keep_test,
    }  # fmt: skip
    conflicts = [option for option, given in used.items() if given]
    if from_coco and conflicts:
        raise typer.BadParameter(f"--from-coco determines the splits: leave out {', '.join(conflicts)}")
    if append and files.force:
        raise typer.BadParameter("--append moves no image, --force splits all of them again: use one of them")
    if shares.keep_test and (append or shares.trainval is not None):
        other = "--append" if append else "--trainval"
        raise typer.BadParameter(f"--keep-test moves no image into test or out of it: leave out {other}")
    source, lists = read.source(data), SplitFiles(files.per_label, files.force, files.dry_run)
    options = SplitOptions(**{**asdict(shares), "kfold": shares.kfold or 0})
    with render.progress("reading") as progress:
        if from_coco:
            report = split_as_coco(source, from_coco, lists, progress=progress)
        else:
            divide = append_to_split if append else split_dataset
            report = divide(source, options, lists, progress=progress)
    same = same_dataset(source)
    show(report, same)
    names = f"{len(report.files)} files to {report.files[0].parent}"
    if report.written:
        then = render.command(training_command(report.dataset), *same, *skipping(read.skip_bad))
        render.done(f"wrote {names}", then=then)
    else:
        render.done(f"would write {names}", then="the same command without --dry-run")


def show(report: SplitReport, same: list[str]) -> None:
    """Print the splits and the notes on them; `same` are the arguments that name the dataset."""
    from vocdet.wording import counted

    show_left_out(report.left_out, render.command("check", *same))
    render.show(_split_table(report))
    if report.folds:
        render.show(_fold_table(report))
    for note in report.notes:
        render.warning(note)
    if report.warnings:
        see = render.command("check", *same)
        render.note(f"{counted(len(report.warnings), 'finding')} in the data: see {see}")
    count_left_out(report.left_out)


def _split_table(report: SplitReport) -> Table:
    table = render.table("images, and objects of every label", "", *report.splits, "all")
    sizes = [len(rows) for rows in report.splits.values()]
    table.add_row("images", *map(str, sizes), str(sizes[0] + sizes[-1]))  # trainval and test
    counts = report.objects()  # (4, L)
    for i, label in enumerate(report.dataset.labels):
        total = counts[0, i] + counts[-1, i]
        table.add_row(escape(label[:40]), *(str(count) for count in counts[:, i]), str(total))
    return table


def _fold_table(report: SplitReport) -> Table:
    names = [f"fold{k}" for k in range(1, len(report.folds) + 1)]
    table = render.table("images, and objects of every label, that are val in each fold", "", *names)
    table.add_row("images", *(str(len(rows)) for rows in report.folds))
    counts = report.fold_objects()  # (K, L)
    for i, label in enumerate(report.dataset.labels):
        table.add_row(escape(label[:40]), *(str(count) for count in counts[:, i]))
    return table
