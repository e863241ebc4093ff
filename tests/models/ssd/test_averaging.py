"""Boxes of detections as means of those that overlap, in NumPy and in a graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.ops import box_iou

from vocdet.models.ssd.averaging import averaged, averaged_in_graph
from vocdet.models.ssd.cells import BINS, cell_grid
from vocdet.models.ssd.detect import DetectionLimits, detect

Floats = NDArray[np.float32]


def one_by_one(boxes: Floats, scores: Floats, lists: NDArray[np.int64], keep: NDArray[np.int64]) -> NDArray[np.float64]:
    iou = box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).double().numpy()
    means = []
    for row in keep:
        votes = [
            min(max((iou[row, j] - 0.75) / 0.1, 0), 1) * scores[j] * (lists[j] == lists[row]) for j in range(len(boxes))
        ]
        means.append(np.average(boxes.astype(float), axis=0, weights=votes) if sum(votes) > 0 else boxes[row])
    return np.array(means, float).reshape(-1, 4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(0, 10_000))
def test_the_mean_is_of_those_of_the_list_that_overlap_weighted_by_score(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    corner = rng.uniform(0, 8, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 30, (count, 2))], axis=1).astype(np.float32)
    boxes[::7, 2:] = boxes[::7, :2]  # without a size
    scores, lists = rng.uniform(0, 1, count).astype(np.float32), np.repeat(np.arange(len(lengths)), lengths)
    keep = np.flatnonzero(rng.random(count) < 0.5)
    starts = np.flatnonzero(np.diff(lists, prepend=-1))
    expected = one_by_one(boxes, scores, lists, keep)
    np.testing.assert_allclose(averaged(boxes, scores, starts, keep), expected, atol=1e-4)
    own = torch.from_numpy(np.where(lists == lists[keep][:, None], scores, 0))
    every = torch.from_numpy(boxes.T)[:, None].expand(-1, len(keep), -1)
    graph = averaged_in_graph(torch.from_numpy(boxes[keep]), every, own)
    np.testing.assert_allclose(graph.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("score", [0.3, 0.6])
def test_a_detection_is_where_it_is_whatever_the_score_from_which_they_are_returned(score: float) -> None:
    grid = torch.from_numpy(cell_grid(((12, 12), (6, 6)), 8))
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, len(grid), 4 * BINS, generator=generator)
    logits = 2 * torch.randn(2, len(grid), 3, generator=generator)
    every = detect(outputs, logits, grid, (96, 96), cells=True)
    some = detect(outputs, logits, grid, (96, 96), DetectionLimits(score), cells=True)
    for mine, other in zip(some, every, strict=True):
        assert 0 < len(mine.boxes) < len(other.boxes)
        torch.testing.assert_close(mine.boxes, other.boxes[: len(mine.boxes)])
