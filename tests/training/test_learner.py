"""One step, and everything that it changes: kept, and put back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vocdet.inputs.batches import Batch
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.training.distributed import alone
from vocdet.training.learner import Learner
from vocdet.training.losses import Losses, Share
from vocdet.training.optim import MovingAverage, make_optimizer
from vocdet.training.shards import Shards
from vocdet.training.tasks import ClassifyTask


def batch(seed: int, images: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (images, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (images, 1), generator=generator)
    return Batch(pixels, torch.zeros(images, 0, 4), labels, tuple(range(images)))


def learner(optimizer: str = "adamw", scaler: torch.amp.GradScaler | None = None, spoil: bool = False) -> Learner:
    torch.manual_seed(0)
    model = Classifier(ClassifierSpec(BackboneSpec("mb1", 0.25), ("a", "b", "c"))).to(memory_format=torch.channels_last)

    class Task(ClassifyTask):
        def losses(self, model: Classifier, batch: Batch) -> Losses:
            share = super().losses(model, batch)["class"]
            return {"class": Share(Endless.apply(share.total), share.count) if spoil else share}

    task = Task(model, (0.5,) * 3, (0.5,) * 3, smoothing=0.1)
    made = make_optimizer(model, name=optimizer, lr=0.01, weight_decay=0.01)
    average = MovingAverage(model, copy.deepcopy(model), decay=0.9)
    return Learner(Shards(task, 2, alone()), made, average, alone(), clip=1.0, seed=3, scaler=scaler)


class Endless(torch.autograd.Function):
    """The same value; its gradient is infinite, as in fp16 it can be."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient * float("inf")


def weights(of: Learner) -> Tensor:
    model: nn.Module = of.shards.model
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_what_was_put_back_learns_the_same_bit_for_bit(optimizer: str) -> None:
    first = learner(optimizer)
    for step in range(3):
        first.step([batch(step)], 0.5, step)
    kept = first.tensors()
    for step in range(3, 6):
        first.step([batch(step)], 0.5, step)
    second = learner(optimizer)
    second.step([batch(9)], 1.0, 0)  # something else before
    second.restore(kept)
    for step in range(3, 6):
        second.step([batch(step)], 0.5, step)
    mine, theirs = first.tensors(), second.tensors()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_what_is_kept_is_a_copy() -> None:
    first = learner()
    first.step([batch(0)], 1.0, 0)
    kept = first.tensors()
    before = {key: value.clone() for key, value in kept.items()}
    first.step([batch(1)], 1.0, 1)
    assert all(torch.equal(before[key], kept[key]) for key in kept)


def test_a_state_of_another_network_is_refused() -> None:
    first = learner()
    kept = first.tensors()
    with pytest.raises(KeyError):
        first.restore({key: value for key, value in kept.items() if key != "model.classifier.1.weight"})
    with pytest.raises(ValueError, match="a tensor of"):
        first.restore(kept | {"model.classifier.1.weight": torch.zeros(4, 4)})


def test_dropout_and_so_the_loss_depends_on_the_step_alone() -> None:
    found = [learner().step([batch(0)], 1.0, number)[0]["class"] for number in (0, 1, 0)]
    assert found[0] == found[2] != found[1]


def test_a_scaler_changes_nothing_but_rounding() -> None:
    plain, scaled = learner("sgd"), learner("sgd", torch.amp.GradScaler("cpu"))
    for step in range(3):
        for each in (plain, scaled):
            each.step([batch(step)], 1.0, step)
    torch.testing.assert_close(weights(plain), weights(scaled), rtol=1e-4, atol=1e-6)


def test_a_scaler_leaves_out_a_step_whose_gradient_is_infinite_and_scales_less() -> None:
    scaler = torch.amp.GradScaler("cpu")
    mine = learner("sgd", scaler, spoil=True)
    parameters = [p.detach().clone() for p in mine.shards.parameters]
    mine.step([batch(0)], 1.0, 0)
    assert all(torch.equal(before, now) for before, now in zip(parameters, mine.shards.parameters, strict=True))
    assert scaler.get_scale() == 2.0**15
    other = torch.amp.GradScaler("cpu")
    learner("sgd", other).restore(mine.tensors())
    assert other.get_scale() == 2.0**15
