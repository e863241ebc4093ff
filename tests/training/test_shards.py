"""A batch learned in parts by several threads: the same gradients, and the same result every time."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vocdet.inputs.batches import Batch
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.recipes.schema import Neck
from vocdet.training.distributed import alone
from vocdet.training.losses import Losses, Share, Task
from vocdet.training.shards import Shards, shard_count, split
from vocdet.training.tasks import ClassifyTask, DetectTask

SMALL = BackboneSpec("mb1", 0.25)


def random_batch(images: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (images, 3, 64, 64), generator=generator, dtype=torch.uint8)
    corner = 30 * torch.rand(images, 2, 2, generator=generator)
    boxes = torch.cat([corner, corner + 10 + 20 * torch.rand(images, 2, 2, generator=generator)], 2)
    return Batch(pixels, boxes, torch.randint(0, 3, (images, 2), generator=generator))


def classifier() -> Task[Any]:
    return ClassifyTask(Classifier(ClassifierSpec(SMALL, ("a", "b", "c"))), (0.5,) * 3, (0.5,) * 3, smoothing=0.1)


def detector(neck: Neck = "none") -> Task[Any]:
    anchors, channels = (torchvision_anchors(), 0) if neck == "none" else (Anchors(()), 16)
    return DetectTask(SsdLite(SsdSpec(SMALL, ("a", "b", "c"), (64, 64), anchors, neck=neck, channels=channels)))


def test_shards_are_as_many_as_threads_but_never_tiny() -> None:
    assert [shard_count(batch, 2) for batch in (1, 2, 3, 64)] == [1, 1, 1, 2]
    assert shard_count(64, 1) == 1
    assert shard_count(64, 8) == 8
    assert shard_count(16, 1000) <= 8


@pytest.mark.parametrize(("images", "count", "sizes"), [(8, 2, [4, 4]), (7, 2, [4, 3]), (1, 2, [1]), (3, 8, [1, 1, 1])])
def test_a_batch_is_split_without_losing_an_image(images: int, count: int, sizes: list[int]) -> None:
    batch = random_batch(images)
    parts = split(batch, count)
    assert [len(part) for part in parts] == sizes
    for name in ("images", "boxes", "labels"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))


class Line(nn.Module):
    """A mean over images has the same gradient however the images are split."""

    names = ("a", "b")

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 64 * 64, 1)

    @property
    def model(self) -> Line:
        return self

    def losses(self, model: Line, batch: Batch) -> Losses:
        out = model.layer(batch.images.flatten(1).float() / 255)
        return {"a": Share(out.square().sum(), len(batch)), "b": Share(out.sum(), len(batch))}


@pytest.mark.parametrize("images", [1, 2, 7, 8])
def test_the_gradients_are_those_of_the_whole_batch(images: int) -> None:
    torch.manual_seed(0)
    model = Line()
    batch = random_batch(images)
    out = model.layer(batch.images.flatten(1).float() / 255)
    (out.square().mean() + out.mean()).backward()
    reference = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    learned = Shards(model, 3, alone()).learn(batch, seed=(0,))
    assert learned.losses == pytest.approx({"a": out.square().mean().item(), "b": out.mean().item()}, rel=1e-5)
    assert (learned.images, learned.weight) == (images, images)
    for found, gradient in zip(learned.gradients, reference, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("neck", ["none", "pan"])
@pytest.mark.parametrize("count", [2, 3])
def test_a_detectors_losses_are_per_matched_anchor_of_the_whole_batch(count: int, neck: Neck) -> None:
    torch.manual_seed(0)
    task = detector(neck)
    for module in task.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train = lambda mode=True, m=module: m  # type: ignore[method-assign, misc]
            module.training = False
    batch = random_batch(7)
    batch.labels[2:, 1:] = -1  # so that the shards match different numbers of anchors
    whole, parts = (Shards(task, n, alone()).learn(batch, seed=(0,)) for n in (1, count))
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    for mine, theirs in zip(parts.gradients, whole.gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-4, atol=1e-5)


def test_an_empty_batch_has_gradients_of_nothing() -> None:
    task = classifier()
    learned = Shards(task, 2, alone()).learn(random_batch(0), seed=(0,))
    assert learned.losses == {"class": 0.0}
    assert learned.images == 0
    assert all(not gradient.any() for gradient in learned.gradients)


def test_statistics_of_norms_are_means_over_the_shards() -> None:
    torch.manual_seed(0)
    batch = random_batch(8)
    task = classifier()
    apart = [copy.deepcopy(task.model).train() for _ in range(2)]
    for one, part in zip(apart, split(batch, 2), strict=True):
        task.losses(one, part)
    Shards(task, 2, alone()).learn(batch, seed=(0,))
    for name, value in task.model.state_dict().items():
        if "running" in name:
            expected = torch.stack([one.state_dict()[name] for one in apart]).mean(0)
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [classifier, detector])
@pytest.mark.parametrize("count", [1, 2])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(make: Any, count: int) -> None:
    def learned() -> Tensor:
        torch.manual_seed(0)
        task = make()
        shards, optimizer = Shards(task, count, alone()), torch.optim.SGD(task.model.parameters(), 0.05)
        for seed, images in enumerate((4, 1, 3)):
            learned = shards.learn(random_batch(images, seed), seed=(seed,))
            for parameter, gradient in zip(shards.parameters, learned.gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
        return torch.cat([value.flatten().double() for value in task.model.state_dict().values()])

    first = learned()
    assert first.isfinite().all()
    assert torch.equal(first, learned())


def test_the_number_of_threads_is_as_before() -> None:
    before = torch.get_num_threads()
    shards = Shards(classifier(), 2, alone())
    with shards.learning():
        assert torch.get_num_threads() == max(1, before // 2)
        shards.learn(random_batch(4), seed=(0,))
    assert torch.get_num_threads() == before


def test_an_error_in_a_shard_is_raised() -> None:
    class Wrong(Line):
        def losses(self, model: Line, batch: Batch) -> Losses:
            raise ValueError("out of shape")

    with pytest.raises(ValueError, match="out of shape"):
        Shards(Wrong(), 2, alone()).learn(random_batch(4), seed=(0,))


def test_statistics_are_the_mean_of_the_first_steps_regardless_of_earlier_values() -> None:
    torch.manual_seed(0)
    task = classifier()
    first = next(m for m in task.model.modules() if isinstance(m, nn.BatchNorm2d))
    assert first.running_mean is not None
    first.running_mean.fill_(1000.0)
    shards = Shards(task, 1, alone())
    batches = [random_batch(4, seed) for seed in range(3)]
    seen: list[Tensor] = []
    first.register_forward_hook(lambda _, given, __: seen.append(given[0].detach().mean((0, 2, 3))))
    for step, batch in enumerate(batches):
        shards.settle(step)
        shards.learn(batch, seed=(0, step))
    assert torch.allclose(first.running_mean, torch.stack(seen).mean(0), atol=1e-5)
    shards.settle(10_000)
    assert first.momentum == 0.03  # as SSD-lite has it
