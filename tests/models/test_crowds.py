"""Crowds teach neither objects nor background; overlaps are those of pycocotools, which the evaluation uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks
from torch import Tensor
from torch.nn import functional as F

from vocdet.models.backbones.backbone import parse_net
from vocdet.models.crowds import in_crowds
from vocdet.models.rcnn.matching import BACKGROUND, NEITHER, match, outside_crowds
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.models.ssd.anchors import map_sizes, torchvision_anchors
from vocdet.models.ssd.cell_loss import assign, cell_sums
from vocdet.models.ssd.cells import BINS, cell_grid
from vocdet.models.ssd.loss import match as ssd_match
from vocdet.models.ssd.loss import ssd_sums

GRID = torch.from_numpy(torchvision_anchors().grid(map_sizes((96, 96)))) * 96  # (A, 4)
CROWDS = torch.tensor([[[2.0, 3, 60, 50], [55.0, 40, 96, 96]], [[0.0, 0, 0, 0], [30.0, 10, 90, 45]]])  # (2, 2, 4)


def share_in_crowds(references: Tensor, crowds: Tensor) -> Tensor:
    """(N,) the largest share of each reference (N, 4) in one of the crowds (K, 4), by pycocotools."""
    corners = [boxes.double().numpy() for boxes in (references, crowds)]
    sizes = [np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1) for boxes in corners]
    overlap = coco_masks.iou(*sizes, [1] * len(crowds))  # (N, K)
    return torch.from_numpy(np.asarray(overlap).max(axis=1))


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_reference_is_in_a_crowd_from_a_share_of_its_area(share: float) -> None:
    found = in_crowds(GRID[None], CROWDS, share)
    for image in range(2):
        expected = share_in_crowds(GRID, CROWDS[image])
        sure = (expected - share).abs() > 1e-4  # else rounding decides
        assert torch.equal(found[image][sure], expected[sure] >= share)
        assert found[image].any()
        assert not found[image].all()


def test_padding_is_no_crowd() -> None:
    assert not in_crowds(torch.tensor([[[0.0, 0, 0, 0], [0.0, 0, 9, 9]]]), torch.zeros(1, 3, 4), 0.5).any()


def test_an_ssd_learns_no_background_in_a_crowd() -> None:
    generator = torch.Generator().manual_seed(0)
    offsets = torch.randn(2, len(GRID), 4, generator=generator)
    logits = torch.randn(2, len(GRID), 3, generator=generator).requires_grad_()
    boxes, classes = torch.tensor([[[10.0, 8, 40, 44]], [[5.0, 50, 45, 90]]]), torch.tensor([[1], [2]])
    everything = len(GRID)
    losses, count = ssd_sums(offsets, logits, GRID, boxes, classes, min_negatives=everything, crowds=CROWDS)
    matched = ssd_match(boxes, classes, GRID)
    shares = torch.stack([share_in_crowds(GRID, crowds) for crowds in CROWDS])
    wanted = torch.where(matched >= 0, classes, 0)
    learned = (matched >= 0) | (shares < 0.5)
    entropy = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(matched.shape)
    assert losses["class"].item() == pytest.approx(float(entropy[learned].sum().detach()))
    assert count == (matched >= 0).sum()
    assert ((matched >= 0) & (shares >= 0.5)).any()  # an object in a crowd is learned
    (gradient,) = torch.autograd.grad(losses["class"], logits)
    assert torch.equal(gradient.abs().sum(2) > 0, learned)


def test_cells_learn_no_background_in_a_crowd() -> None:
    cells = torch.from_numpy(cell_grid(((12, 12), (6, 6), (3, 3), (2, 2)), 8))
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, len(cells), 4 * BINS, generator=generator)
    logits = torch.randn(2, len(cells), 3, generator=generator).requires_grad_()
    boxes, classes = torch.tensor([[[10.0, 8, 40, 44]], [[5.0, 50, 45, 90]]]), torch.tensor([[1], [2]])
    found = assign(outputs, logits.detach().log_softmax(-1), cells, boxes, classes)
    shares = torch.stack([share_in_crowds(cells, crowds) for crowds in CROWDS])
    learned = shares < 0.5
    assert not learned[found.image, found.cell].all()  # an object in a crowd is learned
    learned[found.image, found.cell] = True
    losses, count = cell_sums(outputs, logits, cells, boxes, classes, crowds=CROWDS)
    assert count.item() == pytest.approx(found.quality.sum().item())
    (gradient,) = torch.autograd.grad(losses["class"], logits)
    assert torch.equal(gradient.abs().sum(2) > 0, learned)


def test_an_image_covered_by_a_crowd_has_no_ssd_loss() -> None:
    logits = torch.randn(1, len(GRID), 3).requires_grad_()
    no_boxes, no_classes = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64)
    whole = torch.tensor([[[-200.0, -200, 300, 300]]])
    losses, _ = ssd_sums(torch.zeros(1, len(GRID), 4), logits, GRID, no_boxes, no_classes, crowds=whole)
    assert losses["class"].item() == 0


@pytest.mark.parametrize("low", [0.3, 0.5])
def test_in_a_crowd_a_reference_is_an_object_or_neither(low: float) -> None:
    boxes, classes = torch.tensor([[[10.0, 8, 40, 44]], [[5.0, 50, 45, 90]]]), torch.tensor([[1], [2]])
    before = match(boxes, classes, GRID[None], high=0.7, low=low, best=True)
    after = outside_crowds(before, GRID[None], CROWDS, low=low)
    shares = torch.stack([share_in_crowds(GRID, crowds) for crowds in CROWDS])
    sure = (shares - low).abs() > 1e-4
    expected = torch.where((before == BACKGROUND) & (shares >= low), NEITHER, before)
    assert torch.equal(after[sure], expected[sure])
    assert (after != before).any()
    assert outside_crowds(before, GRID[None], None, low=low) is before


def test_the_losses_of_a_mask_rcnn_have_no_background_in_crowds() -> None:
    torch.manual_seed(0)
    small = {"channels": 16, "hidden": 16, "candidates": 40, "proposals": 20}
    model = MaskRcnn(RcnnSpec(parse_net("mb1-0.25"), ("a",), size=64, longest=96, masks=False, **small))  # type: ignore[arg-type]
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    boxes, classes = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64)
    everywhere = torch.tensor([[[-1000.0, -1000, 1000, 1000]]])
    plain = model.losses(images, None, boxes, classes, None)
    crowded = model.losses(images, None, boxes, classes, None, everywhere)
    assert {name: int(count) for name, (_, count) in crowded.items()} == dict.fromkeys(crowded, 0)
    assert all(total == 0 for total, _ in crowded.values())
    assert plain["objectness"][1] > 0
    assert plain["class"][1] > 0
