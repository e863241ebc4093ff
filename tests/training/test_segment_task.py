"""Mask R-CNN learned in shards: every part has its masks, and the same seed gives the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vocdet.inputs.batches import Batch
from vocdet.mask_crops import MaskCrops
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.training.batch_size import measured_batch
from vocdet.training.distributed import alone
from vocdet.training.shards import Shards, split
from vocdet.training.tasks import SegmentTask

SPEC = RcnnSpec(BackboneSpec("mb1", 0.25), ("a", "b"), size=64, longest=64, channels=16, hidden=32)


def batch_of(images: int, *, seed: int = 0, objects: int = 2) -> Batch:
    """Images of 64x64 pixels, of which less is filled, with squares in them; each second object has no mask."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (images, 3, 64, 64), generator=generator, dtype=torch.uint8)
    corner = torch.randint(0, 24, (images, objects, 2), generator=generator)
    boxes = torch.cat([corner, corner + 20], 2)
    cuts = [
        (int(x), int(y), np.full((20, 20), 1, np.uint8)) if i % 2 == 0 else None
        for i, (x, y, *_) in enumerate(boxes.flatten(0, 1).tolist())
    ]
    labels = torch.randint(0, 2, (images, objects), generator=generator)
    sizes = torch.tensor([[64, 48]] * images)
    return Batch(pixels, boxes.float(), labels, tuple(range(images)), MaskCrops.of(cuts), sizes)


def learned(shards: int) -> tuple[dict[str, float], Tensor]:
    """The last losses and the weights after some steps."""
    torch.manual_seed(0)
    task = SegmentTask(MaskRcnn(SPEC))
    made, optimizer = Shards(task, shards, alone()), torch.optim.SGD(task.model.parameters(), 0.02)
    losses: dict[str, float] = {}
    for seed, images in enumerate((4, 1, 3)):
        found = made.learn(batch_of(images, seed=seed), seed=(seed,))
        losses = found.losses
        for parameter, gradient in zip(made.parameters, found.gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return losses, torch.cat([value.flatten().double() for value in task.model.state_dict().values()])


@pytest.mark.parametrize("shards", [1, 2])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(shards: int) -> None:
    torch.manual_seed(0)
    (losses, first), _ = learned(shards), torch.rand(7)  # what else is drawn in between makes no difference
    again, second = learned(shards)
    assert list(losses) == ["objectness", "rpn_box", "class", "box", "mask"]
    assert all(np.isfinite(value) and value > 0 for value in losses.values())
    assert first.isfinite().all()
    assert losses == again
    assert torch.equal(first, second)


def test_the_seed_of_a_step_decides_the_sampled_proposals() -> None:
    torch.manual_seed(0)
    shards = Shards(SegmentTask(MaskRcnn(SPEC)), 1, alone())
    batch = batch_of(2)
    first, same, other = (shards.learn(batch, seed=(seed,)).losses["objectness"] for seed in (1, 1, 2))
    assert first == same != other


def test_every_part_of_a_batch_has_its_own_sizes_and_masks() -> None:
    batch = batch_of(5)
    batch.labels[1, 1:] = -1  # an image with one object less
    assert batch.masks is not None
    there = np.delete(np.arange(10), 3)
    whole = Batch(batch.images, batch.boxes, batch.labels, batch.rows, batch.masks.take(there), batch.sizes)
    parts = split(whole, 2)
    assert [len(part) for part in parts] == [3, 2]
    assert [len(part.masks) for part in parts if part.masks is not None] == [5, 4]
    for part in parts:
        assert part.masks is not None
        assert part.sizes is not None
        assert len(part.sizes) == len(part)
        boxes = part.boxes[part.labels >= 0].numpy()
        for box, place, known in zip(boxes, part.masks.where, part.masks.known, strict=True):
            assert not known or box.tolist() == place.tolist()
        assert 0 < part.masks.known.sum() < len(part.masks)


def test_images_without_objects_train_the_background_class() -> None:
    torch.manual_seed(0)
    shards = Shards(SegmentTask(MaskRcnn(SPEC)), 1, alone())
    found = shards.learn(batch_of(2, objects=0), seed=(0,))
    assert found.losses["objectness"] > 0
    assert found.losses["class"] > 0
    assert found.losses["rpn_box"] == found.losses["box"] == found.losses["mask"] == 0
    assert any(gradient.any() for gradient in found.gradients)
    assert all(gradient.isfinite().all() for gradient in found.gradients)


def test_a_batch_that_fits_is_found_with_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vocdet.training.batch_size.free_memory", lambda _: 2 << 30)
    task = SegmentTask(MaskRcnn(SPEC))
    found = measured_batch(task, batch_of, precision=None, most=1000)
    assert 8 <= found <= 1000
    monkeypatch.setattr("vocdet.training.batch_size.free_memory", lambda _: 1 << 30)
    assert measured_batch(task, batch_of, precision=None, most=1000) < found
