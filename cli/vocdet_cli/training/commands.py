"""`vocdet train-backbone`, `vocdet train-ssd` and `vocdet train-maskrcnn`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocdet.recipes.schema import BackboneRecipe, MaskRcnnRecipe, SsdRecipe
from vocdet_cli import render
from vocdet_cli.left_out import skipping
from vocdet_cli.next_steps import same_dataset
from vocdet_cli.options import DEFAULT_RUNS
from vocdet_cli.safe import escape
from vocdet_cli.training import launch
from vocdet_cli.training.options import TrainingOptions, training_options
from vocdet_cli.training.progress import follow, print_end
from vocdet_cli.training.resume import Request, ResumableCommand
from vocdet_cli.training.seeds import train_seeds
from vocdet_cli.training.summary import next_step, print_backbone_start, print_detector_start

if TYPE_CHECKING:
    from vocdet.workflows.train_backbone import BackboneResult

app = typer.Typer()

SHOWN_LABELS = 12  # of a confusion matrix that fits a screen


@app.command("train-backbone", cls=ResumableCommand)
@training_options(
    BackboneRecipe,
    "net weights size split context batch epochs minutes patience best lr optimizer precision accumulate seed cache "
    "workers repeat sampling flip rotate reduced_tail",
)
def train_backbone(
    options: TrainingOptions,
    folder: Annotated[bool, typer.Option("--folder", help="DATA is an image folder: one folder per label.")] = False,
) -> None:
    """Train a classifier on cropped objects: the backbone that a detector starts from.

    It trains on the train split and keeps the last weights, or the best epoch on val if that is surely better. Ctrl-C
    stops after the current step; --resume continues from there.
    """
    if options.seeds > 1:
        train_seeds("backbone", options, print_backbone_start, folder=folder)
        return
    if (outcome := follow("backbone", options, print_backbone_start, folder=folder)) is None:
        return
    request, result = outcome
    if launch.is_first():
        _print_confusion(result)
    print_end(result, _after_backbone(request, result.run.parent), _resume("backbone", result.run))


@app.command("train-ssd", cls=ResumableCommand)
@training_options(
    SsdRecipe,
    "net weights size split anchors batch epochs minutes patience best lr optimizer backbone_lr freeze freeze_norm "
    "grow balance precision accumulate seed cache workers repeat sampling mosaic mixup flip rotate reduced_tail",
)
def train_ssd(options: TrainingOptions) -> None:
    """Train an SSD-lite detector on a backbone, with anchors fitted to the dataset.

    It trains on the train split and keeps the last weights, or the best epoch on val if that is surely better. Ctrl-C
    stops after the current step; --resume continues from there.
    """
    _train_detector("ssd", options)


@app.command("train-maskrcnn", cls=ResumableCommand)
@training_options(
    MaskRcnnRecipe,
    "net weights size longest split heads masks anchors batch epochs minutes patience best lr optimizer backbone_lr "
    "freeze freeze_norm precision accumulate seed cache workers repeat sampling copy_paste mosaic flip rotate "
    "reduced_tail",
)
def train_maskrcnn(options: TrainingOptions) -> None:
    """Train a Mask R-CNN, mobile or standard, on a dataset with masks; with --no-masks a Faster R-CNN on boxes.

    It trains on the train split and keeps the last weights, or the best epoch on val if that is surely better. Ctrl-C
    stops after the current step; --resume continues from there.
    """
    _train_detector("maskrcnn", options)


def _train_detector(task: str, options: TrainingOptions) -> None:
    if options.seeds > 1:
        train_seeds(task, options, print_detector_start)
    elif outcome := follow(task, options, print_detector_start):
        request, result = outcome
        if launch.is_first() and (page := result.run / "report-val.html").is_file():
            render.out.print(f"page to look at: [bold]{escape(str(page))}[/]", soft_wrap=True)
        print_end(result, next_step(request, result.run.parent), _resume(task, result.run))


def _resume(task: str, run: Path) -> str:
    return render.command(f"train-{task}", "--resume", str(run))


def _after_backbone(request: Request, folder: Path) -> str:
    """The command that trains a detector on the backbone."""
    model = request.recipe.recipe.model
    reduced = ["--reduced-tail"] if model.reduced_tail else []
    runs = render.given(folder, "--runs", DEFAULT_RUNS)
    words = ["--net", model.net, *reduced, *runs]
    if request.folder:  # without boxes; which dataset they are from is unknown
        if launch.is_first():
            render.note(f"train a detector on it with {render.command('train-ssd', 'DATASET', *words)}")
        return ""
    return render.command("train-ssd", *same_dataset(request.source), *skipping(request.source.skip_bad), *words)


def _print_confusion(result: BackboneResult) -> None:
    confusion = result.confusion
    if confusion is None:
        return
    from vocdet.runs.folders import run_info

    labels = run_info(result.run).labels
    if len(labels) <= SHOWN_LABELS:
        table = render.table("objects of each label (rows) by predicted label (columns)", "", *labels)
        for label, counts in zip(labels, confusion.tolist(), strict=True):
            table.add_row(escape(label[:40]), *(str(count) if count else "·" for count in counts))
    else:
        table = render.table("most frequent confusions (all: confusion.csv)", "label", "predicted", "count", "of")
        pairs = [(n, i, j) for i, row in enumerate(confusion.tolist()) for j, n in enumerate(row) if n and i != j]
        for n, i, j in sorted(pairs, reverse=True)[:SHOWN_LABELS]:
            table.add_row(escape(labels[i][:40]), escape(labels[j][:40]), str(n), str(confusion[i].sum()))
    render.show(table)
    render.out.print(f"accuracy {confusion.trace() / max(1, confusion.sum()):.2%} of {confusion.sum()} objects")
