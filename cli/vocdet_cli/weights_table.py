"""What became of the weights that a training starts from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.markup import escape

from vocdet_cli import render

if TYPE_CHECKING:
    from rich.table import Table

    from vocdet.models.transfer import Fate, Tensors, Transfer

FATES: dict[Fate, str] = {"loaded": "loaded", "resized": "some rows", "fresh": "fresh", "skipped": "not used"}
MOST_REASONS = 2  # of a part; the rest are counted
MOST_NAMES = 12  # of labels in a line


def show_weights(transfer: Transfer, *, every: bool = False) -> None:
    """Print the table, the labels that are known already, and with `every` each tensor."""
    from vocdet.models.heads import OTHER_ANCHORS

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
