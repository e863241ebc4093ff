"""Matching and sampling, against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from vocdet.models.rcnn import matching
from vocdet.models.rcnn.matching import BACKGROUND, NEITHER, Sampler, match, overlaps


def some_boxes(count: int, seed: int, largest: float = 60.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner, size = torch.rand(2, count, 2, generator=generator)
    return torch.cat([100 * corner, 100 * corner + 2 + largest * size], 1)


def batch() -> tuple[Tensor, Tensor]:
    """Five objects, none, and two, of which the last touches no reference."""
    boxes, classes = torch.zeros(3, 5, 4), torch.zeros(3, 5, dtype=torch.int64)
    boxes[0], classes[0] = some_boxes(5, 1), torch.tensor([1, 2, 1, 3, 1])
    boxes[2, :2], classes[2, :2] = some_boxes(2, 2), 1
    boxes[2, 1] = torch.tensor([1000.0, 1000, 1010, 1010])
    return boxes, classes


@pytest.mark.parametrize("at_once", [1 << 21, 300, 1])
@pytest.mark.parametrize("best", [True, False])
def test_matches_are_torchvisions_for_any_chunk_size(best: bool, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "AT_ONCE", at_once)
    boxes, classes = batch()
    references = torch.cat([some_boxes(200, 3), some_boxes(200, 3)])  # twice, so that two are equally good
    high, low = (0.7, 0.3) if best else (0.5, 0.5)
    found = match(boxes, classes, references[None], high=high, low=low, best=best)
    matcher = Matcher(high, low, allow_low_quality_matches=best)
    for i, real in ((0, 5), (2, 1)):  # what touches nothing would make all the background its own in torchvision
        expected = matcher(box_iou(boxes[i, :real], references))
        assert torch.equal(found[i], expected)
        assert (expected >= 0).any()
        assert (expected == BACKGROUND).any()
    assert (found[1] == BACKGROUND).all()
    assert (NEITHER in found) == best


def test_every_image_can_have_its_own_references() -> None:
    boxes, classes = batch()
    references = torch.stack([some_boxes(50, seed) for seed in (4, 5, 6)])
    found = match(boxes, classes, references, high=0.5, low=0.5)
    for i in range(3):
        assert torch.equal(
            found[i], match(boxes[i : i + 1], classes[i : i + 1], references[i][None], high=0.5, low=0.5)[0]
        )


def test_overlaps_are_torchvisions_and_of_empty_boxes_0() -> None:
    a, b = some_boxes(7, 1), some_boxes(9, 2)
    assert torch.equal(overlaps(a[None], b[None])[0], box_iou(a, b))
    assert overlaps(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)).item() == 0


def test_without_any_object_all_is_background() -> None:
    found = match(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), some_boxes(3, 1)[None], high=0.7, low=0.3)
    assert found.tolist() == [[BACKGROUND] * 3] * 2


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [(100, 1000, (8, 8)), (3, 1000, (3, 13)), (0, 1000, (0, 16)), (100, 2, (8, 2)), (0, 0, (0, 0))],
)
def test_of_an_image_the_share_of_positives_is_limited_and_the_rest_filled_up(
    positives: int, negatives: int, expected: tuple[int, int]
) -> None:
    matched = torch.full((2, 1200), NEITHER)
    matched[0, :positives], matched[0, positives : positives + negatives] = 4, BACKGROUND
    sampler = Sampler(16, 0.5)
    sampler.seed = 1
    chosen = [mask[0] for mask in sampler(matched)]
    assert tuple(int(mask.sum()) for mask in chosen) == expected
    assert (matched[0, chosen[0]] >= 0).all()
    assert (matched[0, chosen[1]] == BACKGROUND).all()
    assert not any(mask[1].any() for mask in sampler(matched))


def test_all_have_the_same_chance_and_a_seed_decides() -> None:
    matched = torch.full((1, 40), BACKGROUND)
    sampler, counts = Sampler(10, 0.5), torch.zeros(40)
    for seed in range(400):
        sampler.seed = seed
        counts += sampler(matched)[1][0]
        assert torch.equal(sampler(matched)[1], sampler(matched)[1])
    assert counts.sum() == 4000
    assert counts.min() > 60  # of 400, 100 is expected and 8.7 the standard deviation
    assert counts.max() < 140
