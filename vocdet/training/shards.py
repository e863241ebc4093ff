"""A batch learned in shards, one a thread: on few cores far faster than many threads inside every operation.

MobileNets are many small operations, and splitting each of them over the cores costs more than it gains; splitting
the batch costs nothing. As in data-parallel training on several devices, batch norms see one shard each, and the
running statistics are averaged. Sums are made in a fixed order, so that the same seed gives the same weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from vocdet.inputs.samples import Batch
from vocdet.models.backbone import Dropout

M = TypeVar("M", bound=nn.Module)
SMALLEST = 4  # images in a shard of a full batch: batch norms need some

Losses = dict[str, Tensor]


def shard_count(batch: int, threads: int) -> int:
    """How many shards a batch is best learned in with so many threads."""
    return max(1, min(threads, batch // SMALLEST))


class Shards:
    """Computes losses and gradients of a batch, a shard of it in every thread."""

    def __init__(self, model: M, losses: Callable[[M, Batch], Losses], count: int) -> None:
        self._losses = losses
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._models = [model, *(_replica(model) for _ in range(count - 1))]
        self._dropouts = [m for each in self._models for m in each.modules() if isinstance(m, Dropout)]
        self._statistics = list(zip(*map(_statistics, self._models), strict=True))
        self._threads = torch.get_num_threads()
        self._each = max(1, self._threads // count)
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(self._each,))

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Inside, this thread works alone too: the optimizer's many small sums would wait for each other's threads."""
        torch.set_num_threads(self._each)
        try:
            yield
        finally:
            torch.set_num_threads(self._threads)

    def step(self, batch: Batch) -> dict[str, float]:
        """Set the gradients of the model's parameters; the losses are means over the shards."""
        for dropout in self._dropouts:  # here, as the threads would draw in any order
            dropout.seed = int(torch.randint(2**31, ()))
        parts = split(batch, len(self._models))
        if len(parts) == 1:
            results = [self._learn(self._models[0], parts[0])]
        else:
            waiting = [
                self._pool.submit(self._learn, model, part) for model, part in zip(self._models, parts, strict=False)
            ]
            results = [w.result() for w in waiting]
        shares = [len(part) / len(batch) for part in parts]
        with torch.no_grad():
            self._add_gradients([gradients for _, gradients in results], shares)
            self._average_statistics(len(parts))
        names = results[0][0]
        return {name: sum(s * losses[name] for s, (losses, _) in zip(shares, results, strict=True)) for name in names}

    def _learn(self, model: nn.Module, batch: Batch) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        model.train()
        losses = self._losses(model, batch)  # type: ignore[arg-type]
        total = torch.stack(list(losses.values())).sum()
        gradients = torch.autograd.grad(total, self.parameters)
        return {name: value.item() for name, value in losses.items()}, gradients

    def _add_gradients(self, gradients: list[tuple[Tensor, ...]], shares: list[float]) -> None:
        total = list(torch._foreach_mul(gradients[0], shares[0])) if len(shares) > 1 else list(gradients[0])
        for more, share in zip(gradients[1:], shares[1:], strict=True):
            torch._foreach_add_(total, more, alpha=share)
        for parameter, gradient in zip(self.parameters, total, strict=True):
            parameter.grad = gradient

    def _average_statistics(self, used: int) -> None:
        if len(self._models) == 1:
            return
        for first, *rest in self._statistics:
            first.copy_(torch.stack([first, *rest[: used - 1]]).mean(0))
            for more in rest:
                more.copy_(first)


def _statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances of a model's batch norms."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return [s for n in norms for s in (n.running_mean, n.running_var) if s is not None]


def split(batch: Batch, count: int) -> list[Batch]:
    """A batch in `count` nearly equal parts, or fewer where it has fewer images."""
    count = min(count, len(batch))
    columns = zip(*(column.tensor_split(count) for column in (batch.images, batch.boxes, batch.labels)), strict=True)
    return [Batch(*part) for part in columns]


def _replica(model: M) -> M:
    """A copy that shares the parameters and has buffers of its own."""
    other = copy.deepcopy(model)
    for mine, theirs in zip(model.modules(), other.modules(), strict=True):
        for name, parameter in mine.named_parameters(recurse=False):
            setattr(theirs, name, parameter)
    return other
