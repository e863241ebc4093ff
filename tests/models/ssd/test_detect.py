"""From the head's outputs to boxes, against torchvision's loops over images and labels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.ssd import SSD
from torchvision.ops import nms

from vocdet.models.ssd.anchors import map_sizes, torchvision_anchors
from vocdet.models.ssd.detect import DetectionLimits, detect, suppress

SIDE = 96
GRID = torch.from_numpy(torchvision_anchors().grid(map_sizes((SIDE, SIDE)))) * SIDE  # (A, 4)


def outputs(images: int, classes: int, *, spread: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    offsets = 2 * torch.randn(images, len(GRID), 4, generator=generator)
    logits = spread * torch.randn(images, len(GRID), classes, generator=generator)
    return offsets, logits


def theirs(offsets: Tensor, logits: Tensor, *, score: float, candidates: int, most: int) -> list[dict[str, Tensor]]:
    """torchvision's post-processing."""
    settings = SimpleNamespace(
        box_coder=BoxCoder((10.0, 10.0, 5.0, 5.0)),
        score_thresh=score,
        topk_candidates=candidates,
        nms_thresh=0.55,
        detections_per_img=most,
    )
    heads = {"bbox_regression": offsets, "cls_logits": logits}
    found: list[dict[str, Tensor]] = SSD.postprocess_detections(
        settings,
        heads,
        [GRID] * len(logits),
        [(SIDE, SIDE)] * len(logits),
    )
    return found


@pytest.mark.parametrize("classes", [2, 4, 32])
@pytest.mark.parametrize(
    ("score", "candidates", "most"),
    [(0.001, 300, 300), (0.3, 300, 300), (0.01, 20, 300), (0.01, 300, 7), (0.001, 300, 40)],
)
def test_a_batch_gives_what_torchvision_gives_image_by_image(
    classes: int, score: float, candidates: int, most: int
) -> None:
    offsets, logits = outputs(5, classes)
    logits[2, :, 0] += 30  # nothing but background
    expected = theirs(offsets, logits, score=score, candidates=candidates, most=most)
    found = detect(offsets, logits, GRID, (SIDE, SIDE), DetectionLimits(score, candidates=candidates, most=most))
    assert len(found) == 5
    assert len(found[2].boxes) == 0
    assert len(found[0].boxes) > 5
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(mine.classes, other["labels"])
        torch.testing.assert_close(mine.scores, other["scores"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mine.boxes, other["boxes"], rtol=1e-5, atol=1e-3)


def test_what_is_found_is_right_even_where_most_of_the_best_are_covered() -> None:
    offsets, logits = outputs(3, 6)
    offsets[0] = 0
    offsets[0, :, :2] = 10 * (48 - (GRID[:, :2] + GRID[:, 2:]) / 2) / (GRID[:, 2:] - GRID[:, :2])  # all at one place
    expected = theirs(offsets, logits, score=0.001, candidates=300, most=60)
    found = detect(offsets, logits, GRID, (SIDE, SIDE), DetectionLimits(most=60))
    assert len(found[0].boxes) < len(found[1].boxes) == 60
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(mine.classes, other["labels"])
        torch.testing.assert_close(mine.boxes, other["boxes"], rtol=1e-5, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.55, 0.9])
)
def test_overlapping_boxes_go_list_by_list_as_in_torchvisions_nms(
    lengths: list[int], seed: int, overlap: float
) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (sum(lengths), 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 40, (sum(lengths), 2))], axis=1).astype(np.float32)
    lists = np.repeat(np.arange(len(lengths)), lengths)
    keep = suppress(boxes, lists, overlap)
    for number in range(len(lengths)):
        mine = torch.from_numpy(boxes[lists == number])
        expected = nms(mine, torch.linspace(1, 0, len(mine)), overlap).tolist()
        assert np.flatnonzero(keep[lists == number]).tolist() == expected


def test_a_box_that_goes_covers_nothing() -> None:
    row = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)  # each overlaps the next by 3/7
    assert suppress(row, np.zeros(3, np.int64), 0.4).tolist() == [True, False, True]


def test_boxes_of_other_lists_or_without_a_size_cover_nothing() -> None:
    same = np.array([[0, 0, 10, 10]] * 3 + [[5, 5, 5, 5]] * 2, np.float32)
    assert suppress(same, np.array([0, 0, 1, 2, 2]), 0.5).tolist() == [True, False, True, True, True]


def test_an_empty_batch_and_a_batch_of_nothing_find_nothing() -> None:
    offsets, logits = outputs(3, 4)
    assert detect(offsets[:0], logits[:0], GRID, (SIDE, SIDE)) == []
    logits[..., 0] += 100
    assert [found.boxes.shape for found in detect(offsets, logits, GRID, (SIDE, SIDE))] == [(0, 4)] * 3


def test_scores_that_are_no_numbers_find_nothing() -> None:
    offsets, logits = outputs(2, 4)
    logits[1] = torch.nan
    found = detect(offsets, logits, GRID, (SIDE, SIDE))
    assert len(found[0].boxes) > 0
    assert len(found[1].boxes) == 0


def test_outputs_of_half_precision_are_welcome() -> None:
    offsets, logits = outputs(2, 4)
    plain = detect(offsets, logits, GRID, (SIDE, SIDE), DetectionLimits(0.5))
    half = detect(offsets.bfloat16(), logits.bfloat16(), GRID, (SIDE, SIDE), DetectionLimits(0.5))
    assert half[0].boxes.dtype == half[0].scores.dtype == torch.float32
    assert abs(len(half[0].boxes) - len(plain[0].boxes)) <= 0.3 * len(plain[0].boxes)
