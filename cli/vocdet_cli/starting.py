"""What a training prints of what it starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from vocdet_cli import launch, render
from vocdet_cli.recipe_options import DEFAULT_RUNS, Told
from vocdet_cli.resuming import Asked

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.models.anchor_fit import AnchorRecall
    from vocdet.workflows.detector_training import DetectorFinished, DetectorStarted
    from vocdet.workflows.train_backbone import BackboneStarted


def print_start(event: BackboneStarted | DetectorStarted, number: int, what: str, *, show_weights: bool) -> None:
    """How much it learns from, and what became of the weights."""
    from vocdet.data.checks import counted
    from vocdet_cli import weights_table

    samples = f"{counted(number, what)} of {counted(len(event.labels), 'label')}, {event.validated_on} to validate on"
    render.out.print(f"learning from {escape(samples)}, in batches of {event.recipe.train.batch}", soft_wrap=True)
    render.out.print(f"weights: {escape(event.start)}", soft_wrap=True)
    if event.transfer:
        weights_table.show_weights(event.transfer, every=show_weights)


def print_warnings(event: BackboneStarted | DetectorStarted, asked: Asked) -> None:
    """What is not as it should be."""
    from vocdet.data.checks import counted

    if event.warnings:
        see = render.command("check", *render.given(asked.data), *same_dataset(asked))
        render.note(f"{counted(len(event.warnings), 'warning')} about the data: see {see}")
    if not event.validated_on:
        render.warning("there is nothing to validate on: the last weights are kept, good or bad, not the best ones")


def print_detector_start(event: DetectorStarted, asked: Asked, *, show_weights: bool) -> None:
    """All of that for a detector, and how well its anchors fit."""
    print_start(event, event.images, "image", show_weights=show_weights)
    print_warnings(event, asked)
    for text in event.notes:
        render.note(text)
    render.note(f"coordinates are {event.coordinates}")
    render.show(_recall_table(event.recall, event.shapes))


def after_detector(command: str, finished: DetectorFinished, asked: Asked, told: Told) -> str:
    """The command that comes after a detector's training: to evaluate it, or to go on."""
    if finished.reached.interrupted:
        return render.command(command, "--resume", str(finished.run))
    if not finished.reached.best_epoch and launch.is_first():
        render.note("nothing was validated: the last weights are the best, their thresholds come from training images")
    coordinates = render.given(asked.coordinates, "--coordinates", "auto")
    where = [*render.given(asked.data, "--data"), *coordinates, *render.given(told.runs, "--runs", DEFAULT_RUNS)]
    return render.command("eval", *where)


def same_dataset(asked: Asked) -> list[str]:
    """The options for the same labels and coordinates in another command."""
    return [
        *render.given(asked.labels, "--labels", None), *render.given(asked.coordinates, "--coordinates", "auto"),
    ]  # fmt: skip


def _recall_table(rows: tuple[AnchorRecall, ...], shapes: int) -> Table:
    table = render.table(
        f"{shapes} anchor shapes, and how well the best fits each object",
        "label", "size", "objects", "mean IoU", "IoU ≥ .5",
    )  # fmt: skip
    for row in rows:
        table.add_row(escape(row.label[:40]), row.size, str(row.objects), f"{row.mean_iou:.2f}", f"{row.recall:.1%}")
    return table
