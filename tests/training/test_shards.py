"""A batch learned in parts by several threads: the same gradients, and the same result every time."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vocdet.inputs.samples import Batch
from vocdet.models.anchors import torchvision_anchors
from vocdet.models.backbone import BackboneSpec, Classifier
from vocdet.models.ssdlite import SsdLite, SsdSpec
from vocdet.training.shards import Shards, shard_count, split
from vocdet.training.tasks import ClassifyTask, DetectTask

SMALL = BackboneSpec("mb1", 0.25)


def random_batch(images: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (images, 3, 64, 64), generator=generator, dtype=torch.uint8)
    corner = 30 * torch.rand(images, 2, 2, generator=generator)
    boxes = torch.cat([corner, corner + 10 + 20 * torch.rand(images, 2, 2, generator=generator)], 2)
    return Batch(pixels, boxes, torch.randint(0, 3, (images, 2), generator=generator))


def classifier() -> tuple[nn.Module, Any]:
    model = Classifier(SMALL, 3)
    return model, ClassifyTask(model, (0.5,) * 3, (0.5,) * 3, smoothing=0.1).losses


def detector() -> tuple[nn.Module, Any]:
    model = SsdLite(SsdSpec(SMALL, ("a", "b", "c"), (64, 64), torchvision_anchors()))
    return model, DetectTask(model).losses


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

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 64 * 64, 1)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(model, Line)
        out = model.layer(batch.images.flatten(1).float() / 255)
        return {"a": out.square().mean(), "b": out.mean()}


@pytest.mark.parametrize("images", [1, 2, 7, 8])
def test_the_gradients_are_those_of_the_whole_batch(images: int) -> None:
    torch.manual_seed(0)
    model = Line()
    batch = random_batch(images)
    expected = model.losses(model, batch)
    torch.stack(list(expected.values())).sum().backward()  # type: ignore[no-untyped-call]
    reference = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    losses = Shards(model, model.losses, 3).step(batch)
    assert losses == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-5)
    for parameter, gradient in zip(model.parameters(), reference, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_statistics_of_norms_are_means_over_the_shards() -> None:
    torch.manual_seed(0)
    batch = random_batch(8)
    model, losses = classifier()
    alone = [copy.deepcopy(model).train() for _ in range(2)]
    for one, part in zip(alone, split(batch, 2), strict=True):
        losses(one, part)
    Shards(model, losses, 2).step(batch)
    for name, value in model.state_dict().items():
        if "running" in name:
            expected = torch.stack([one.state_dict()[name] for one in alone]).mean(0)
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [classifier, detector])
@pytest.mark.parametrize("count", [1, 2])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(make: Any, count: int) -> None:
    def learned() -> Tensor:
        torch.manual_seed(0)
        model, losses = make()
        shards, optimizer = Shards(model, losses, count), torch.optim.SGD(model.parameters(), 0.05)
        for seed, images in enumerate((4, 1, 3)):
            shards.step(random_batch(images, seed))
            optimizer.step()
        return torch.cat([value.flatten().double() for value in model.state_dict().values()])

    first = learned()
    assert first.isfinite().all()
    assert torch.equal(first, learned())


def test_the_number_of_threads_is_as_before() -> None:
    before = torch.get_num_threads()
    model, losses = classifier()
    Shards(model, losses, 2).step(random_batch(4))
    assert torch.get_num_threads() == before


def test_an_error_in_a_shard_is_raised() -> None:
    def losses(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        raise ValueError("out of shape")

    with pytest.raises(ValueError, match="out of shape"):
        Shards(nn.Linear(1, 1), losses, 2).step(random_batch(4))
