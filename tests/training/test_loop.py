"""The loop: what it yields, and everything that ends it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from vocdet.errors import VocdetError
from vocdet.inputs.batches import Batch
from vocdet.training import loop
from vocdet.training.distributed import alone
from vocdet.training.learner import Learner
from vocdet.training.loop import Epoch, Limits, Progress, Step, TrainingPlan, Validation, finite_loss, fit
from vocdet.training.losses import Losses, Share
from vocdet.training.optim import MovingAverage, RateSchedule, make_optimizer, make_schedule
from vocdet.training.shards import Shards


@dataclass
class Clock:
    """Time that passes only where a test says so."""

    now: float = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=made.perf_counter))
    return made


@dataclass
class Task:
    """A line to fit; every step takes `seconds`."""

    clock: Clock | None = None
    seconds: float = 0.0
    model: nn.Linear = field(default_factory=lambda: nn.Linear(3, 1))
    names: tuple[str, ...] = ("fit",)
    spoil: Callable[[int], float] = lambda step: 1.0
    steps: int = 0

    def losses(self, model: nn.Linear, batch: Batch) -> Losses:
        self.steps += 1
        if self.clock:
            self.clock.now += self.seconds
        out = model(batch.images[:, :, 0, 0].float())
        return {"fit": Share((out - 1).square().sum() * self.spoil(self.steps), len(batch))}


def load(epoch: int, skip: int) -> Iterable[Batch]:
    """Ten images, in batches of 4, 4 and 2."""
    for n in (4, 4, 2)[skip:]:
        yield Batch(torch.ones(n, 3, 1, 1, dtype=torch.uint8), torch.zeros(n, 0, 4), torch.zeros(n, 1).long())


def learner_of(task: Task, average: MovingAverage | None = None) -> Learner:
    optimizer = make_optimizer(task.model, name="sgd", lr=0.01, weight_decay=0.0)
    average = average or MovingAverage(task.model, copy.deepcopy(task.model), decay=0.9)
    return Learner(Shards(task, 1, alone()), optimizer, average, alone())


def plan_of(
    limits: Limits, *, schedule: RateSchedule | None = None, warm: int = 100, accumulate: int = 1
) -> TrainingPlan:
    return TrainingPlan(limits, schedule or make_schedule("cosine"), warm, accumulate)


def train(task: Task, limits: Limits, **options: Any) -> list[Step | Epoch]:
    learner = learner_of(task, options.pop("average", None))
    plan = plan_of(limits, **{k: options.pop(k) for k in ("schedule", "warm", "accumulate") if k in options})
    return list(fit(learner, options.pop("load", load), 10, plan=plan, **({"validate": None} | options)))


def epochs(events: Iterable[Step | Epoch]) -> list[Epoch]:
    return [event for event in events if isinstance(event, Epoch)]


def steps(events: Iterable[Step | Epoch]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def ranks(*values: float) -> Callable[[nn.Module], Validation]:
    """Validations that find these values, one after the other, and then the last again and again."""
    left = list(values)

    def validate(model: nn.Module) -> Validation:
        value = left.pop(0) if len(left) > 1 else left[0]
        return Validation({"value": value}, (value,))

    return validate


def test_every_step_and_every_epoch_is_reported() -> None:
    torch.manual_seed(0)
    events = train(Task(), Limits(epochs=2))
    assert [type(event).__name__ for event in events] == ["Step", "Step", "Step", "Epoch"] * 2
    assert [(s.epoch, s.images, s.of) for s in steps(events)] == [
        (1, 4, 10), (1, 8, 10), (1, 10, 10), (2, 4, 10), (2, 8, 10), (2, 10, 10),
    ]  # fmt: skip
    progress = [s.progress for s in steps(events)]
    assert progress == pytest.approx([0.2, 0.4, 0.5, 0.7, 0.9, 1.0])
    assert [(e.epoch, e.final, e.best, e.metrics) for e in epochs(events)] == [
        (1, False, True, {}),
        (2, True, True, {}),
    ]


def test_the_loss_of_an_epoch_is_the_mean_over_its_images() -> None:
    events = train(Task(), Limits(epochs=1))
    of_steps = [s.losses["fit"] for s in steps(events)]
    (epoch,) = epochs(events)
    assert epoch.losses["fit"] == pytest.approx((4 * of_steps[0] + 4 * of_steps[1] + 2 * of_steps[2]) / 10)


def test_learning_lowers_the_loss_and_ends_with_a_low_rate() -> None:
    torch.manual_seed(0)
    events = epochs(train(Task(), Limits(epochs=30)))
    assert events[-1].losses["fit"] < 0.1 * events[0].losses["fit"]
    assert max(e.rate for e in events) > 0.009
    assert events[-1].rate < 0.0003


def test_it_is_the_average_that_is_validated() -> None:
    task = Task()
    average = MovingAverage(task.model, copy.deepcopy(task.model), decay=0.9)
    seen: list[nn.Module] = []

    def validate(model: nn.Module) -> Validation:
        seen.append(model)
        return Validation({}, (0.0,))

    train(task, Limits(epochs=2), average=average, validate=validate)
    assert seen == [average.model] * 2


def test_training_stops_after_patience_epochs_without_improvement() -> None:
    found = epochs(train(Task(), Limits(epochs=100, patience=3), validate=ranks(1, 2, 2, 3, 1, 3, 2)))
    assert [e.best for e in found] == [True, True, False, True, False, False, False]
    assert [e.final for e in found] == [False] * 6 + [True]
    assert [e.metrics["value"] for e in found] == [1, 2, 2, 3, 1, 3, 2]


@pytest.mark.parametrize(
    ("limits", "ended"),
    [
        (Limits(epochs=2), "epochs"),
        (Limits(1 << 31, steps=5), "steps"),
        (Limits(epochs=100, patience=3), "patience"),
        (Limits(epochs=4, patience=3), "epochs"),  # the patience ends with them
        (Limits(1 << 31, seconds=1e-9), "time"),
    ],
)
def test_the_last_position_says_why_training_ended_and_ranks_the_last_epoch(limits: Limits, ended: str) -> None:
    found = epochs(train(Task(), limits, validate=ranks(2, 1)))
    assert [e.at.ended for e in found] == [""] * (len(found) - 1) + [ended]
    assert (found[-1].at.best, found[-1].at.newest) == ((2,), (2,) if len(found) == 1 else (1,))


def test_without_patience_training_runs_to_the_end() -> None:
    assert len(epochs(train(Task(), Limits(epochs=8, patience=0), validate=ranks(1, 0)))) == 8


def test_where_nothing_is_validated_patience_stops_nothing() -> None:
    assert len(epochs(train(Task(), Limits(epochs=8, patience=2)))) == 8


def test_it_stops_when_the_time_is_up(clock: Clock) -> None:
    task = Task(clock, 1.0)
    events = train(task, Limits(epochs=1000, seconds=10.0), validate=ranks(1))
    assert task.steps == 10  # of a second each
    assert [e.final for e in epochs(events)] == [False, False, False, True]
    assert epochs(events)[-1].metrics  # the last is always measured
    assert events[-1] is epochs(events)[-1]
    assert [s.progress for s in steps(events)] == pytest.approx([k / 10 for k in range(1, 11)])
    assert [s.seconds_left for s in steps(events)] == pytest.approx([10 - k for k in range(1, 11)])


def test_within_a_time_the_rate_follows_the_clock_down_to_its_end(clock: Clock) -> None:
    found = epochs(train(Task(clock, 1.0), Limits(epochs=1000, seconds=300.0)))
    assert found[-1].rate < 0.0002
    half_way = min(found, key=lambda e: abs(e.seconds - 150))
    assert half_way.rate == pytest.approx(0.005, rel=0.25)


def test_within_a_time_learning_comes_before_measuring(clock: Clock) -> None:
    measured = 0.0

    def validate(model: nn.Module) -> Validation:
        nonlocal measured
        clock.now += 6.0
        measured += 6.0
        return Validation({"value": 1.0}, (1.0,))

    found = epochs(train(Task(clock, 1.0), Limits(epochs=1000, seconds=300.0, patience=2), validate=validate))
    assert found[-1].final
    assert found[-1].metrics
    assert 12 <= measured <= 0.15 * 300 + 6
    assert found[-1].seconds >= 300  # patience does not cut short what is fitted to a time


def test_the_speed_leaves_the_validation_out(clock: Clock) -> None:
    def validate(model: nn.Module) -> Validation:
        clock.now += 50.0
        return Validation({}, (1.0,))

    events = train(Task(clock, 1.0), Limits(epochs=3), validate=validate)
    learned = [4, 8, 10, 14, 18, 20, 24, 28, 30]  # after 1, 2, 3, … seconds
    assert [s.images_per_second for s in steps(events)] == pytest.approx([n / (i + 1) for i, n in enumerate(learned)])


def test_a_stop_ends_after_the_step_and_yields_no_half_epoch() -> None:
    task = Task()
    events = train(task, Limits(epochs=9), stop=lambda: task.steps >= 5)
    assert task.steps == 5
    assert [type(event).__name__ for event in events] == ["Step", "Step", "Step", "Epoch", "Step", "Step"]


@pytest.mark.parametrize("limits", [Limits(epochs=9, steps=5), Limits(epochs=9, seconds=50.0)])
def test_a_stop_at_the_last_step_leaves_none_to_a_training_that_continues(limits: Limits, clock: Clock) -> None:
    task = Task(clock, seconds=10.0)
    stopped = train(task, limits, stop=lambda: task.steps >= 5)
    (end,) = train(task, limits, start=stopped[-1].at)
    assert isinstance(end, Epoch)
    assert (end.epoch, end.final, end.at.steps, task.steps) == (2, True, 5, 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_an_error_and_changes_no_weight(value: float) -> None:
    task = Task(spoil=lambda step: value if step == 3 else 1.0)
    average = MovingAverage(task.model, copy.deepcopy(task.model), decay=0.5)
    with pytest.raises(VocdetError, match=f"the loss is no longer finite: fit {value}") as caught:
        train(task, Limits(epochs=2), average=average)
    assert "lower `lr=`" in caught.value.hint
    assert task.steps == 3
    assert all(p.isfinite().all() for p in [*task.model.parameters(), *average.model.parameters()])


@pytest.mark.parametrize("clip", [0.0, 10.0])
def test_a_gradient_that_is_not_finite_is_an_error_and_changes_no_weight(clip: float) -> None:
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_: Any, gradient: Tensor) -> Tensor:
            return gradient * float("nan")

    class Spoiled(Task):
        def losses(self, model: nn.Linear, batch: Batch) -> Losses:
            share = super().losses(model, batch)["fit"]
            return {"fit": Share(Steep.apply(share.total) if self.steps == 3 else share.total, share.count)}

    task = Spoiled()
    optimizer = make_optimizer(task.model, name="sgd", lr=0.01, weight_decay=0.0)
    average = MovingAverage(task.model, copy.deepcopy(task.model), decay=0.9)
    learner = Learner(Shards(task, 1, alone()), optimizer, average, alone(), clip=clip)
    with pytest.raises(VocdetError, match="the gradient of the loss is no longer finite"):
        list(fit(learner, load, 10, plan=plan_of(Limits(epochs=2), warm=9), validate=None))
    assert task.steps == 3
    assert all(p.isfinite().all() for p in task.model.parameters())


def test_an_error_while_images_are_read_is_raised_here() -> None:
    def broken(epoch: int, skip: int) -> Iterable[Batch]:
        yield from load(epoch, skip)
        raise VocdetError("a.jpg is broken")

    with pytest.raises(VocdetError, match=r"a\.jpg is broken"):
        train(Task(), Limits(epochs=2), load=broken)


@pytest.mark.parametrize("at", range(8))
def test_going_on_from_any_event_is_as_if_nothing_had_happened(at: int) -> None:
    def run(start: Progress | None = None, task: Task | None = None) -> tuple[Task, list[Step | Epoch]]:
        torch.manual_seed(0)
        task = task or Task()
        return task, train(task, Limits(epochs=2), validate=ranks(1, 2), start=start)

    whole, events = run()
    torch.manual_seed(0)
    half = Task()
    learner = learner_of(half)
    source = fit(learner, load, 10, plan=plan_of(Limits(epochs=2)), validate=ranks(1, 2))
    done = [next(source) for _ in range(at + 1)]
    resumed = Task()
    again = learner_of(resumed)
    again.restore(learner.tensors())
    validations = ranks(1, 2) if not epochs(done) else ranks(2)
    rest = list(fit(again, load, 10, plan=plan_of(Limits(epochs=2)), validate=validations, start=done[-1].at))
    assert [type(event) for event in done + rest] == [type(event) for event in events]
    for mine, theirs in zip(done + rest, events, strict=True):
        assert mine.losses == theirs.losses
    for ended, expected in zip(epochs(done + rest), epochs(events), strict=True):
        assert (ended.metrics, ended.best, ended.final, ended.rate) == (
            expected.metrics, expected.best, expected.final, expected.rate,
        )  # fmt: skip
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_training_that_ended_does_not_go_on() -> None:
    events = train(Task(), Limits(epochs=2))
    assert events[-1].at.finished
    assert train(Task(), Limits(epochs=2), start=events[-1].at) == []


def test_batches_that_make_one_step_are_as_one_batch() -> None:
    def learned(size: tuple[int, ...], accumulate: int) -> nn.Linear:
        torch.manual_seed(0)
        task = Task()

        def some(epoch: int, skip: int) -> Iterable[Batch]:
            for n in size:
                yield Batch(torch.ones(n, 3, 1, 1, dtype=torch.uint8), torch.zeros(n, 0, 4), torch.zeros(n, 1).long())

        events = train(task, Limits(epochs=2), load=some, accumulate=accumulate)
        assert len(steps(events)) == 2
        return task.model

    one, other = learned((10,), 1), learned((4, 4, 2), 3)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_a_number_of_steps_ends_training_inside_an_epoch_and_validates_it() -> None:
    task = Task()
    measured = []

    def validate(_: nn.Module) -> Validation:
        measured.append(task.steps)
        return Validation({"ap": 0.0}, (0.0,))

    events = train(task, Limits(1 << 31, steps=7), validate=validate)
    assert [event.progress for event in events if isinstance(event, Step)] == pytest.approx(
        [n / 7 for n in range(1, 8)]
    )
    assert measured == [3, 6, 7]  # an epoch has three steps
    last = epochs(events)[-1]
    assert (last.epoch, last.final, last.at.finished, last.at.steps) == (3, True, True, 7)


def test_the_rate_follows_the_steps_where_these_end_training() -> None:
    steps = make_schedule("steps", steps=(0.5,))
    events = train(Task(), Limits(1 << 31, steps=6), schedule=steps, warm=0)
    rates = [event.at.rate for event in events if isinstance(event, Step)]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001, 0.001])


def test_of_epochs_and_steps_in_a_time_the_first_to_be_over_ends_it() -> None:
    assert len(epochs(train(Task(), Limits(2, steps=100)))) == 2
    assert [e.at.steps for e in epochs(train(Task(), Limits(1 << 31, 1e6, steps=4)))] == [3, 4]


def test_a_validation_that_is_enough_ends_training() -> None:
    found = iter([0.3, 0.377, 0.4])

    def validate(_: nn.Module) -> Validation:
        ap = next(found)
        return Validation({"ap": ap}, (ap,), enough=ap >= 0.377)

    done = epochs(train(Task(), Limits(10), validate=validate))
    assert [(event.final, event.best) for event in done] == [(False, True), (True, True)]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_has_a_rank_and_a_json(loss: float) -> None:
    assert finite_loss(0.5) == 0.5
    assert finite_loss(loss) > 1e20
    assert msgspec.json.decode(msgspec.json.encode(finite_loss(loss))) == finite_loss(loss)
