"""Images that grow while a detector trains."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from vocdet.inputs.batches import Batch
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.recipes.load import load_recipe
from vocdet.training import loop
from vocdet.training.distributed import alone
from vocdet.training.growth import Growth, growth_of
from vocdet.training.learner import Learner
from vocdet.training.loop import Limits, Progress, Step, TrainingPlan, fit
from vocdet.training.losses import Losses, Share
from vocdet.training.optim import MovingAverage, make_optimizer, make_schedule
from vocdet.training.shards import Shards

NET = BackboneSpec("mb3-small", 0.25)
FOUR = Limits(4)


def spec(side: int, neck: str = "pan") -> SsdSpec:
    if neck == "pan":
        return SsdSpec(NET, ("a", "b"), (side, side), Anchors(()), neck="pan", channels=16)
    return SsdSpec(NET, ("a", "b"), (side, side), torchvision_anchors())


def test_images_grow_twice_in_a_training() -> None:
    wide = Growth((320, 512), inf)
    sizes = [wide.size_at(share) for share in (0.0, 0.29, 0.3, 0.59, 0.6, 1.0)]
    assert sizes == [(192, 320), (192, 320), (256, 416), (256, 416), (320, 512), (320, 512)]
    assert Growth((128, 160), inf).size_at(0.0) == (128, 160)  # small ones do not grow
    assert Growth((300, 335), inf).size_at(0.9) == (300, 335)  # the last ones are those of the input, whatever it is


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.5, 0.6, 0.9, 1.0])
def test_the_work_of_a_training_is_the_area_of_its_images(progress: float) -> None:
    growth, middles = Growth((320, 320), inf), (np.arange(1000) + 0.5) / 1000
    areas = np.array([np.prod(growth.size_at(share)) for share in middles])
    assert growth.work(progress) == pytest.approx(areas[middles < progress].sum() / areas.sum())


def test_a_resized_batch_shows_its_boxes_where_they_are() -> None:
    images = torch.zeros(1, 3, 320, 160, dtype=torch.uint8)
    images[0, :, 80:240, 40:120] = 255
    box = torch.tensor([[[40.0, 80.0, 120.0, 240.0]]])
    batch = Batch(images, box, torch.zeros(1, 1).long(), crowds=box).resized((192, 96))
    left, top, right, bottom = batch.boxes[0, 0].long().tolist()
    inside = torch.zeros(192, 96, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    assert torch.equal(batch.images[0, 0] > 127, inside)
    assert batch.crowds is not None
    assert torch.equal(batch.crowds, batch.boxes)


@pytest.mark.parametrize("neck", ["pan", "none"])
def test_smaller_images_have_the_cells_of_a_model_of_their_size(neck: str) -> None:
    grid = SsdLite(spec(160, neck)).grid_of((96, 96))
    assert torch.equal(grid, SsdLite(spec(96, neck)).grid)


def test_images_grow_with_a_neck_and_a_schedule_that_is_run_to_its_end() -> None:
    recipe = load_recipe("ssd").recipe
    assert growth_of(recipe, SsdLite(spec(320))) == Growth((320, 320), 6.0)
    assert growth_of(recipe, SsdLite(spec(128))) is None
    assert growth_of(recipe, SsdLite(spec(320, "none"))) is None
    for values in ({"patience": 5}, {"stop_at_ap": 0.5}, {"grow": "never"}):
        assert growth_of(load_recipe("ssd", values=values).recipe, SsdLite(spec(320))) is None
    always, many = (load_recipe("ssd", values=values).recipe for values in ({"grow": "always"}, {"repeat": 4}))
    assert growth_of(always, SsdLite(spec(320))) == Growth((320, 320), inf)
    assert growth_of(many, SsdLite(spec(320))) == Growth((320, 320), 1.5)  # epochs of four passes each


class Task:
    """Remembers the sizes of the images that it learns from."""

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1)
        self.names = ("size",)
        self.sides: list[int] = []

    def losses(self, model: nn.Linear, batch: Batch) -> Losses:
        self.sides.append(batch.images.shape[-1])
        return {"size": Share(model(torch.ones(1)).sum(), 1.0)}


def load(epoch: int, skip: int) -> Iterable[Batch]:
    for _ in range(2 - skip):
        yield Batch(torch.zeros(1, 3, 320, 320, dtype=torch.uint8), torch.zeros(1, 0, 4), torch.zeros(1, 0).long())


def sides(limits: Limits = FOUR, *, below: float = inf, start: Progress | None = None) -> list[tuple[int, Progress]]:
    """The side of the images of every step, from `start` on, and where the training was after it."""
    task = Task()
    optimizer = make_optimizer(task.model, name="sgd", lr=0.01, weight_decay=0.0)
    learner = Learner(
        Shards(task, 1, alone()), optimizer, MovingAverage(task.model, nn.Linear(1, 1), decay=0.9), alone()
    )
    plan = TrainingPlan(limits, make_schedule("cosine"), 0, growth=Growth((320, 320), below))
    steps = [one.at for one in fit(learner, load, 2, plan=plan, validate=None, start=start) if isinstance(one, Step)]
    return list(zip(task.sides, steps, strict=True))


def test_a_training_learns_from_images_that_grow_and_resumes_where_it_was() -> None:
    whole = sides()
    assert [side for side, _ in whole] == [320] + [192] * 2 + [256] * 2 + [320] * 3  # the first step decides
    assert [side for side, _ in sides(start=whole[3][1])] == [256, 320, 320, 320]


def test_images_grow_in_short_schedules_alone() -> None:
    for limits in (FOUR, Limits(100, steps=8)):
        assert {side for side, _ in sides(limits, below=4)} == {320}
        assert {side for side, _ in sides(limits, below=4.1)} == {192, 256, 320}


def test_the_first_steps_tell_how_many_passes_fit_into_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(seconds) / 100))
    monkeypatch.setattr(loop, "TIMED_STEPS", 3)
    few, many = (sides(Limits(1000, 6.0), below=below) for below in (1, 1000))
    assert {side for side, _ in few} == {320}
    assert [side for side, _ in many][:4] == [320, 320, 320, 192]
