"""What a format cannot hold of a dataset, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loss:
    """One kind of thing that a conversion loses."""

    what: str  # a plural noun, as in "masks"
    count: int  # how many; never 0
    why: str = ""


def counted_losses(counts: Mapping[str, int]) -> list[Loss]:
    """The losses with a count above 0."""
    return [Loss(what, count) for what, count in counts.items() if count]
