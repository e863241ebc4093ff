"""Targets of masks, RoIAlign and pasting are torchvision's, without whole masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes
from torchvision.ops import MultiScaleRoIAlign

from vocdet.mask_crops import MaskCrops
from vocdet.masks import parse, pixels
from vocdet.models.rcnn.mask_heads import mask_targets
from vocdet.models.rcnn.paste import pasted
from vocdet.models.rcnn.roi_align import _by_level, pool

HEIGHT, WIDTH = 40, 60
# inside, at each edge of the image, in its corners, all of it, one pixel
PLACES = [(10, 12, 30, 25), (0, 5, 20, 20), (40, 5, 60, 20), (10, 0, 30, 9), (10, 30, 30, 40), (0, 0, 9, 9),
          (50, 30, 60, 40), (0, 0, 60, 40), (33, 21, 34, 22)]  # fmt: skip


def masks() -> tuple[MaskCrops, Tensor]:
    """Random pixels at these places, as crops and as whole masks."""
    rng = np.random.default_rng(0)
    whole = np.zeros((len(PLACES), HEIGHT, WIDTH), np.uint8)
    cuts: list[Any] = []
    for mask, (x0, y0, x1, y1) in zip(whole, PLACES, strict=True):
        mask[y0:y1, x0:x1] = rng.integers(0, 2, (y1 - y0, x1 - x0))
        cuts.append((x0, y0, mask[y0:y1, x0:x1].copy()))
    return MaskCrops.of(cuts), torch.from_numpy(whole)


@pytest.mark.parametrize("side", [14, 28])
def test_targets_are_what_roi_align_makes_of_the_whole_mask(side: int) -> None:
    crops, whole = masks()
    rng = np.random.default_rng(1)
    rows = rng.integers(0, len(PLACES), 300)
    near = np.array(PLACES)[rows] + rng.normal(
        0, 6, (300, 4)
    )  # most of them reach beyond the crop, some beyond the image
    far = np.sort(rng.uniform(-8, [WIDTH + 8, HEIGHT + 8], (300, 2, 2)), axis=1).reshape(-1, 4)
    boxes = torch.from_numpy(np.concatenate([near, far])).float()
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 0.5)
    boxes[:60] = boxes[:60].round()
    rows = np.concatenate([rows, rows])
    sizes = np.tile([HEIGHT, WIDTH], (600, 1))
    expected = project_masks_on_boxes(whole, boxes, torch.from_numpy(rows), side)
    torch.testing.assert_close(mask_targets(crops, rows, boxes, sizes, side), expected, rtol=0, atol=1e-4)
    assert 0.1 < expected.mean() < 0.9


def test_no_boxes_have_no_targets() -> None:
    found = mask_targets(masks()[0], np.zeros(0, np.int64), torch.zeros(0, 4), np.zeros((0, 2), np.int64), 28)
    assert found.shape == (0, 28, 28)


def pyramid(height: int = 128, width: int = 96) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 5, height >> k, width >> k).requires_grad_() for k in (2, 3, 4, 5)]


def regions(count: int) -> tuple[Tensor, Tensor]:
    """Boxes of all sizes, in part beyond the image, empty and of whole pixels among them."""
    generator = torch.Generator().manual_seed(0)
    size = 700 * torch.rand(count, 2, generator=generator) ** 4
    corner = 150 * torch.rand(count, 2, generator=generator) - 40
    size[:3] = 0
    boxes = torch.cat([corner, corner + size], 1)
    boxes[5:20] = boxes[5:20].round()
    return boxes, torch.randint(0, 2, (count,), generator=generator)


@pytest.mark.parametrize("side", [7, 14])
def test_what_is_pooled_and_its_gradient_are_torchvisions(side: int) -> None:
    maps = pyramid()
    boxes, image = regions(80)
    align = MultiScaleRoIAlign(["0", "1", "2", "3"], side, 2)
    order = image.argsort(stable=True)  # torchvision takes image after image
    named = {str(k): m for k, m in enumerate(maps)}
    expected = align(named, [boxes[image == 0], boxes[image == 1]], [(128, 96)] * 2)
    found = pool(maps, boxes, image, side)[order]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.abs().mean() > 0.05
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((out * weights).sum(), maps) for out in (found, expected)]
    for mine, other in zip(*gradients, strict=True):
        assert other.abs().max() > 0.1
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)


def test_both_ways_of_pooling_give_the_same() -> None:
    maps = pyramid()
    boxes, image = regions(40)
    side = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    level = torch.bucketize(side, torch.tensor([112.0, 224.0, 448.0]), right=True)
    assert set(level.tolist()) == {0, 1, 2, 3}
    found = _by_level(maps, boxes, image, level, 7)
    torch.testing.assert_close(pool(maps, boxes, image, 7), found, rtol=1e-4, atol=1e-4)


def test_no_regions_are_pooled_to_nothing() -> None:
    assert pool(pyramid(), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 7).shape == (0, 5, 7, 7)


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_of_what_is_pooled_are_the_same_every_time(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        maps = pyramid()
        boxes, image = regions(60)
        one, two = (torch.autograd.grad(pool(maps, boxes, image, 7).square().sum(), maps) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_masks_are_pasted_as_torchvision_pastes_them() -> None:
    torch.manual_seed(0)
    probabilities = torch.nn.functional.interpolate(torch.rand(40, 1, 5, 5), size=28, mode="bilinear")[:, 0]
    corner = torch.rand(40, 2) * torch.tensor([WIDTH, HEIGHT])
    boxes = torch.cat([corner - 5, corner + 25 * torch.rand(40, 2)], 1)
    boxes[:10] = boxes[:10].clamp(min=0, max=HEIGHT)
    boxes[10] = torch.tensor([0.0, 0.0, WIDTH, HEIGHT])
    boxes[11] = torch.tensor([5.0, 5.0, 5.01, 5.01])
    expected = paste_masks_in_image(probabilities[:, None], boxes, (HEIGHT, WIDTH))[:, 0] > 0.5
    found = [pixels(parse(text), HEIGHT, WIDTH) for text in pasted(probabilities, boxes, HEIGHT, WIDTH)]
    assert np.array_equal(np.stack(found), expected.numpy())
    assert 0.01 < expected.float().mean() < 0.9


def test_no_masks_are_pasted_to_nothing() -> None:
    assert pasted(torch.zeros(0, 28, 28), torch.zeros(0, 4), HEIGHT, WIDTH) == []
