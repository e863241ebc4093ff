"""What a format cannot hold of a dataset, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loss:
    """One kind of thing that does not survive a conversion."""

    what: str  # in words, as in "masks"
    count: int  # images, objects or whatever `what` names; never 0
    why: str = ""


def counted_losses(counts: Mapping[str, int]) -> list[Loss]:
    """The losses of which there are any."""
    return [Loss(what, count) for what, count in counts.items() if count]
