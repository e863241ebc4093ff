"""What a format cannot hold, with counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vocdet.data.splits import SPLIT_ORDER, Splits
from vocdet.wording import listed


@dataclass(frozen=True, slots=True)
class Loss:
    """One kind of thing that a conversion loses."""

    what: str  # a plural noun, as in "masks"
    count: int  # how many; never 0
    why: str = ""


def counted_losses(counts: Mapping[str, int]) -> list[Loss]:
    """The losses with a count above 0."""
    return [Loss(what, count) for what, count in counts.items() if count]


def split_losses(splits: Splits) -> list[Loss]:
    """The splits that only VOC can hold: folds, and all others but train, val, test and trainval."""
    others = [name for name in splits if name not in SPLIT_ORDER]
    return [Loss("splits", len(others), listed(others, most=4))] if others else []
