"""`vocdet train-backbone` and `vocdet train-ssd`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from vocdet.recipes.schema import Augment, Model, SsdAugment, SsdModel, SsdTrain, Train
from vocdet.recipes.schema import Data as DataSection
from vocdet_cli import launch, render
from vocdet_cli.following import follow, print_end
from vocdet_cli.options import Coordinates, Labels, Part, Runs, SomeData
from vocdet_cli.recipe_options import RecipeFile, Sets, ShowRecipe, batch_size, from_recipe, given, show_recipe
from vocdet_cli.resuming import Asked, Resume, ResumingCommand, asked_for
from vocdet_cli.startup import load_torch

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.models.anchor_fit import AnchorRecall
    from vocdet.workflows.train_backbone import BackboneFinished, BackboneStarted
    from vocdet.workflows.train_ssd import SsdStarted

app = typer.Typer()

MOST_LABELS = 12  # of a confusion table that fits a screen
DEFAULT_RUNS = Path("runs")

Net = Annotated[str | None, from_recipe(Model, "net")]
Tail = Annotated[bool | None, from_recipe(Model, "reduced_tail")]
Epochs = Annotated[int | None, from_recipe(Train, "epochs")]
Minutes = Annotated[float | None, from_recipe(Train, "minutes")]
Patience = Annotated[int | None, from_recipe(Train, "patience")]
Optimizer = Annotated[Literal["adamw", "sgd"] | None, from_recipe(Train, "optimizer")]
Precision = Annotated[Literal["auto", "fp32", "bf16", "fp16"] | None, from_recipe(Train, "precision")]
Accumulate = Annotated[int | None, from_recipe(Train, "accumulate")]
Seed = Annotated[int | None, from_recipe(Train, "seed")]
Cache = Annotated[Literal["ram", "disk", "off"] | None, from_recipe(DataSection, "cache")]
Workers = Annotated[int | None, from_recipe(DataSection, "workers")]
Sampling = Annotated[Literal["uniform", "balanced"] | None, from_recipe(DataSection, "sampling")]
Flip = Annotated[bool | None, from_recipe(Augment, "flip")]
Turns = Annotated[bool | None, from_recipe(Augment, "turns")]
Tensors = Annotated[bool, typer.Option("--show-weights", help="Say of every tensor where its weights come from.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …; 0,1 for a process on each of several.")]
Track = Annotated[
    Literal["wandb", "mlflow"] | None, typer.Option(help="Tell a service what the run's journal is told.")
]


@app.command("train-backbone", cls=ResumingCommand)
def train_backbone(
    data: SomeData = None,
    net: Net = None,
    folder: Annotated[bool, typer.Option("--folder", help="DATA is an image folder: one folder a label.")] = False,
    weights: Annotated[str | None, from_recipe(Model, "weights")] = None,
    recipe: RecipeFile = None,
    sets: Sets = None,
    show_recipe_: ShowRecipe = False,
    resume: Resume = None,
    size: Annotated[int | None, from_recipe(Model, "size")] = None,
    context: Annotated[float | None, from_recipe(DataSection, "context")] = None,
    batch: Annotated[int | None, from_recipe(Train, "batch", parser=batch_size)] = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    patience: Patience = None,
    best: Annotated[str | None, from_recipe(Train, "best")] = None,
    lr: Annotated[float | None, from_recipe(Train, "lr")] = None,
    optimizer: Optimizer = None,
    precision: Precision = None,
    accumulate: Accumulate = None,
    seed: Seed = None,
    cache: Cache = None,
    workers: Workers = None,
    sampling: Sampling = None,
    flip: Flip = None,
    turns: Turns = None,
    reduced_tail: Tail = None,
    show_weights: Tensors = False,
    labels: Labels = None,
    coordinates: Coordinates = "auto",
    runs: Runs = DEFAULT_RUNS,
    device: Device = "auto",
    track: Track = None,
) -> None:
    """Train a classifier on the objects of the part train: the backbone that a detector starts from.

    Every object is cut out with some of what is around it. Ctrl-C stops after the step; --resume goes on from there.
    """
    flags = given(
        net=net, weights=weights, size=size, context=context, batch=batch, epochs=epochs, minutes=minutes,
        patience=patience, best=best, lr=lr, optimizer=optimizer, precision=precision, accumulate=accumulate, seed=seed,
        cache=cache, workers=workers, sampling=sampling, flip=flip, turns=turns, reduced_tail=reduced_tail,
    )  # fmt: skip
    asked = asked_for(
        "backbone", data=data, labels=labels, coordinates=coordinates, folder=folder, runs=runs, resume=resume,
        recipe=recipe, sets=sets, flags=flags,
    )  # fmt: skip
    if show_recipe_:
        show_recipe(asked.recipe)
        return
    here = launch.device_here(device)
    load_torch()
    from vocdet.training.distributed import join
    from vocdet.workflows.train_backbone import train_backbone as train

    def show_start(event: BackboneStarted) -> None:
        _print_start(event, event.crops, "image" if asked.folder else "object", show_weights)
        _print_warnings(event, asked)

    with join(here) as group:
        finished: BackboneFinished = follow(
            lambda stop: train(
                asked.data, asked.recipe.recipe, folder=asked.folder, runs=runs, labels=asked.labels,
                coordinates=asked.coordinates, device=here, resume=asked.run, group=group, track=track, stop=stop,
            ),
            show_start,
        )  # fmt: skip
    if launch.is_first():
        _print_confusion(finished)
    model = asked.recipe.recipe.model
    tail = ["--reduced-tail"] if model.reduced_tail else []
    used = ["DATASET"] if asked.folder else [*render.given(asked.data), *_same(asked)]
    then = render.command("train-ssd", *used, "--net", model.net, *tail, *render.given(runs, "--runs", DEFAULT_RUNS))
    if finished.reached.interrupted:
        then = render.command("train-backbone", "--resume", str(finished.run))
    print_end(finished.run, finished.reached, then)


@app.command("train-ssd", cls=ResumingCommand)
def train_ssd(
    data: SomeData = None,
    net: Net = None,
    weights: Annotated[str | None, from_recipe(SsdModel, "weights")] = None,
    recipe: RecipeFile = None,
    sets: Sets = None,
    show_recipe_: ShowRecipe = False,
    resume: Resume = None,
    size: Annotated[int | None, from_recipe(SsdModel, "size")] = None,
    part: Annotated[Part | None, from_recipe(DataSection, "part")] = None,
    anchors: Annotated[Literal["auto", "fit", "torchvision"] | None, from_recipe(SsdModel, "anchors")] = None,
    batch: Annotated[int | None, from_recipe(SsdTrain, "batch", parser=batch_size)] = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    patience: Patience = None,
    best: Annotated[str | None, from_recipe(SsdTrain, "best")] = None,
    lr: Annotated[float | None, from_recipe(SsdTrain, "lr")] = None,
    optimizer: Optimizer = None,
    backbone_lr: Annotated[float | None, from_recipe(SsdTrain, "backbone_lr")] = None,
    freeze: Annotated[int | None, from_recipe(SsdTrain, "freeze")] = None,
    freeze_norm: Annotated[bool | None, from_recipe(SsdTrain, "freeze_norm")] = None,
    balance: Annotated[float | None, from_recipe(SsdTrain, "balance")] = None,
    precision: Precision = None,
    accumulate: Accumulate = None,
    seed: Seed = None,
    cache: Cache = None,
    workers: Workers = None,
    sampling: Sampling = None,
    mosaic: Annotated[float | None, from_recipe(SsdAugment, "mosaic")] = None,
    mixup: Annotated[float | None, from_recipe(SsdAugment, "mixup")] = None,
    flip: Flip = None,
    turns: Turns = None,
    reduced_tail: Tail = None,
    show_weights: Tensors = False,
    labels: Labels = None,
    coordinates: Coordinates = "auto",
    runs: Runs = DEFAULT_RUNS,
    device: Device = "auto",
    track: Track = None,
) -> None:
    """Train an SSD-lite detector on a backbone, with anchors that fit the dataset.

    Learns from the part train and keeps the best epoch on val. Ctrl-C stops after the step; --resume goes on there.
    """
    flags = given(
        net=net, weights=weights, size=size, part=part, anchors=anchors, batch=batch, epochs=epochs, minutes=minutes,
        patience=patience, best=best, lr=lr, optimizer=optimizer, backbone_lr=backbone_lr, freeze=freeze,
        freeze_norm=freeze_norm, balance=balance, precision=precision, accumulate=accumulate, seed=seed, cache=cache,
        workers=workers, sampling=sampling, mosaic=mosaic, mixup=mixup, flip=flip, turns=turns,
        reduced_tail=reduced_tail,
    )  # fmt: skip
    asked = asked_for(
        "ssd", data=data, labels=labels, coordinates=coordinates, runs=runs, resume=resume, recipe=recipe, sets=sets,
        flags=flags,
    )  # fmt: skip
    if show_recipe_:
        show_recipe(asked.recipe)
        return
    here = launch.device_here(device)
    load_torch()
    from vocdet.training.distributed import join
    from vocdet.workflows.train_ssd import SsdFinished
    from vocdet.workflows.train_ssd import train_ssd as train

    def show_start(event: SsdStarted) -> None:
        _print_start(event, event.images, "image", show_weights)
        _print_warnings(event, asked)
        render.note(f"coordinates are {event.coordinates}")
        render.show(_recall_table(event.recall, sum(event.anchors.counts)))

    with join(here) as group:
        finished: SsdFinished = follow(
            lambda stop: train(
                asked.data, asked.recipe.recipe, runs=runs, labels=asked.labels, coordinates=asked.coordinates,
                device=here, resume=asked.run, group=group, track=track, stop=stop,
            ),
            show_start,
        )  # fmt: skip
    if not finished.reached.best_epoch and launch.is_first():
        render.note("nothing was validated: the last weights are the best, their thresholds come from training images")
    coordinates_given = render.given(asked.coordinates, "--coordinates", "auto")
    where = [*render.given(asked.data, "--data"), *coordinates_given, *render.given(runs, "--runs", DEFAULT_RUNS)]
    then = render.command("eval", *where)
    if finished.reached.interrupted:
        then = render.command("train-ssd", "--resume", str(finished.run))
    print_end(finished.run, finished.reached, then)


def _same(asked: Asked) -> list[str]:
    """The options for the same labels and coordinates in another command."""
    return [
        *render.given(asked.labels, "--labels", None), *render.given(asked.coordinates, "--coordinates", "auto"),
    ]  # fmt: skip


def _print_start(event: BackboneStarted | SsdStarted, number: int, what: str, show_weights: bool) -> None:
    from vocdet.data.checks import counted
    from vocdet_cli import weights_table

    samples = f"{counted(number, what)} of {counted(len(event.labels), 'label')}, {event.validated_on} to validate on"
    render.out.print(f"learning from {escape(samples)}, in batches of {event.recipe.train.batch}", soft_wrap=True)
    render.out.print(f"weights: {escape(event.start)}", soft_wrap=True)
    if event.transfer:
        weights_table.show_weights(event.transfer, every=show_weights)


def _print_warnings(event: BackboneStarted | SsdStarted, asked: Asked) -> None:
    from vocdet.data.checks import counted

    if event.warnings:
        see = render.command("check", *render.given(asked.data), *_same(asked))
        render.note(f"{counted(len(event.warnings), 'warning')} about the data: see {see}")
    if not event.validated_on:
        render.warning("there is nothing to validate on: the last weights are kept, good or bad, not the best ones")


def _recall_table(rows: tuple[AnchorRecall, ...], shapes: int) -> Table:
    table = render.table(
        f"{shapes} anchor shapes, and how well the best fits each object",
        "label", "size", "objects", "mean IoU", "IoU ≥ .5",
    )  # fmt: skip
    for row in rows:
        table.add_row(escape(row.label[:40]), row.size, str(row.objects), f"{row.mean_iou:.2f}", f"{row.recall:.1%}")
    return table


def _print_confusion(finished: BackboneFinished) -> None:
    confusion = finished.confusion
    if confusion is None:
        return
    from vocdet.workflows.runs import about_run

    labels = about_run(finished.run).labels
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
