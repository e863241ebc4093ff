"""A training step in shards, one per thread: on few cores far faster than many threads inside every operation.

MobileNets have many small operations, and dividing each of them among the cores costs more than it gains; dividing the
batch costs nothing. The losses are those of the whole batch; batch norms see one shard each, as in data-parallel
training on several devices, and the running statistics are averaged. Sums have a fixed order, so the same seed gives
the same weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from vocdet.inputs.batches import Batch
from vocdet.models.depthwise import with_fast_gradients
from vocdet.models.seeded import Seeded
from vocdet.training.distributed import Group
from vocdet.training.losses import Losses, Task

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")
SMALLEST = 4  # images in a shard of a full batch: batch norms need several
OF_REGIONS = 2  # the same for a Mask R-CNN, whose heads see a hundred regions of each image


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Losses and gradients of a batch."""

    losses: dict[str, float]  # of the whole batch, over all processes
    gradients: list[Tensor]  # of this process; their sum over the processes is the whole batch's
    weight: float  # of the batch when gradients of several are added
    images: int  # over all processes


def shard_count(batch: int, threads: int, *, smallest: int = SMALLEST) -> int:
    """The best number of shards for a batch and a number of threads."""
    return max(1, min(threads, batch // smallest))


class Shards:
    """Computes losses and gradients of a batch, one shard per thread."""

    def __init__(self, task: Task[Any], count: int, group: Group, *, precision: torch.dtype | None = None) -> None:
        model = task.model.train()
        with_fast_gradients(model)
        self.model: nn.Module = model
        self._task, self._group, self.precision = task, group, precision
        self._device = next(model.parameters()).device.type
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._models = [model, *(_replica(model) for _ in range(count - 1))]
        self._seeded = [m for each in self._models for m in each.modules() if isinstance(m, Seeded)]
        self._statistics = list(zip(*map(_statistics, self._models), strict=True))
        self._norms = [(norm, norm.momentum or 0.0) for each in self._models for norm in _norms(each)]
        self._threads = torch.get_num_threads()
        self._each = max(1, self._threads // count)
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(self._each,))

    @property
    def statistics(self) -> list[Tensor]:
        """The model's running means and variances that training changes."""
        return [first for first, *_ in self._statistics]

    def settle(self, step: int) -> None:
        """Make the statistics of norms a mean over the first steps of a run, before they become a moving average.

        Otherwise their initial values would survive many steps and distort the validation of short runs.
        """
        for norm, momentum in self._norms:
            norm.momentum = max(momentum, 1 / (1 + step))

    def align(self) -> None:
        """Copy the model's running statistics to all replicas, after they were restored."""
        with torch.no_grad():
            for first, *rest in self._statistics:
                for more in rest:
                    more.copy_(first)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Inside, this thread uses its share of the cores: more threads do not speed up the optimizer's small sums."""
        for model in self._models:
            model.train()
        torch.set_num_threads(self._each)
        try:
            yield
        finally:
            torch.set_num_threads(self._threads)

    def learn(self, batch: Batch, *, seed: Sequence[int], scale: float = 1.0) -> Learned:
        """The losses of a batch and the gradients of their sum, which is multiplied by `scale` for fp16.

        `seed` determines dropout and the sampled anchors. In several processes each has its share of the batch, which
        may be empty.
        """
        rng = np.random.default_rng((*seed, self._group.rank))
        for layer in self._seeded:  # here, because the threads have no fixed order
            layer.seed = int(rng.integers(2**31))
        shards = split(batch, len(self._models)) if len(batch) else []
        losses = self._each_of(lambda i: self._forward(self._models[i], shards[i]), len(shards))
        sums = torch.zeros(3, len(self._task.names), dtype=torch.float64)  # totals, counts, images
        for shard in losses:
            for k, name in enumerate(self._task.names):
                sums[0, k] += shard[name].total.detach().double().cpu()
                sums[1, k] += torch.as_tensor(shard[name].count).double().cpu()
        sums[2] = len(batch)
        self._group.sum_(sums)
        counts = sums[1].clamp(min=1)
        weights = {name: scale / float(count) for name, count in zip(self._task.names, counts, strict=True)}
        gradients = self._each_of(lambda i: self._backward(losses[i], weights), len(losses))
        with torch.no_grad():
            added = self._added(gradients)
            self._average_statistics(len(shards))
        values = dict(zip(self._task.names, (sums[0] / counts).tolist(), strict=True))
        # if all losses have the same count, adding batches by their counts is the same as one batch
        shared = bool((counts == counts[0]).all())
        return Learned(values, added, float(counts[0] if shared else sums[2, 0]), int(sums[2, 0]))

    def _each_of(self, work: Callable[[int], T], count: int) -> list[T]:
        if count == 1:
            return [work(0)]
        return [waiting.result() for waiting in [self._pool.submit(work, i) for i in range(count)]]

    def _forward(self, model: nn.Module, batch: Batch) -> Losses:
        with torch.autocast(self._device, self.precision, enabled=self.precision is not None):
            return self._task.losses(model, batch)

    def _backward(self, losses: Losses, weights: dict[str, float]) -> tuple[Tensor, ...]:
        total = torch.stack([losses[name].total * weight for name, weight in weights.items()]).sum()
        return torch.autograd.grad(total, self.parameters, materialize_grads=True)  # some parameters may be unused

    def _added(self, gradients: list[tuple[Tensor, ...]]) -> list[Tensor]:
        if not gradients:
            return [torch.zeros_like(parameter) for parameter in self.parameters]
        total = list(gradients[0])
        for more in gradients[1:]:
            torch._foreach_add_(total, more)
        return total

    def _average_statistics(self, used: int) -> None:
        if len(self._models) == 1 or not used:
            return
        for first, *rest in self._statistics:
            first.copy_(torch.stack([first, *rest[: used - 1]]).mean(0))
            for more in rest:
                more.copy_(first)


def _norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The batch norms of a model that are not frozen."""
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]


def _statistics(model: nn.Module) -> list[Tensor]:
    """Their running means and variances."""
    return [s for n in _norms(model) for s in (n.running_mean, n.running_var) if s is not None]


def split(batch: Batch, count: int) -> list[Batch]:
    """A batch in `count` nearly equal shards, or fewer if it has fewer images."""
    count = min(count, len(batch))
    ends = np.cumsum([0, *(len(shard) for shard in np.array_split(np.arange(len(batch)), count))]).tolist()
    return [batch.part(start, stop) for start, stop in zip(ends[:-1], ends[1:], strict=True)]


def _replica(model: M) -> M:
    """A copy that shares the parameters but not the buffers."""
    other = copy.deepcopy(model)
    for mine, theirs in zip(model.modules(), other.modules(), strict=True):
        for name, parameter in mine.named_parameters(recurse=False):
            setattr(theirs, name, parameter)
    return other
