"""`vocdet remap`, `merge`, `sample` and `crops`: new datasets from existing ones, which are never changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vocdet.recipes.schema import Data as DataRecipe
from vocdet_cli import render
from vocdet_cli.left_out import count_left_out, show_left_out
from vocdet_cli.next_steps import same_dataset
from vocdet_cli.option_groups import Without, grouped
from vocdet_cli.options import FileOptions, Formats, ReadOptions, Seed
from vocdet_cli.tables import Row, fitted

if TYPE_CHECKING:
    from vocdet.workflows.crops import CropsReport
    from vocdet.workflows.reshape import MergeReport, RemapReport, SampleReport, WrittenDataset

app = typer.Typer()

MOST_SHOWN = 5  # stems, labels or pairs in a line

From = Annotated[Path, typer.Argument(help="Dataset: a folder or a COCO file.", show_default=False)]
NewFolder = Annotated[Path, typer.Argument(help="New folder; it appears whole.", show_default=False)]
To = Annotated[
    Literal["voc", "coco", "yolo", "yolo-seg", "labelme", "csv"] | None,
    typer.Option(help="Format to write.", show_default="format of the source"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions(FileOptions):
    """How the copy of a dataset is written."""

    to: To = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOptions:
    """What becomes of the labels."""

    rename: Annotated[list[str] | None, typer.Option(help="old=new. Repeatable.")] = None
    merge: Annotated[list[str] | None, typer.Option(help="a,b=new: merge labels. Repeatable.")] = None
    drop: Annotated[list[str] | None, typer.Option(help="a,b: drop labels with their objects. Repeatable.")] = None
    keep: Annotated[
        list[str] | None, typer.Option(help="a,b: drop all other labels; uses the new names. Repeatable.")
    ] = None
    file: Annotated[Path | None, typer.Option("--map", help="File with one old=new per line; old= drops.")] = None


@app.command()
@grouped
def remap(
    data: From,
    target: NewFolder,
    *,
    changes: ChangeOptions,
    drop_empty: Annotated[
        bool, typer.Option("--drop-empty", help="Leave out images that lose all their objects.")
    ] = False,
    files: CopyOptions,
    read: Annotated[ReadOptions, Without("crowds")],
) -> None:
    """Write a copy of a dataset whose labels are renamed, merged or dropped.

    All changes apply at once: --rename a=b --rename b=a swaps two labels.
    Images that lose all their objects stay, as images without objects.
    """
    from vocdet.workflows.label_changes import LabelChanges
    from vocdet.workflows.reshape import remap_dataset

    new = LabelChanges(changes.rename or (), changes.merge or (), changes.drop or (), changes.keep or (), changes.file)
    with render.progress("reading") as progress:
        report = remap_dataset(
            read.source(data), target, new, files.write_options(), to=files.to, keep_empty=not drop_empty,
            progress=progress,
        )  # fmt: skip
    show_left_out(report.left_out, render.command("check", str(data)))
    _print_remap(report)
    _print_end(report, render.command("stats", str(target)))


@app.command()
@grouped
def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER", help="Datasets, followed by the new folder.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(help="New folder, if all arguments are datasets.")] = None,
    *,
    files: Annotated[CopyOptions, Without("strict")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse if stems clash or the format cannot hold everything.")
    ] = False,
    formats: Formats = None,
    read: Annotated[ReadOptions, Without("format labels crowds")],
) -> None:
    """Merge datasets: labels are matched by name, train joins train, val joins val, test joins test.

    Stems that clash get the name of their folder as a prefix.
    """
    from vocdet.workflows.convert import WriteOptions
    from vocdet.workflows.reshape import merge_datasets

    sources, target = (folders, out) if out is not None else (folders[:-1], folders[-1])
    each = (formats or ["auto"]) * (len(sources) if len(formats or ()) < 2 else 1)
    if len(each) != len(sources):
        raise typer.BadParameter("give --from once for all datasets, or once for each in their order")
    with render.progress("reading") as progress:
        report = merge_datasets(
            [replace(read, format=one).source(path) for path, one in zip(sources, each, strict=True)],  # type: ignore[arg-type]
            target,
            WriteOptions(files.images, strict),
            to=files.to,
            progress=progress,
        )
    show_left_out(report.left_out, render.command("check", "SOURCE"))
    _print_merge(report)
    _print_end(report, _after_merge(report))


@app.command()
@grouped
def sample(
    data: From,
    target: NewFolder,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of images.", show_default=False)],
    seed: Seed = 0,
    *,
    files: CopyOptions,
    read: Annotated[ReadOptions, Without("crowds")],
) -> None:
    """Write a sample of a dataset, reproducible by seed.

    Labels, splits and images without objects keep their shares; a rare label keeps at least one image.
    """
    from vocdet.workflows.reshape import sample_dataset

    with render.progress("reading") as progress:
        report = sample_dataset(
            read.source(data), target, count, files.write_options(), seed=seed, to=files.to, progress=progress
        )
    show_left_out(report.left_out, render.command("check", str(data)))
    _print_sample(report)
    _print_end(report, render.command(*_after(report.result), str(target)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CropShape:
    """The crops, and which objects have one."""

    margin: Annotated[
        float, typer.Option(min=0, max=2, help="Margin around an object, as a share of its longer side.")
    ] = DataRecipe().context
    size: Annotated[
        int | None, typer.Option(help="Resize crops to this side, in pixels.", show_default="original size")
    ] = None
    min_side: Annotated[float, typer.Option(min=0, help="Leave out objects with a shorter side, in pixels.")] = 0
    png: Annotated[bool, typer.Option("--png", help="Write lossless PNG instead of JPEG with quality 95.")] = False


@app.command()
@grouped
def crops(
    data: From,
    target: NewFolder,
    split: Annotated[
        list[str] | None, typer.Option(help="train, val, test or trainval. Repeatable.", show_default="all")
    ] = None,
    *,
    crop: CropShape,
    read: ReadOptions,
) -> None:
    """Crop every object into TARGET/{train,val,test}/LABEL, as train-backbone sees it.

    A crop is a square around the box with a margin; beyond the image it is gray.
    """
    from vocdet.wording import counted
    from vocdet.workflows.crops import CropOptions, write_crops

    source = read.source(data)
    with render.progress("cropping") as progress:
        report = write_crops(source, target, CropOptions(**asdict(crop)), splits=split or (), progress=progress)
    check = render.command("check", *same_dataset(source))
    show_left_out(report.left_out, check)
    render.findings(report.warnings, check)
    _print_crops(report)
    _print_left_out(report)
    count_left_out(report.left_out)
    pictures = sum(int(counts.sum()) for counts in report.crops.values())
    then = render.command("train-backbone", str(target), "--folder") if len(report.labels) > 1 else ""
    render.done(f"wrote {counted(pictures, 'crop')} to {target}", then=then)


def _print_remap(report: RemapReport) -> None:
    from vocdet.wording import counted

    changed = [(old, new) for old, new in report.new_names.items() if old != new]
    rows: list[Row] = [(f"{old} → {new or '(dropped)'}", [report.objects[old]]) for old, new in changed]
    kept = [old for old, new in report.new_names.items() if old == new]
    if kept:
        rows.append((f"{counted(len(kept), 'label')} unchanged", [sum(report.objects[label] for label in kept)]))
    render.show(fitted("labels", ["objects"], rows))
    if report.emptied:
        now = "retained; --drop-empty leaves them out"
        emptied = counted(report.emptied, "image")
        render.note(f"{emptied} lost all objects: {now if report.kept_empty else 'left out'}")
    if report.doubles:
        check = render.command("check", str(report.result.written.folder))
        twice = "now duplicate another"
        render.warning(f"{counted(report.doubles, 'object')} {twice}: see {check}")


def _print_merge(report: MergeReport) -> None:
    from vocdet.wording import counted

    rows: list[Row] = [
        (str(one.root), [one.images, one.objects, ", ".join(one.splits) or "none"]) for one in report.sources
    ]
    render.show(fitted("datasets", ["images", "objects", "splits"], rows))
    if report.renamed:
        new, old = next(iter(report.renamed.items()))
        render.note(f"clashing stems get their folder as a prefix: {counted(len(report.renamed), 'image')}, "
                    f"{old} is now {new}")  # fmt: skip
    for one in report.sources:
        if not one.splits and any(other.splits for other in report.sources):
            are = "is" if one.images == 1 else "are"
            render.warning(f"{one.root} has no splits: its {counted(one.images, 'image')} {are} in none")
    for i, one in enumerate(report.sources):
        pairs = [(found.label, found.other) for found in report.spellings if found.source == i]
        if pairs:
            names = ", ".join(f"{label!r}, which is {other!r} elsewhere" for label, other in pairs[:MOST_SHOWN])
            renames = [word for label, other in pairs for word in ("--rename", f"{label}={other}")]
            first = render.command("remap", str(one.root), f"{one.root}-renamed", *renames)
            render.warning(f"{one.root} has {names}: if they mean the same, run {first} and merge the result")
    if report.copies:
        first, second, *_ = report.copies[0]
        across = f", {report.leaks} across splits" if report.leaks else ""
        groups = f"{counted(len(report.copies), 'group')} of identical images{across}"
        render.warning(f"{groups}, such as {first} and {second}")
    if report.folds:
        again = render.command("split", str(report.result.written.folder), "--append", "--kfold", "5")
        render.warning(f"the folds of the datasets differ and are left out: {again} writes new ones")
    if report.differ:
        render.warning(f"the datasets differ in {', '.join(report.differ)}: the first is used")


def _after_merge(report: MergeReport) -> str:
    """The next step: split images without a split, else check."""
    target = str(report.result.written.folder)
    if not report.result.dataset.splits:
        return render.command("split", target)
    if not all(one.splits for one in report.sources):
        return render.command("split", target, "--append")
    return render.command("check", target)


def _print_sample(report: SampleReport) -> None:
    columns = ["source", "sample", "share"]
    images = len(report.result.dataset)
    first: list[Row] = [("images", [len(report.source), images, _share_text(images, len(report.source))])]
    for name, inside in report.source.splits.items():
        taken = len(report.result.dataset.splits[name])
        first.append((f"images of {name}", [len(inside), taken, _share_text(taken, len(inside))]))
    counts = sorted(zip(report.source.labels, report.objects().tolist(), strict=True), key=lambda row: -row[1][0])
    rows: list[Row] = [(label, [of, taken, _share_text(taken, of)]) for label, (of, taken) in counts]
    render.show(fitted("images, and objects per label", columns, rows, first=first))
    if report.missing:
        from vocdet.wording import listed

        render.warning(f"the sample has no {listed(report.missing, most=MOST_SHOWN)}: take more images")


def _print_crops(report: CropsReport) -> None:
    folders = list(report.crops)
    first: list[Row] = [("all labels", [int(report.crops[name].sum()) for name in folders])]
    rows: list[Row] = [
        (label, [int(report.crops[name][i]) for name in folders]) for i, label in enumerate(report.labels)
    ]
    render.show(fitted("crops", folders, rows, first=first))
    for label, folder in report.renamed.items():
        render.note(f"the folder of {label!r} is named {folder!r}, which is portable")


def _print_left_out(report: CropsReport) -> None:
    from vocdet.wording import counted

    if report.crowds:
        render.note(f"left out: {counted(report.crowds, 'crowd')}, as in training")
    if report.small:
        render.note(f"left out: {counted(report.small, 'object')} with a side below --min-side")
    if report.in_no_split:
        render.note(f"left out: {counted(report.in_no_split, 'object')} in images of other splits")


def _print_end(report: RemapReport | MergeReport | SampleReport, then: str) -> None:
    """What the format could not hold, what was left out, the new dataset, and the next step."""
    from vocdet.workflows.convert import summary

    written = report.result.written
    for loss in written.losses:
        why = f": {loss.why}" if loss.why else ""
        render.warning(f"{written.to} cannot hold {loss.count} {loss.what}{why}")
    if written.copied:
        render.note(f"{written.copied} of {written.images} images were copied, because this disk cannot link them")
    count_left_out(report.left_out)
    render.done(f"wrote {summary(report.result.dataset)} to {written.folder} as {written.to}", then=then)


def _after(result: WrittenDataset) -> list[str]:
    splits = result.dataset.splits
    if not len(splits.get("train", ())):
        return ["split", "--keep-test"] if "test" in splits else ["split", *(["--force"] if splits else [])]
    return ["train-backbone"] if len(result.dataset.labels) > 1 else ["train-ssd"]


def _share_text(taken: int, of: int) -> str:
    return f"{100 * taken / of:.1f} %" if of else ""
