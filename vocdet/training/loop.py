"""The one training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar, get_args

import msgspec
from torch import nn

from vocdet.inputs.batches import Batch
from vocdet.training.growth import Growth
from vocdet.training.learner import Learner
from vocdet.training.optim import RateSchedule

T = TypeVar("T")
Ended = Literal["", "epochs", "steps", "time", "target", "patience"]
ENDED: tuple[Ended, ...] = get_args(Ended)

LARGEST_LOSS = 1e30  # of a validation
TIMED_STEPS = 20  # after which the speed of a run is known
VALIDATION_SHARE = 0.12  # of the time so far, at most, when training within a time budget


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The position of a training: all state of the loop, from which it resumes."""

    epoch: int = 1  # the current one
    batches: int = 0  # of this epoch, so far
    seen: int = 0  # images of this epoch, so far
    sums: dict[str, float] = {}  # of the losses of this epoch, times images
    steps: int = 0  # of the whole run
    learned: int = 0  # images of the whole run
    rate: float = 0.0  # of the last step
    elapsed: float = 0.0  # seconds of the whole run
    paused: float = 0.0  # seconds of all validations
    validated: float = 0.0  # seconds of the last one
    best: tuple[float, ...] = ()  # rank of the best validation
    newest: tuple[float, ...] = ()  # rank of the last validation
    since_best: int = 0  # epochs
    finished: bool = False
    ended: Ended = ""  # why
    grows: bool = False  # whether the images grow: few passes over them fit into the schedule
    earlier_epochs: int = 0  # before the current schedule, if a finished training continues with a new one
    earlier_steps: int = 0
    earlier_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a step."""

    epoch: int  # from 1
    losses: dict[str, float]
    images: int  # of this epoch, so far
    of: int
    images_per_second: float  # of training alone, since the start
    progress: float  # of the whole run, in [0, 1]
    seconds_left: float
    at: Progress


@dataclass(frozen=True, slots=True)
class Epoch:
    """The result of an epoch."""

    epoch: int
    losses: dict[str, float]  # means over the epoch
    metrics: dict[str, float]  # of the validation; empty where there was none
    rate: float
    seconds: float  # since the start
    best: bool  # the best so far, or the last if nothing is validated
    final: bool
    at: Progress


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of a validation."""

    metrics: dict[str, float]
    rank: tuple[float, ...]  # the higher, the better
    enough: bool = False  # the target is reached: training ends


def finite_loss(loss: float) -> float:
    """The loss of a validation; one that is not finite is a very large one, for NaN has neither a rank nor a JSON."""
    return loss if math.isfinite(loss) else LARGEST_LOSS


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop: after epochs, seconds or steps, or after `patience` epochs without improvement."""

    epochs: int
    seconds: float | None = None  # of the current schedule; epochs and steps are those of the whole run
    patience: int = 0  # 0: never early; only without a time budget
    steps: int = 0  # 0: no limit


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """When to stop, and how the learning rate develops until then."""

    limits: Limits
    schedule: RateSchedule
    warm: int  # steps of warm-up
    accumulate: int = 1  # batches of a step
    growth: Growth | None = None  # None: all images have their size


def fit(
    learner: Learner,
    load: Callable[[int, int], Iterable[Batch]],
    samples: int,
    *,
    plan: TrainingPlan,
    validate: Callable[[nn.Module], Validation] | None,
    start: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Step | Epoch]:
    """Train, and yield the result of every step and every epoch.

    `load(epoch, skip)` returns the batches of an epoch except the first `skip`; an epoch has `samples` images over all
    processes. `validate(model)` measures the averaged model; its rank decides which epoch is best. With a time budget
    the learning rate follows the clock, and validation takes at most an eighth of it. `start` is the position of an
    interrupted training whose learner is restored: the result is the same as without the interruption. When `stop()`
    is true in any process, training ends after the step, without an event for the unfinished epoch. A loss that is not
    finite is a `NotFiniteError`.
    """
    at = start or Progress()
    clock = _Clock(plan, samples, at)
    share, warm_share, over, _ = learner.group.from_first(clock.reading(at, plan.warm))
    while not at.finished:
        complete = over and at.batches > 0  # interrupted after the last step
        for batches in () if complete else _grouped(load(at.epoch, at.batches), plan.accumulate):
            if plan.growth and at.grows:
                batches = [batch.resized(plan.growth.size_at(share)) for batch in batches]
            losses, images = learner.step(batches, plan.schedule(share, warm_share), at.steps)
            at = _after_step(at, losses, len(batches), images, clock.elapsed(), learner.rate)
            share, warm_share, over, grows = learner.group.from_first(clock.reading(at, plan.warm))
            at = msgspec.structs.replace(at, grows=bool(grows))
            yield Step(at.epoch, losses, at.seen, samples, clock.speed(at), share, clock.left(share, at), at)
            if learner.group.any(stop()):
                return
            if over:
                break
        event, at = _end_epoch(learner, at, clock, plan.limits, validate)
        yield event


def _end_epoch(
    learner: Learner,
    at: Progress,
    clock: _Clock,
    limits: Limits,
    validate: Callable[[nn.Module], Validation] | None,
) -> tuple[Epoch, Progress]:
    """Validate if it is due, and decide whether training is over."""
    ended = clock.ended(at) or ("epochs" if at.epoch >= limits.epochs else "")
    metrics: dict[str, float] = {}
    better, best, newest, since_best = validate is None, at.best, at.newest, at.since_best + 1
    paused, validated = at.paused, at.validated
    # within a time budget learning comes first; the last epoch is always measured
    due = limits.seconds is None or bool(ended) or paused + validated <= VALIDATION_SHARE * clock.elapsed()
    number, due_now = learner.group.from_first([ENDED.index(ended), due])
    ended, due = ENDED[int(number)], bool(due_now)
    if validate is not None and due:
        begin = time.perf_counter()
        result = validate(learner.average.model)
        validated = time.perf_counter() - begin
        paused += validated
        metrics, better, newest = result.metrics, result.rank > at.best, result.rank
        best = max(at.best, newest)
        ended = "target" if result.enough else ended
    since_best = 0 if better else since_best
    # a schedule fitted to a time gains most at its low end: it is not cut short
    if not ended and limits.patience and limits.seconds is None and since_best >= limits.patience:
        ended = "patience"
    final = bool(ended)
    means = {name: total / max(1, at.seen) for name, total in at.sums.items()}
    after = msgspec.structs.replace(
        at, epoch=at.epoch + 1, batches=0, seen=0, sums={}, elapsed=clock.elapsed(), paused=paused,
        validated=validated, best=best, newest=newest, since_best=since_best, finished=final, ended=ended,
    )  # fmt: skip
    return Epoch(at.epoch, means, metrics, at.rate, clock.elapsed(), better, final, after), after


def _after_step(
    at: Progress, losses: dict[str, float], batches: int, images: int, elapsed: float, rate: float
) -> Progress:
    sums = {name: at.sums.get(name, 0.0) + images * value for name, value in losses.items()}
    return msgspec.structs.replace(
        at, batches=at.batches + batches, seen=at.seen + images, sums=sums, steps=at.steps + 1,
        learned=at.learned + images, elapsed=elapsed, rate=rate,
    )  # fmt: skip


def _grouped(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    source = iter(items)
    while group := list(islice(source, size)):
        yield group


class _Clock:
    """Progress and speed of a run."""

    def __init__(self, plan: TrainingPlan, samples: int, start: Progress) -> None:
        self._limits, self._growth = plan.limits, plan.growth
        self._samples = samples
        self._start = time.perf_counter() - start.elapsed

    def elapsed(self) -> float:
        return time.perf_counter() - self._start

    def reading(self, at: Progress, warm: int) -> list[float]:
        """Progress of the run, its share of warm-up, whether time or steps are used up, and whether images grow."""
        return [self.progress(at), self.warm(at, warm), float(bool(self.ended(at))), float(self.grows(at))]

    def speed(self, at: Progress) -> float:
        return at.learned / max(1e-9, self.elapsed() - at.paused)

    def progress(self, at: Progress) -> float:
        epochs = at.epoch - 1 - at.earlier_epochs + at.seen / self._samples
        along = epochs / (self._limits.epochs - at.earlier_epochs)
        if self._limits.steps:
            along = max(along, (at.steps - at.earlier_steps) / (self._limits.steps - at.earlier_steps))
        if self._limits.seconds is not None:
            along = max(along, (self.elapsed() - at.earlier_seconds) / self._limits.seconds)
        return min(1.0, along)

    def warm(self, at: Progress, steps: int) -> float:
        """The share of the run that is warm-up: `steps` steps, at most a tenth of the run."""
        if not steps:
            return 0.0
        total = self._steps(at) if at.steps or self._limits.steps else 20.0 * steps  # before anything is known
        return min(0.1, steps / max(1.0, total))

    def _steps(self, at: Progress) -> float:
        """The number of steps in the schedule: an estimate within a time budget, infinite if nothing limits it yet."""
        total = math.inf
        if at.steps:
            batch = at.learned / at.steps
            if self._limits.seconds is None:
                total = (self._limits.epochs - at.earlier_epochs) * self._samples / batch
            else:
                total = self.speed(at) * self._limits.seconds / batch
        return min(total, self._limits.steps - at.earlier_steps) if self._limits.steps else total

    def grows(self, at: Progress) -> bool:
        """Whether the images of this schedule grow, which its first steps decide."""
        first = 1 if self._limits.seconds is None else TIMED_STEPS
        if self._growth is None or at.grows or at.steps - at.earlier_steps != first:
            return at.grows
        passes = self._steps(at) * at.learned / at.steps / self._samples
        return round(passes, 6) < self._growth.below

    def left(self, progress: float, at: Progress) -> float:
        growing = self._growth if at.grows and self._limits.seconds is None else None
        done = growing.work(progress) if growing else progress
        return (self.elapsed() - at.earlier_seconds) * (1 - done) / max(done, 1e-9)

    def ended(self, at: Progress) -> Ended:
        """Which of time and steps is used up, if any."""
        limits = self._limits
        if limits.seconds is not None and self.elapsed() - at.earlier_seconds >= limits.seconds:
            return "time"
        return "steps" if limits.steps and at.steps >= limits.steps else ""
