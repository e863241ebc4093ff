"""`vocdet train-backbone` and `vocdet train-ssd`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from vocdet.errors import VocdetError
from vocdet.recipes.schema import BackboneRecipe, SsdRecipe, changed
from vocdet_cli import render
from vocdet_cli.options import Coordinates, Data, Device, Labels, Part, Runs, Seed
from vocdet_cli.startup import load_torch

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from vocdet.models.anchor_fit import AnchorRecall
    from vocdet.training.loop import Epoch, Step
    from vocdet.workflows.train_backbone import BackboneFinished, BackboneStarted
    from vocdet.workflows.train_ssd import SsdStarted
    from vocdet.workflows.training_run import Reached

app = typer.Typer()

BACKBONE, SSD = BackboneRecipe(), SsdRecipe()  # the defaults
MOST_LABELS = 12  # of a confusion table that fits a screen

Net = Annotated[
    str,
    typer.Option(help="mb1, mb2, mb3-small or mb3-large; with a width multiplier as in mb1-0.25 or mb3-large-0.75."),
]
Batch = Annotated[int, typer.Option(help="Images in a training step.")]
Epochs = Annotated[int, typer.Option(help="Passes over the training images, at most.")]
Minutes = Annotated[
    float,
    typer.Option(help="Train this long in place of --epochs, the schedule fitted to it.", show_default="by epochs"),
]
Patience = Annotated[int, typer.Option(help="Stop after this many epochs without gain; 0: never. Not with --minutes.")]
Rate = Annotated[float, typer.Option(help="Highest learning rate.")]
Flip = Annotated[bool, typer.Option(help="Learn mirrored images, too; not for text and digits.")]
Turns = Annotated[
    bool, typer.Option("--turns", help="The images have no way up (from above, microscope): learn any flip and turn.")
]
Tail = Annotated[bool, typer.Option("--reduced-tail", help="Half the last channels of mb3, as torchvision's SSD-lite.")]
Tensors = Annotated[bool, typer.Option("--show-weights", help="Say of every tensor where its weights come from.")]


@app.command("train-backbone")
def train_backbone(
    data: Data = Path(),
    net: Net = BACKBONE.model.net,
    folder: Annotated[bool, typer.Option("--folder", help="DATA is an image folder: one folder a label.")] = False,
    weights: Annotated[str, typer.Option(help="none, imagenet, a run, or a .pth or .safetensors file.")] = "none",
    size: Annotated[int, typer.Option(help="Side of the crops, pixels.")] = BACKBONE.model.size,
    context: Annotated[
        float, typer.Option(min=0, max=2, help="Share of a box added all round its crop.")
    ] = BACKBONE.data.context,
    batch: Batch = BACKBONE.train.batch,
    epochs: Epochs = BACKBONE.train.epochs,
    minutes: Minutes = 0.0,
    patience: Patience = BACKBONE.train.patience,
    lr: Rate = BACKBONE.train.lr,
    seed: Seed = BACKBONE.train.seed,
    flip: Flip = True,
    turns: Turns = False,
    reduced_tail: Tail = False,
    show_weights: Tensors = False,
    labels: Labels = None,
    coordinates: Coordinates = "auto",
    runs: Runs = Path("runs"),
    device: Device = "auto",
) -> None:
    """Train a classifier on the objects of the part train: the backbone that a detector starts from.

    Every object is cut out with some of what is around it. Ctrl-C stops after the step and keeps the best.
    """
    load_torch()
    from vocdet.data.checks import counted
    from vocdet.training.loop import Epoch, Step
    from vocdet.workflows.train_backbone import BackboneStarted
    from vocdet.workflows.train_backbone import train_backbone as train

    recipe = changed(
        BackboneRecipe(), net=net, weights=weights, size=size, context=context, batch=batch, epochs=epochs,
        minutes=minutes, patience=patience, lr=lr, seed=seed, flip=flip, turns=turns, reduced_tail=reduced_tail,
    )  # fmt: skip
    same = [*render.given(labels, "--labels", None), *render.given(coordinates, "--coordinates", "auto")]
    stop = threading.Event()
    events = train(
        data, recipe, folder=folder, runs=runs, labels=labels, coordinates=coordinates,
        device=device, stop=stop.is_set,
    )  # fmt: skip
    with _bar() as bar, closing(events), ExitStack() as started:
        for event in events:
            if isinstance(event, BackboneStarted):
                started.enter_context(_stopping(stop, event.run))
                _print_start(event, counted(event.crops, "image" if folder else "object"), show_weights)
                _print_warnings(event, render.command("check", *render.given(data), *same))
            elif isinstance(event, Step):
                _show_step(bar, event)
            elif isinstance(event, Epoch):
                _print_epoch(event)
            else:
                finished = event
    _print_confusion(finished)
    tail = ["--reduced-tail"] if reduced_tail else []
    data_given = ["DATASET"] if folder else [*render.given(data), *same]
    then = render.command("train-ssd", *data_given, "--net", net, *tail, *render.given(runs, "--runs", Path("runs")))
    _print_end(finished.run, finished.reached, then)


@app.command("train-ssd")
def train_ssd(
    data: Data = Path(),
    net: Net = SSD.model.net,
    weights: Annotated[
        str,
        typer.Option(help="auto (the newest backbone run of this net), imagenet, none, a run, or a file of weights."),
    ] = "auto",
    size: Annotated[int, typer.Option(help="Side of the square input, pixels.")] = SSD.model.size,
    part: Annotated[
        Part, typer.Option(help="Part to learn from; with trainval nothing is left to validate on.")
    ] = "train",
    anchors: Annotated[
        Literal["auto", "fit", "torchvision"],
        typer.Option(
            help="fit: chosen from the training boxes; torchvision: its fixed ones; auto: as the weights need."
        ),
    ] = "auto",
    batch: Batch = SSD.train.batch,
    epochs: Epochs = SSD.train.epochs,
    minutes: Minutes = 0.0,
    patience: Patience = SSD.train.patience,
    lr: Rate = SSD.train.lr,
    mosaic: Annotated[
        float, typer.Option(min=0, max=1, help="Share of samples made of four images.")
    ] = SSD.augment.mosaic,
    balance: Annotated[
        float, typer.Option(min=0, max=1, help="0: every object counts the same; 1: every label does, however rare.")
    ] = SSD.train.balance,
    backbone_lr: Annotated[
        float, typer.Option(min=0, max=1, help="Share of --lr for the backbone, to keep more of what it knows.")
    ] = SSD.train.backbone_lr,
    freeze: Annotated[
        int, typer.Option(help="Keep the backbone's weights up to this stride: 2, 4 or 8; faster. 0: all learn.")
    ] = SSD.train.freeze,
    seed: Seed = SSD.train.seed,
    flip: Flip = True,
    turns: Turns = False,
    reduced_tail: Tail = False,
    show_weights: Tensors = False,
    labels: Labels = None,
    coordinates: Coordinates = "auto",
    runs: Runs = Path("runs"),
    device: Device = "auto",
) -> None:
    """Train an SSD-lite detector on a backbone, with anchors that fit the dataset.

    Learns from the part train and keeps the best epoch on val. Ctrl-C stops after the step and keeps the best.
    """
    load_torch()
    from vocdet.data.checks import counted
    from vocdet.training.loop import Epoch, Step
    from vocdet.workflows.train_ssd import SsdStarted
    from vocdet.workflows.train_ssd import train_ssd as train

    recipe = changed(
        SsdRecipe(), net=net, weights=weights, size=size, part=part, anchors=anchors, batch=batch, epochs=epochs,
        minutes=minutes, patience=patience, lr=lr, mosaic=mosaic, balance=balance, seed=seed, flip=flip, turns=turns,
        backbone_lr=backbone_lr, freeze=freeze, reduced_tail=reduced_tail,
    )  # fmt: skip
    same = render.given(coordinates, "--coordinates", "auto")
    stop = threading.Event()
    events = train(
        data, recipe, runs=runs, labels=labels, coordinates=coordinates, device=device,
        stop=stop.is_set,
    )  # fmt: skip
    with _bar() as bar, closing(events), ExitStack() as started:
        for event in events:
            if isinstance(event, SsdStarted):
                started.enter_context(_stopping(stop, event.run))
                _print_start(event, counted(event.images, "image"), show_weights)
                labels_given = render.given(labels, "--labels", None)
                _print_warnings(event, render.command("check", *render.given(data), *labels_given, *same))
                render.note(f"coordinates are {event.coordinates}")
                render.show(_recall_table(event.recall, sum(event.anchors.counts)))
            elif isinstance(event, Step):
                _show_step(bar, event)
            elif isinstance(event, Epoch):
                _print_epoch(event)
            else:
                finished = event
    if not finished.reached.best_epoch:
        render.note("nothing was validated: the last weights are the best, their thresholds come from training images")
    then = render.command("eval", *render.given(data, "--data"), *same, *render.given(runs, "--runs", Path("runs")))
    _print_end(finished.run, finished.reached, then)


@contextmanager
def _stopping(stop: threading.Event, run: Path) -> Iterator[None]:
    """Inside, the first Ctrl-C sets `stop`, the second interrupts at once; it is told what is kept of the run."""

    def on_signal(_: int, __: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        render.note("stopping after this step; Ctrl-C again to leave at once")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (KeyboardInterrupt, VocdetError):
        kept = [path for path in (run / "best.safetensors", run / "last.safetensors") if path.exists()]
        if kept:
            render.note(f"what was reached until then is in {kept[0]}")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=render.screen(), transient=True, disable=not render.screen().is_terminal) as bar:
        bar.add_task("preparing", total=1.0, state="")
        yield bar


def _show_step(bar: Progress, step: Step) -> None:
    losses = " ".join(f"{name} {value:.3f}" for name, value in step.losses.items())
    minutes, seconds = divmod(round(step.seconds_left), 60)
    state = f"loss {losses} · {step.images_per_second:.1f} images/s · {minutes}:{seconds:02d} left"
    bar.update(bar.task_ids[0], description=f"epoch {step.epoch}", completed=step.progress, state=state)


def _print_start(event: BackboneStarted | SsdStarted, samples: str, show_weights: bool) -> None:
    from vocdet.data.checks import counted

    on = f"{samples} of {counted(len(event.labels), 'label')}, {event.validated_on} to validate on"
    render.out.print(f"learning from {escape(on)}", soft_wrap=True)
    moved, counts = event.transfer, ""
    if moved:
        counts = (
            f": {moved.count('loaded')} tensors loaded, {moved.count('fresh')} fresh, {moved.count('skipped')} unused"
        )
    render.out.print(f"weights: {escape(event.start)}{counts}", soft_wrap=True)
    if moved and show_weights:
        for tensor in moved.tensors:
            why = f" ({tensor.why})" if tensor.why else ""
            render.out.print(f"  {tensor.fate:8}{tensor.name} {tensor.shape}{why}", soft_wrap=True, markup=False)


def _print_warnings(event: BackboneStarted | SsdStarted, see: str) -> None:
    from vocdet.data.checks import counted

    if event.warnings:
        render.note(f"{counted(len(event.warnings), 'warning')} about the data: see {see}")
    if not event.validated_on:
        render.warning("there is nothing to validate on: the last weights are kept, good or bad, not the best ones")


def _print_epoch(epoch: Epoch) -> None:
    losses = " ".join(f"{name} {value:.3f}" for name, value in epoch.losses.items())
    metrics = " ".join(f"{name} {value:.3f}" for name, value in epoch.metrics.items())
    best = " [green]best[/]" if epoch.best and epoch.metrics else ""
    minutes, seconds = divmod(round(epoch.seconds), 60)
    render.out.print(f"epoch {epoch.epoch:3} {minutes:3}:{seconds:02d}  loss {losses}  {metrics}{best}", soft_wrap=True)


def _print_end(run: Path, reached: Reached, then: str) -> None:
    from vocdet.data.checks import counted

    best = f", the best is of epoch {reached.best_epoch}" if reached.best_epoch else ""
    stopped = "stopped: " if reached.interrupted else ""
    render.done(f"{stopped}{counted(reached.epochs, 'epoch')}{best}; wrote {run}", then=then)
    if reached.interrupted:
        raise typer.Exit(130)


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
