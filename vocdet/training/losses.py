"""A task: a model, and named losses of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor, nn

from vocdet.inputs.batches import Batch

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """A share of a loss: the loss is the sum of all totals divided by the sum of all counts, at least 1.

    Total and count are separate, so that a batch in several threads or processes has the loss of the whole batch, not
    a mean of means.
    """

    total: Tensor  # ()
    count: Tensor | float  # () the divisor of the total: matched anchors, images


Losses = dict[str, Share]


class Task(Protocol[M]):
    """What a training optimizes: a model, and the losses of it or its replicas on a batch."""

    @property
    def model(self) -> M: ...

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the losses, in order."""
        ...

    def losses(self, model: M, batch: Batch) -> Losses:
        """Named losses whose sum is minimized."""
        ...
