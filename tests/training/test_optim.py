"""Which parameters decay, how the rate falls, and what the average of weights is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.training.optim import MovingAverage, make_optimizer, make_schedule, set_rate

SMALL = BackboneSpec("mb1", 0.25)


def test_norms_and_biases_do_not_decay_and_the_backbone_has_its_own_rate() -> None:
    model = Classifier(ClassifierSpec(SMALL, ("a", "b", "c")))
    optimizer = make_optimizer(model, name="adamw", lr=0.01, weight_decay=0.05, backbone_lr=0.1)
    settings = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert len(settings) == len(list(model.parameters()))
    for name, module in model.named_modules():
        rate = 0.001 if name.startswith("backbone") else 0.01
        for key, parameter in module.named_parameters(recurse=False):
            decays = isinstance(module, nn.Conv2d | nn.Linear) and key == "weight"
            assert settings[id(parameter)] == pytest.approx((rate, 0.05 if decays else 0.0))


def test_frozen_parameters_are_left_out() -> None:
    model = Classifier(ClassifierSpec(SMALL, ("a", "b", "c")))
    model.backbone.requires_grad_(False)
    optimizer = make_optimizer(model, name="sgd", lr=0.01, weight_decay=0.0)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 2


@pytest.mark.parametrize(("name", "second"), [("momentum", 1.9), ("sgd", 2.71)])
def test_momentum_is_plain_or_looks_ahead(name: str, second: float) -> None:
    weight = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(weight.weight)
    optimizer = make_optimizer(weight, name=name, lr=0.5, weight_decay=0.0)
    moved = []
    for _ in range(2):
        before = float(weight.weight.detach())
        weight.weight.grad = torch.ones(1, 1)
        optimizer.step()
        moved.append((before - float(weight.weight.detach())) / 0.5)
    # v = .9 v + g, and a step of v, or of g + .9 v
    assert moved == pytest.approx([1.0 if name == "momentum" else 1.9, second])


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd", "momentum"])
def test_a_step_goes_downhill(name: str) -> None:
    model = nn.Linear(3, 1)
    optimizer = make_optimizer(model, name=name, lr=0.01, weight_decay=0.01)
    x = torch.ones(4, 3)
    losses = []
    for _ in range(5):
        loss = (model(x) - 3).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)


def test_an_optimizer_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no optimizer 'lion'"):
        make_optimizer(nn.Linear(2, 2), name="lion", lr=0.01, weight_decay=0)


def test_the_rate_warms_up_then_falls_as_a_half_cosine() -> None:
    cosine = make_schedule("cosine")
    assert cosine(0.05, 0.1) == pytest.approx(0.5)
    assert cosine(0.1, 0.1) == pytest.approx(1.0)
    assert cosine(0.55, 0.1) == pytest.approx((1 + 0.01) / 2)  # half way down
    assert cosine(1.0, 0.1) == pytest.approx(0.01)
    assert cosine(1.5, 0.1) == pytest.approx(0.01)
    assert 0 < cosine(0.0, 0.1) < 0.01
    falling = [cosine(k / 100, 0.1) for k in range(10, 101)]
    assert falling == sorted(falling, reverse=True)
    assert cosine(0.0, 0.0) == pytest.approx(1.0)


def test_the_steps_divide_by_ten_after_these_shares_of_the_run() -> None:
    steps = make_schedule("steps", steps=(0.9, 0.6))
    found = [steps(progress, 0.1) for progress in (0.05, 0.1, 0.59, 0.6, 0.89, 0.9, 1.0)]
    assert found == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_constant_rate_only_warms_up() -> None:
    constant = make_schedule("constant")
    assert [constant(progress, 0.1) for progress in (0.05, 0.1, 0.6, 1.0)] == pytest.approx([0.5, 1, 1, 1])


def test_one_cycle_is_torchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    steps = 200
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=steps + 1)
    mine = make_schedule("one-cycle")
    for step in range(steps + 1):
        # theirs has its peak a step before three tenths of all steps
        assert mine(step / steps, 0.5) == pytest.approx(theirs.get_last_lr()[0], abs=0.02)
        optimizer.step()
        if step < steps:
            theirs.step()


def test_a_schedule_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError):
        make_schedule("square")


def test_an_average_that_keeps_nothing_is_the_model() -> None:
    model = nn.Linear(1, 1)
    average = MovingAverage(model, copy.deepcopy(model), decay=0.0)
    nn.init.ones_(model.weight)
    average.update()
    assert torch.equal(average.model.weight, model.weight)  # type: ignore[arg-type]


def test_every_group_keeps_its_part_of_the_rate() -> None:
    model = Classifier(ClassifierSpec(SMALL, ("a", "b", "c")))
    optimizer = make_optimizer(model, name="sgd", lr=0.1, weight_decay=0.0, backbone_lr=0.1)
    for share in (0.5, 0.25):
        set_rate(optimizer, share)
        assert sorted({round(g["lr"], 6) for g in optimizer.param_groups}) == [0.01 * share, 0.1 * share]


def test_the_average_follows_the_weights_slower_and_slower() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, copy.deepcopy(model), decay=0.5)
    nn.init.ones_(model.weight)
    expected = 0.0
    for step in range(1, 20):
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
        assert float(average.model.weight) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]
    assert float(model.weight.detach()) == 1.0


def test_the_average_covers_the_statistics_of_norms_and_starts_as_the_model_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    average = MovingAverage(model, other, decay=0.9)
    for mine, theirs in zip(average.model.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    model.train()(torch.randn(8, 3, 5, 5))
    average.update()
    norm = average.model.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_mean.abs().sum() > 0
    assert not average.model.training
    assert not any(p.requires_grad for p in average.model.parameters())
