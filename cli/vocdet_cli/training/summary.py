"""What a training prints at its start, and the command that it suggests at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vocdet_cli import render
from vocdet_cli.left_out import show_left_out, skipping
from vocdet_cli.next_steps import same_dataset
from vocdet_cli.options import DEFAULT_RUNS
from vocdet_cli.safe import escape
from vocdet_cli.training.resume import Request

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.models.anchor_recall import AnchorRecall
    from vocdet.models.weights.transfer import Fate, TensorFate, Transfer
    from vocdet.workflows.train_backbone import BackboneStart
    from vocdet.workflows.train_detector import DetectorStart

FATES: dict[Fate, str] = {"loaded": "loaded", "resized": "some rows", "fresh": "fresh", "skipped": "not used"}
MOST_REASONS = 2  # of a module; the others are counted
MOST_NAMES = 12  # of labels in a line
FITTING = 0.95  # share of the objects of a label and size with an IoU of .5, from which they are not listed


def print_backbone_start(event: BackboneStart, request: Request, *, show_weights: bool) -> None:
    """Print the data that a classifier trains on, and the weights that it starts from."""
    _print_samples(event, event.crops, event.validation_crops, "image" if request.folder else "object")
    _print_weights(event, show_weights=show_weights)
    _print_warnings(event, event.validation_crops, request)


def print_detector_start(event: DetectorStart, request: Request, *, show_weights: bool) -> None:
    """Print the data that a detector trains on, the weights that it starts from, and how well its anchors fit."""
    _print_samples(event, event.images, event.validation_images, "image")
    _print_weights(event, show_weights=show_weights)
    _print_warnings(event, event.validation_images, request)
    if event.coordinates:
        render.note(f"coordinates are {event.coordinates}")
    print_recall(event.recall, event.anchor_shapes)


def next_step(request: Request, runs: Path) -> str:
    """The command that evaluates a detector."""
    from vocdet.data.splits import validation_split

    source = request.source
    data = [
        *render.given(source.path, "--data"),
        *render.given(source.format, "--from", "auto"),
        *render.given(source.coordinates, "--coordinates", "auto"),
        *render.given(source.crowds, "--crowds", "ignore"),
        *skipping(source.skip_bad),
        *render.given(runs, "--runs", DEFAULT_RUNS),
    ]
    validation = validation_split(request.recipe.recipe.data.split)
    if validation != "val":
        data += ["--split", validation]  # a fold has no test images
    return render.command("eval", *data)


def _print_samples(event: BackboneStart | DetectorStart, samples: int, validation: int, noun: str) -> None:
    from vocdet.wording import counted

    text = f"Training on {counted(samples, noun)} ({counted(len(event.labels), 'label')}), validating on {validation}"
    render.out.print(f"{escape(text)}; batch size {event.recipe.train.batch}", soft_wrap=True)


def _print_weights(event: BackboneStart | DetectorStart, *, show_weights: bool) -> None:
    render.out.print(f"weights: {escape(event.weights)}", soft_wrap=True)
    if event.transfer:
        print_transfer(event.transfer, every=show_weights)
    if event.weights_warning:
        render.warning(event.weights_warning)


def _print_warnings(event: BackboneStart | DetectorStart, validation: int, request: Request) -> None:
    check = render.command("check", *same_dataset(request.source))
    show_left_out(event.left_out, check)
    render.findings(event.warnings, check)
    for text in event.notes:
        render.note(text)
    if not validation and not request.planned:
        render.warning("nothing to validate on: the run keeps its last weights, which may not be its best")
        if request.recipe.recipe.data.split == "train" and not request.folder:
            divide = render.command("split", *same_dataset(request.source), "--keep-test", "--force")
            render.note(f"{divide} divides the images of train into train and val, and does not change test")


def print_recall(rows: tuple[AnchorRecall, ...], shapes: int) -> None:
    """How many objects the anchors or cells fit, and where these are few, which labels and sizes."""
    from vocdet.wording import counted

    objects = sum(row.objects for row in rows)
    share = sum(row.recall * row.objects for row in rows) / max(1, objects)
    poor = [row for row in rows if row.recall < FITTING]
    what = f"{shapes} anchor shapes: the best one has" if shapes else "no anchors: the cells of the finest map have"
    some = f"{share:.1%} of {counted(objects, 'object')}" if share < 1 else f"all of {counted(objects, 'object')}"
    line = f"{what} an IoU of .5 or more with {some}"
    if not poor and share < 1:
        line += f", and with {FITTING:.0%} or more of every label and size"
    render.out.print(line, soft_wrap=True)
    if poor:
        table = render.table("labels and sizes with fewer", "label", "size", "objects", "mean IoU", "IoU ≥ .5")
        for row in poor:
            name = escape(row.label[:40])
            table.add_row(name, row.size, str(row.objects), f"{row.mean_iou:.2f}", f"{row.recall:.1%}")
        render.show(table)


def print_transfer(transfer: Transfer, *, every: bool = False) -> None:
    """Print what was loaded from the weights, the labels that they cover, and with `every` each tensor."""
    from vocdet.models.weights.heads import OTHER_ANCHORS

    render.show(modules_table(transfer))
    for line in label_lines(transfer):
        render.out.print(escape(line), soft_wrap=True)
    if any(tensor.why == OTHER_ANCHORS for tensor in transfer.tensors):
        render.note("heads for other anchors start fresh; --anchors auto uses the anchors of the weights")
    if every:
        render.show(tensors_table(transfer.tensors))


def modules_table(transfer: Transfer) -> Table:
    """The number of tensors loaded in each module of the network, and why others were not."""
    modules: dict[str, list[TensorFate]] = {}
    for tensor in transfer.tensors:
        modules.setdefault(tensor.name.partition(".")[0], []).append(tensor)
    counts = {module: Counter(tensor.fate for tensor in tensors) for module, tensors in modules.items()}
    fates = [fate for fate in FATES if any(count[fate] for count in counts.values())]
    table = render.table("tensors of the weights by module", "", *(FATES[fate] for fate in fates), "why")
    table.columns[-1].justify = "left"
    for module, tensors in modules.items():
        table.add_row(escape(module), *(str(counts[module][fate] or "·") for fate in fates), escape(_reasons(tensors)))
    return table


def tensors_table(tensors: Iterable[TensorFate]) -> Table:
    """Every tensor: its shape, and whether it was loaded."""
    table = render.table("every tensor", "tensor", "shape", "", "why")
    for column in table.columns:
        column.justify = "left"
    for tensor in tensors:
        shape = "×".join(map(str, tensor.shape)) or "1"
        table.add_row(escape(tensor.name), shape, FATES[tensor.fate], escape(tensor.why))
    return table


def label_lines(transfer: Transfer) -> list[str]:
    """The labels that the weights cover, in words; empty if the weights do not state their labels."""
    if not transfer.common:
        return []
    from vocdet.wording import counted, listed

    covered = f"{len(transfer.common)} of {counted(len(transfer.labels), 'label')}"
    lines = [f"the weights cover {covered}: {listed(transfer.common, most=MOST_NAMES)}"]
    fresh = [label for label in transfer.labels if label not in set(transfer.common)]
    return [*lines, f"trained from scratch: {listed(fresh, most=MOST_NAMES)}"] if fresh else lines


def _reasons(tensors: Iterable[TensorFate]) -> str:
    """The most frequent reasons, without the details of each tensor."""
    from vocdet.wording import listed

    reasons = Counter(tensor.why.partition(":")[0] for tensor in tensors if tensor.why)
    return listed([reason for reason, _ in reasons.most_common()], most=MOST_REASONS)
