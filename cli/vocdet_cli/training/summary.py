"""What a training prints of what it starts from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.markup import escape

from vocdet_cli import render
from vocdet_cli.training import launch
from vocdet_cli.training.options import DEFAULT_RUNS, Told
from vocdet_cli.training.resume import Asked

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.models.anchor_recall import AnchorRecall
    from vocdet.models.weights.transfer import Fate, Tensors, Transfer
    from vocdet.workflows.train_backbone import BackboneStarted
    from vocdet.workflows.train_detector import DetectorFinished, DetectorStarted


def print_start(event: BackboneStarted | DetectorStarted, number: int, what: str, *, show_weights: bool) -> None:
    """How much it learns from, and what became of the weights."""
    from vocdet.wording import counted

    samples = f"{counted(number, what)} of {counted(len(event.labels), 'label')}, {event.validated_on} to validate on"
    render.out.print(f"learning from {escape(samples)}, in batches of {event.recipe.train.batch}", soft_wrap=True)
    render.out.print(f"weights: {escape(event.start)}", soft_wrap=True)
    if event.transfer:
        print_weights(event.transfer, every=show_weights)


def print_warnings(event: BackboneStarted | DetectorStarted, asked: Asked) -> None:
    """What is not as it should be."""
    from vocdet.wording import counted

    if event.warnings:
        see = render.command("check", *render.given(asked.source.path), *same_dataset(asked))
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
    coordinates = render.given(asked.source.coordinates, "--coordinates", "auto")
    where = [*render.given(asked.source.path, "--data"), *coordinates, *render.given(told.runs, "--runs", DEFAULT_RUNS)]
    return render.command("eval", *where)


def same_dataset(asked: Asked) -> list[str]:
    """The options for the same labels and coordinates in another command."""
    return [
        *render.given(asked.source.labels, "--labels", None),
        *render.given(asked.source.coordinates, "--coordinates", "auto"),
    ]


def _recall_table(rows: tuple[AnchorRecall, ...], shapes: int) -> Table:
    table = render.table(
        f"{shapes} anchor shapes, and how well the best fits each object",
        "label", "size", "objects", "mean IoU", "IoU ≥ .5",
    )  # fmt: skip
    for row in rows:
        table.add_row(escape(row.label[:40]), row.size, str(row.objects), f"{row.mean_iou:.2f}", f"{row.recall:.1%}")
    return table


FATES: dict[Fate, str] = {"loaded": "loaded", "resized": "some rows", "fresh": "fresh", "skipped": "not used"}


MOST_REASONS = 2  # of a part; the rest are counted


MOST_NAMES = 12  # of labels in a line


def print_weights(transfer: Transfer, *, every: bool = False) -> None:
    """Print the table, the labels that are known already, and with `every` each tensor."""
    from vocdet.models.weights.heads import OTHER_ANCHORS

    render.show(parts_table(transfer))
    for line in label_lines(transfer):
        render.out.print(escape(line), soft_wrap=True)
    if any(tensor.why == OTHER_ANCHORS for tensor in transfer.tensors):
        render.note("heads made for other anchors start fresh; --anchors auto keeps the anchors of the weights")
    if every:
        render.show(tensors_table(transfer.tensors))


def parts_table(transfer: Transfer) -> Table:
    """How many tensors of each part of the network were loaded, and why others were not."""
    parts: dict[str, list[Tensors]] = {}
    for tensor in transfer.tensors:
        parts.setdefault(tensor.name.partition(".")[0], []).append(tensor)
    counts = {part: Counter(tensor.fate for tensor in tensors) for part, tensors in parts.items()}
    fates = [fate for fate in FATES if any(count[fate] for count in counts.values())]
    made = render.table("tensors of the weights, part by part", "", *(FATES[fate] for fate in fates), "why")
    made.columns[-1].justify = "left"
    for part, tensors in parts.items():
        made.add_row(escape(part), *(str(counts[part][fate] or "·") for fate in fates), escape(_reasons(tensors)))
    return made


def tensors_table(tensors: Iterable[Tensors]) -> Table:
    """Every tensor, and what became of it."""
    made = render.table("every tensor", "tensor", "shape", "", "why")
    for column in made.columns:
        column.justify = "left"
    for tensor in tensors:
        shape = "×".join(map(str, tensor.shape)) or "1"
        made.add_row(escape(tensor.name), shape, FATES[tensor.fate], escape(tensor.why))
    return made


def label_lines(transfer: Transfer) -> list[str]:
    """Which labels the weights know, in words; nothing where they do not say what their labels are."""
    if not transfer.kept:
        return []
    lines = [f"{len(transfer.kept)} of {len(transfer.labels)} labels are known to the weights: {_names(transfer.kept)}"]
    fresh = [label for label in transfer.labels if label not in set(transfer.kept)]
    return [*lines, f"learned from nothing: {_names(fresh)}"] if fresh else lines


def _reasons(tensors: Iterable[Tensors]) -> str:
    """The commonest reasons, without what is different in each tensor."""
    reasons = Counter(tensor.why.partition(":")[0] for tensor in tensors if tensor.why).most_common()
    more = [f"and {len(reasons) - MOST_REASONS} more"] if len(reasons) > MOST_REASONS else []
    return ", ".join([reason for reason, _ in reasons[:MOST_REASONS]] + more)


def _names(labels: Iterable[str]) -> str:
    names = list(labels)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
