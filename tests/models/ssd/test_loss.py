"""SSD's matching, coding and losses, against slow loops and torchvision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from tests.strategies import examples
from vocdet.models.ssd.anchors import map_sizes, torchvision_anchors
from vocdet.models.ssd.loss import decode, encode, hardest, match, pairwise_iou, ssd_sums

GRID = torch.from_numpy(torchvision_anchors().grid(map_sizes((96, 96)))) * 96  # (A, 4)


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = 3 + 70 * torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * (96 - size)
    return torch.cat([corner, corner + size], 1)


def slow_match(boxes: Tensor, anchors: Tensor) -> list[int]:
    """Liu et al. 2016, section 2.2, word by word, for one image."""
    iou = box_iou(boxes, anchors).tolist()
    found = []
    for a in range(len(anchors)):
        overlaps = [row[a] for row in iou]
        best = max(overlaps, default=0.0)
        found.append(overlaps.index(best) if best >= 0.5 else -1)
    for i, row in enumerate(iou):
        found[row.index(max(row))] = i
    return found


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(0, 1000))
def test_matching_is_that_of_a_slow_loop(counts: list[int], seed: int) -> None:
    images = [random_boxes(n, seed + i) for i, n in enumerate(counts)]
    boxes, classes = torch.zeros(len(counts), max(counts), 4), torch.zeros(len(counts), max(counts), dtype=torch.int64)
    for i, image in enumerate(images):
        boxes[i, : len(image)], classes[i, : len(image)] = image, 1
    assert match(boxes, classes, GRID).tolist() == [slow_match(image, GRID) for image in images]


def test_of_several_objects_with_one_best_anchor_the_last_has_it() -> None:
    boxes = torch.tensor([[[40.0, 40, 44, 44], [41.0, 41, 43, 43], [40.0, 41, 43, 44]]])
    matched = match(boxes, torch.ones(1, 3, dtype=torch.int64), GRID)
    assert matched[matched >= 0].tolist() == [2]


def test_padding_matches_nothing_even_in_the_middle() -> None:
    boxes = random_boxes(3, 0)[None]
    with_gap = match(boxes, torch.tensor([[1, 0, 1]]), GRID)
    assert set(with_gap.flatten().tolist()) == {-1, 0, 2}
    assert (match(boxes, torch.zeros(1, 3, dtype=torch.int64), GRID) == -1).all()


def test_empty_boxes_have_no_overlap_and_no_nan() -> None:
    empty = torch.tensor([[5.0, 5, 5, 5], [0.0, 0, 0, 0]])
    assert torch.equal(pairwise_iou(empty, empty), torch.zeros(2, 2))


@settings(max_examples=examples(50), deadline=None)
@given(st.integers(0, 10_000), st.integers(0, len(GRID) - 1))
def test_decoding_is_the_inverse_of_encoding(seed: int, anchor: int) -> None:
    boxes = random_boxes(5, seed)
    anchors = GRID[anchor].expand(5, 4)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes, rtol=1e-4, atol=1e-3)


def test_offsets_are_coded_as_torchvision_codes_them() -> None:
    coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    boxes = random_boxes(len(GRID), 1)
    torch.testing.assert_close(encode(boxes, GRID), coder.encode_single(boxes, GRID), rtol=1e-5, atol=1e-5)
    offsets = 8 * torch.randn(len(GRID), 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(decode(offsets, GRID), coder.decode_single(offsets, GRID), rtol=1e-5, atol=1e-4)
    far = torch.full((len(GRID), 4), 1e4)  # would be infinite without a limit
    torch.testing.assert_close(decode(far, GRID), coder.decode_single(far, GRID))


def outputs(images: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    offsets = torch.randn(images, len(GRID), 4, generator=generator)
    logits = torch.randn(images, len(GRID), classes, generator=generator)
    return offsets.requires_grad_(), logits.requires_grad_()


@pytest.mark.parametrize("padding", [0, 3])
def test_an_image_without_objects_trains_the_background_class(padding: int) -> None:
    offsets, logits = outputs(1)
    boxes, classes = torch.zeros(1, padding, 4), torch.zeros(1, padding, dtype=torch.int64)
    losses, _ = ssd_sums(offsets, logits, GRID, boxes, classes, min_negatives=8)
    assert losses["box"] == 0
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert offsets.grad is not None
    assert offsets.grad.abs().sum() == 0
    taught = logits.grad.abs().sum(-1) > 0
    assert taught.sum() == 8
    assert (logits.grad[taught][:, 0] < 0).all()  # background becomes more likely


def test_without_a_minimum_an_image_without_objects_has_no_loss_as_in_torchvision() -> None:
    offsets, logits = outputs(2)
    losses, _ = ssd_sums(
        offsets, logits, GRID, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), min_negatives=0
    )
    assert [float(v.detach()) for v in losses.values()] == [0.0, 0.0]


def test_padding_does_not_change_the_losses() -> None:
    offsets, logits = outputs(2)
    boxes, classes = torch.stack([random_boxes(3, 0), random_boxes(3, 1)]), torch.tensor([[1, 2, 1], [2, 0, 0]])
    plain = ssd_sums(offsets, logits, GRID, boxes, classes)
    boxes[classes == 0] = 7.0  # of no size
    wide = torch.cat([boxes, torch.zeros(2, 5, 4)], 1), torch.cat([classes, torch.zeros(2, 5, dtype=torch.int64)], 1)
    assert ssd_sums(offsets, logits, GRID, *wide) == plain


def test_three_background_anchors_are_taught_for_every_matched_one() -> None:
    entropy = torch.tensor([[5.0, 1, 4, 3, 9, 2, 8, 7], [1.0, 2, 3, 4, 5, 6, 7, 8]])
    positive = torch.zeros(2, 8, dtype=torch.bool)
    positive[0, 4] = True
    assert hardest(entropy, positive, 0).nonzero().tolist() == [[0, 0], [0, 6], [0, 7]]
    assert hardest(entropy, positive, 2).nonzero().tolist() == [[0, 0], [0, 6], [0, 7], [1, 6], [1, 7]]


def test_no_more_are_taught_than_there_are() -> None:
    entropy = torch.rand(1, 4)
    positive = torch.tensor([[True, True, False, False]])
    assert hardest(entropy, positive, 8).tolist() == [[False, False, True, True]]
    assert not hardest(entropy, torch.ones(1, 4, dtype=torch.bool), 8).any()
