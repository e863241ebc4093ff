"""The one training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from vocdet.errors import VocdetError
from vocdet.inputs.samples import Batch, ahead
from vocdet.training.optim import MovingAverage, cosine, set_rate
from vocdet.training.shards import Shards

M = TypeVar("M", bound=nn.Module)

VALIDATION_SHARE = 0.12  # of the time so far, at most, when training within a time budget
CLIP = 10.0  # the gradient's norm at most; Adam's steps are bounded anyway, a rotten batch should not be
WARM_STEPS = 100


class Task(Protocol[M]):
    """What is learned: a model, and the losses that it or a replica of it has on a batch."""

    @property
    def model(self) -> M: ...

    def losses(self, model: M, batch: Batch) -> dict[str, Tensor]:
        """Named losses whose sum is minimised."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One step is done."""

    epoch: int  # from 1
    losses: dict[str, float]
    images: int  # learned from in this epoch so far
    of: int
    images_per_second: float  # of training alone, since the start
    progress: float  # of the whole run, in [0, 1]
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch is done."""

    epoch: int
    losses: dict[str, float]  # means over the epoch
    metrics: dict[str, float]  # of the validation; empty where there was none
    rate: float
    seconds: float  # since the start
    best: bool  # the best so far, or the last where nothing is validated
    final: bool


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found."""

    metrics: dict[str, float]
    rank: tuple[float, ...]  # the higher, the better


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop: after epochs or seconds, or when validation found nothing better for `patience` epochs."""

    epochs: int
    seconds: float | None = None
    patience: int = 0  # 0: never early; only without a time budget


def fit(
    task: Task[M],
    load: Callable[[int], Iterable[Batch]],
    samples: int,
    *,
    shards: int,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
    limits: Limits,
    validate: Callable[[nn.Module], Validation] | None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Step | Epoch]:
    """Train, and yield what happened after every step and every epoch.

    `load(epoch)` gives the batches of an epoch with `samples` images in all; each is learned in `shards` parts, a
    thread each. `validate(model)` measures the averaged
    model and decides by its rank which epoch is best. With a time budget the learning rate follows the
    clock, and validation takes no more than an eighth of it. When `stop()` is true, training ends after the step and
    the unfinished epoch is not yielded. A loss that is not finite ends training with an error.
    """
    clock = _Clock(limits, samples)
    learner = Shards(task.model, task.losses, shards)
    best: tuple[float, ...] = ()
    since_best, validated = 0, 0.0  # epochs; seconds that the last validation took
    epoch, final = 0, False
    while not final:
        epoch += 1
        means, seen = _Means(), 0
        for batch in ahead(lambda epoch=epoch: load(epoch)):  # type: ignore[misc]
            set_rate(optimizer, cosine(clock.progress(epoch, seen), warm=clock.warm(len(batch))))
            losses = take_step(learner, batch, optimizer, average)
            seen += len(batch)
            clock.learned += len(batch)
            means.add(losses, len(batch))
            progress = clock.progress(epoch, seen)
            yield Step(epoch, losses, seen, samples, clock.speed(), progress, clock.left(progress))
            if stop():
                return
            if clock.out_of_time():
                break
        final = clock.out_of_time() or epoch >= limits.epochs
        metrics: dict[str, float] = {}
        better = validate is None
        since_best += 1
        # within a time budget learning comes first; the last epoch is always measured
        due = limits.seconds is None or final or clock.paused + validated <= VALIDATION_SHARE * clock.elapsed()
        if validate is not None and due:
            start = time.perf_counter()
            result = validate(average.model)
            validated = time.perf_counter() - start
            clock.paused += validated
            metrics, better = result.metrics, result.rank > best
            best = max(best, result.rank)
        since_best = 0 if better else since_best
        # a schedule that is fitted to a time ends low, and that is where it gains: it is not cut short
        final = final or bool(limits.patience and limits.seconds is None and since_best >= limits.patience)
        rate = max(group["lr"] for group in optimizer.param_groups)
        yield Epoch(epoch, means.values(), metrics, rate, clock.elapsed(), better, final)


def take_step(
    learner: Shards, batch: Batch, optimizer: torch.optim.Optimizer, average: MovingAverage
) -> dict[str, float]:
    """One step: losses, gradients, weights, average. A loss that is not finite is a `VocdetError`."""
    with learner.learning():
        return _step(learner, batch, optimizer, average)


def _step(learner: Shards, batch: Batch, optimizer: torch.optim.Optimizer, average: MovingAverage) -> dict[str, float]:
    losses = learner.step(batch)
    if not math.isfinite(sum(losses.values())):
        raise VocdetError(
            "the loss is not a finite number any more: " + ", ".join(f"{k} {v:.3g}" for k, v in losses.items()),
            hint="train with a lower --lr; the best checkpoint so far is kept",
        )
    torch.nn.utils.clip_grad_norm_(learner.parameters, CLIP)
    optimizer.step()
    average.update()
    return losses


class _Clock:
    """How far a run is and how fast."""

    def __init__(self, limits: Limits, samples: int) -> None:
        self._limits = limits
        self._samples = samples
        self._start = time.perf_counter()
        self.learned = 0  # images
        self.paused = 0.0  # seconds of validation

    def elapsed(self) -> float:
        return time.perf_counter() - self._start

    def speed(self) -> float:
        return self.learned / max(1e-9, self.elapsed() - self.paused)

    def progress(self, epoch: int, seen: int) -> float:
        by_epochs = (epoch - 1 + seen / self._samples) / self._limits.epochs
        if self._limits.seconds is None:
            return min(1.0, by_epochs)
        return min(1.0, max(by_epochs, self.elapsed() / self._limits.seconds))

    def warm(self, batch: int) -> float:
        """The share of the run that warms up: 100 steps, a tenth of a short run."""
        if self._limits.seconds is None:
            total = self._limits.epochs * self._samples / batch
        else:
            total = self.speed() * self._limits.seconds / batch if self.learned else WARM_STEPS * 20
        return min(0.1, WARM_STEPS / max(1.0, total))

    def left(self, progress: float) -> float:
        return self.elapsed() * (1 - progress) / max(progress, 1e-9)

    def out_of_time(self) -> bool:
        return self._limits.seconds is not None and self.elapsed() >= self._limits.seconds


class _Means:
    """Weighted means of named numbers."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weight = 0

    def add(self, values: dict[str, float], weight: int) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + weight * value
        self._weight += weight

    def values(self) -> dict[str, float]:
        return {name: total / max(1, self._weight) for name, total in self._sums.items()}
