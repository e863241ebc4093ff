"""`vocdet train-backbone`, `vocdet train-ssd` and `vocdet train-maskrcnn`."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from vocdet.recipes.schema import BackboneRecipe, MaskRcnnRecipe, SsdRecipe
from vocdet_cli import render
from vocdet_cli.training import launch
from vocdet_cli.training.options import DEFAULT_RUNS, Told, training_options
from vocdet_cli.training.progress import print_end, trained
from vocdet_cli.training.resume import Asked, ResumingCommand
from vocdet_cli.training.summary import after_detector, print_detector_start, print_start, print_warnings, same_dataset

if TYPE_CHECKING:
    from vocdet.workflows.train_backbone import BackboneFinished, BackboneStarted

app = typer.Typer()

MOST_LABELS = 12  # of a confusion table that fits a screen


@app.command("train-backbone", cls=ResumingCommand)
@training_options(
    BackboneRecipe,
    "net weights size context batch epochs minutes patience best lr optimizer precision accumulate seed cache workers "
    "sampling flip turns reduced_tail",
)
def train_backbone(
    told: Told,
    folder: Annotated[bool, typer.Option("--folder", help="DATA is an image folder: one folder a label.")] = False,
) -> None:
    """Train a classifier on the objects of the part train: the backbone that a detector starts from.

    Every object is cut out with some of what is around it. Ctrl-C stops after the step; --resume goes on from there.
    """

    def train(*given: Any, **more: Any) -> Generator[Any, None, None]:
        from vocdet.workflows.train_backbone import train_backbone

        return train_backbone(*given, **more)

    def show_start(event: BackboneStarted, asked: Asked) -> None:
        print_start(event, event.crops, "image" if asked.folder else "object", show_weights=told.show_weights)
        print_warnings(event, asked)

    if (done := trained("backbone", told, train, show_start, folder=folder)) is None:
        return
    asked, finished = done
    if launch.is_first():
        _print_confusion(finished)
    model = asked.recipe.recipe.model
    tail = ["--reduced-tail"] if model.reduced_tail else []
    used = ["DATASET"] if asked.folder else [*render.given(asked.source.path), *same_dataset(asked)]
    runs = render.given(told.runs, "--runs", DEFAULT_RUNS)
    then = render.command("train-ssd", *used, "--net", model.net, *tail, *runs)
    if finished.reached.interrupted:
        then = render.command("train-backbone", "--resume", str(finished.run))
    print_end(finished.run, finished.reached, then)


@app.command("train-ssd", cls=ResumingCommand)
@training_options(
    SsdRecipe,
    "net weights size split anchors batch epochs minutes patience best lr optimizer backbone_lr freeze freeze_norm "
    "balance precision accumulate seed cache workers sampling mosaic mixup flip turns reduced_tail",
)
def train_ssd(told: Told) -> None:
    """Train an SSD-lite detector on a backbone, with anchors that fit the dataset.

    Learns from the part train and keeps the best epoch on val. Ctrl-C stops after the step; --resume goes on there.
    """

    def train(*given: Any, **more: Any) -> Generator[Any, None, None]:
        from vocdet.workflows.train_ssd import train_ssd

        return train_ssd(*given, **more)

    done = trained(
        "ssd", told, train, lambda event, asked: print_detector_start(event, asked, show_weights=told.show_weights)
    )
    if done:
        asked, finished = done
        print_end(finished.run, finished.reached, after_detector("train-ssd", finished, asked, told))


@app.command("train-maskrcnn", cls=ResumingCommand)
@training_options(
    MaskRcnnRecipe,
    "net weights size longest split heads masks anchors batch epochs minutes patience best lr optimizer backbone_lr "
    "freeze freeze_norm precision accumulate seed cache workers sampling copy_paste mosaic flip turns reduced_tail",
)
def train_maskrcnn(told: Told) -> None:
    """Train a Mask R-CNN, mobile or standard, on a dataset with masks; --no-masks makes it a Faster R-CNN on boxes.

    Learns from the part train and keeps the best epoch on val. Ctrl-C stops after the step; --resume goes on there.
    """

    def train(*given: Any, **more: Any) -> Generator[Any, None, None]:
        from vocdet.workflows.train_maskrcnn import train_maskrcnn

        return train_maskrcnn(*given, **more)

    done = trained(
        "maskrcnn", told, train, lambda event, asked: print_detector_start(event, asked, show_weights=told.show_weights)
    )
    if done:
        asked, finished = done
        print_end(finished.run, finished.reached, after_detector("train-maskrcnn", finished, asked, told))


def _print_confusion(finished: BackboneFinished) -> None:
    confusion = finished.confusion
    if confusion is None:
        return
    from vocdet.runs.folders import run_info

    labels = run_info(finished.run).labels
    if len(labels) <= MOST_LABELS:
        table = render.table("objects of each label (rows), and what they were taken for", "", *labels)
        for label, counts in zip(labels, confusion.tolist(), strict=True):
            table.add_row(escape(label[:40]), *(str(count) if count else "·" for count in counts))
    else:
        table = render.table("what was mistaken most often (all: confusion.csv)", "label", "taken for", "times", "of")
        pairs = [(n, i, j) for i, row in enumerate(confusion.tolist()) for j, n in enumerate(row) if n and i != j]
        for n, i, j in sorted(pairs, reverse=True)[:MOST_LABELS]:
            table.add_row(escape(labels[i][:40]), escape(labels[j][:40]), str(n), str(confusion[i].sum()))
    render.show(table)
    render.out.print(f"accuracy {confusion.trace() / max(1, confusion.sum()):.2%} of {confusion.sum()} objects")
