"""Cells instead of anchors: their assignment against a slow loop, their losses against torchvision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou_loss

from vocdet.models.ssd.cell_loss import (
    BINS_GAIN,
    BOX_GAIN,
    FEWEST_WIDE,
    IOU_POWER,
    MOST_CELLS,
    MOST_WIDE,
    SCORE_POWER,
    assign,
    cell_sums,
)
from vocdet.models.ssd.cells import BINS, cell_grid, decode_distances, encode_distances

CELLS = torch.from_numpy(cell_grid(((12, 12), (6, 6), (3, 3), (2, 2)), 8))  # (A, 4) of an input of 96 pixels
STRIDES = (8.0, 16.0, 32.0, 64.0)
LABELS = 3
CLASSES = 1 + LABELS


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = 3 + 90 * torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * (96 - size)
    return torch.cat([corner, corner + size], 1)


def outputs(images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    distances = torch.randn(images, len(CELLS), 4 * BINS, generator=generator)
    logits = torch.randn(images, len(CELLS), CLASSES, generator=generator)
    return distances.requires_grad_(), logits.requires_grad_()


def scores_of(logits: Tensor) -> Tensor:
    return logits.detach().softmax(-1)[..., 1:]


def slow_assign(predicted: Tensor, scores: Tensor, boxes: Tensor, classes: list[int]) -> dict[int, tuple[int, float]]:
    """Feng et al. 2021, section 3.2, for one image: the object and the quality of every cell that learns one.

    The cells of each map compete among themselves.
    """
    center, iou = (CELLS[:, :2] + CELLS[:, 2:]) / 2, box_iou(boxes, predicted)
    map_of = (CELLS[:, 2] - CELLS[:, 0]).tolist()
    chosen: dict[int, tuple[float, int]] = {}
    aligned = torch.zeros(len(boxes), len(CELLS))
    for i, (box, class_) in enumerate(zip(boxes, classes, strict=True)):
        inside = [a for a, (x, y) in enumerate(center.tolist()) if box[0] < x < box[2] and box[1] < y < box[3]]
        if not inside:
            apart = (center[: 12 * 12] - (box[:2] + box[2:]) / 2).abs().sum(1)
            inside = [int(apart.argmin())]
        side = float((box[2:] - box[:2]).prod().sqrt())
        maps = {stride for stride in STRIDES if stride == 8 or side >= FEWEST_WIDE * stride}
        maps &= {stride for stride in STRIDES if stride == 64 or side <= MOST_WIDE * stride}
        inside = [a for a in inside if map_of[a] in maps] or inside
        for a in inside:
            aligned[i, a] = scores[a, class_ - 1] ** SCORE_POWER * iou[i, a] ** IOU_POWER
        for stride in STRIDES:
            there = [a for a in inside if map_of[a] == stride]
            for a in sorted(there, key=lambda a: float(-aligned[i, a]))[:MOST_CELLS]:
                chosen[a] = max(chosen.get(a, (-1.0, i)), (float(iou[i, a]), i))
    qualities = {}
    for a, (_, i) in chosen.items():
        own = [b for b, (_, of) in chosen.items() if of == i and map_of[b] == map_of[a]]
        quality = aligned[i, a] / aligned[i, own].max().clamp(min=1e-9) * iou[i, own].max()
        qualities[a] = (i, float(quality))
    return qualities


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(0, 1000))
def test_the_assignment_is_that_of_a_slow_loop(counts: list[int], seed: int) -> None:
    boxes, classes = torch.zeros(len(counts), max(counts), 4), torch.zeros(len(counts), max(counts), dtype=torch.int64)
    for i, n in enumerate(counts):
        boxes[i, :n], classes[i, :n] = random_boxes(n, seed + i), 1 + torch.arange(n) % LABELS
    distances, logits = outputs(len(counts), seed)
    predicted, scores = decode_distances(distances.detach(), CELLS), scores_of(logits)
    found = assign(distances.detach(), logits.detach().log_softmax(-1), CELLS, boxes, classes)
    for i, n in enumerate(counts):
        expected = slow_assign(predicted[i], scores[i], boxes[i, :n], classes[i, :n].tolist())
        rows = found.image == i
        assert dict(zip(found.cell[rows].tolist(), found.object_[rows].tolist(), strict=True)) == {
            a: of for a, (of, _) in expected.items()
        }
        quality = torch.tensor([expected[a][1] for a in found.cell[rows].tolist()])
        torch.testing.assert_close(found.quality[rows], quality, rtol=1e-4, atol=1e-6)


def test_an_object_between_all_centers_has_the_nearest_cell_of_the_finest_map() -> None:
    boxes, classes = torch.tensor([[[21.0, 29, 23, 31]]]), torch.tensor([[1]])  # centers are at 20 and 28
    distances, logits = outputs(1)
    found = assign(distances.detach(), logits.detach().log_softmax(-1), CELLS, boxes, classes)
    assert CELLS[found.cell].tolist() == [[16, 24, 24, 32]]


def slow_bins(outputs: Tensor, distances: list[float]) -> Tensor:
    """Li et al. 2020, equation 6, for one cell."""
    losses = []
    for edge, distance in zip(outputs.view(4, BINS).softmax(1), distances, strict=True):
        low = min(int(distance), BINS - 2)
        losses.append(-(low + 1 - distance) * edge[low].log() - (distance - low) * edge[low + 1].log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("cell", [0, 130, 150, 185])
def test_a_distribution_on_the_two_nearest_distances_gives_the_box(cell: int) -> None:
    cells = CELLS[cell].expand(4, 4)
    center, stride = (cells[:, :2] + cells[:, 2:]) / 2, cells[0, 2] - cells[0, 0]
    reach = stride * torch.tensor([[0.0, 1.3, 4, 11], [2.5, 2.5, 2.5, 2.5], [10.9, 0.2, 7, 3.75], [1.0, 2, 3, 4]])
    boxes = torch.cat([center - reach[:, :2], center + reach[:, 2:]], 1)
    distances = encode_distances(boxes, cells)
    torch.testing.assert_close(distances, reach / stride)
    triangle = (1 - (distances[..., None] - torch.arange(BINS)).abs()).clamp(min=1e-12).log()  # linear interpolation
    torch.testing.assert_close(decode_distances(triangle.flatten(1), cells), boxes, rtol=1e-4, atol=1e-3)


def test_the_losses_are_those_of_the_papers() -> None:
    boxes, classes = torch.stack([random_boxes(3, 0), random_boxes(3, 1)]), torch.tensor([[1, 2, 1], [3, 0, 0]])
    distances, logits = outputs(2)
    losses, count = cell_sums(distances, logits, CELLS, boxes, classes)
    predicted = decode_distances(distances, CELLS)
    found = assign(distances.detach(), logits.detach().log_softmax(-1), CELLS, boxes, classes)
    where = found.image, found.cell
    giou = generalized_box_iou_loss(predicted[where], boxes[found.image, found.object_])
    distances_ = encode_distances(boxes[found.image, found.object_], CELLS[found.cell]).tolist()
    bins = torch.stack([slow_bins(o, d) for o, d in zip(distances[where], distances_, strict=True)])
    torch.testing.assert_close(losses["box"], ((BOX_GAIN * giou + BINS_GAIN * bins) * found.quality).sum())
    target = F.one_hot(torch.zeros(2, len(CELLS), dtype=torch.int64), CLASSES).float()
    target[where] = 0
    target[(*where, classes[found.image, found.object_])] = found.quality
    target[(*where, torch.zeros_like(found.cell))] = 1 - found.quality
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1), reduction="sum")
    torch.testing.assert_close(losses["class"], expected)
    torch.testing.assert_close(count, found.quality.sum())


@pytest.mark.parametrize("padding", [0, 3])
def test_an_image_without_objects_teaches_background(padding: int) -> None:
    distances, logits = outputs(1)
    boxes, classes = torch.zeros(1, padding, 4), torch.zeros(1, padding, dtype=torch.int64)
    losses, count = cell_sums(distances, logits, CELLS, boxes, classes)
    assert losses["box"] == 0
    assert count == 0
    expected = F.cross_entropy(logits[0], torch.zeros(len(CELLS), dtype=torch.int64), reduction="sum")
    torch.testing.assert_close(losses["class"], expected)
    (gradient,) = torch.autograd.grad(losses["class"] + losses["box"], logits)
    assert (gradient[..., 0] < 0).all()  # background becomes more likely


def test_padding_does_not_change_the_losses() -> None:
    distances, logits = outputs(2)
    boxes, classes = torch.stack([random_boxes(3, 0), random_boxes(3, 1)]), torch.tensor([[1, 2, 1], [2, 0, 0]])
    plain = cell_sums(distances, logits, CELLS, boxes, classes)
    wide = torch.cat([boxes, torch.zeros(2, 5, 4)], 1), torch.cat([classes, torch.zeros(2, 5, dtype=torch.int64)], 1)
    padded = cell_sums(distances, logits, CELLS, *wide)
    torch.testing.assert_close(padded, plain)


def test_weights_scale_objects_by_label_and_leave_background_unchanged() -> None:
    distances, logits = outputs(1)
    boxes, classes = random_boxes(2, 3)[None], torch.tensor([[1, 3]])
    plain, double = (
        cell_sums(distances, logits, CELLS, boxes, classes, weights=torch.tensor([9.0, w, 9.0, w]))[0]
        for w in (1.0, 2.0)
    )
    torch.testing.assert_close(double["box"], 2 * plain["box"])
    found = assign(distances.detach(), logits.detach().log_softmax(-1), CELLS, boxes, classes)
    own = torch.zeros(1, len(CELLS), 1, dtype=torch.bool)
    own[found.image, found.cell] = True
    grads: list[Any] = [
        torch.autograd.grad(losses["class"], logits, retain_graph=True)[0] for losses in (plain, double)
    ]
    torch.testing.assert_close(grads[1], torch.where(own, 2 * grads[0], grads[0]))


def test_an_object_too_thin_for_any_pixel_gives_finite_losses() -> None:
    distances, logits = outputs(1)
    losses, _ = cell_sums(distances, logits, CELLS, torch.tensor([[[5.0, 5, 5, 40]]]), torch.tensor([[1]]))
    grads = torch.autograd.grad(losses["box"] + losses["class"], (distances, logits))
    assert all(grad.isfinite().all() for grad in grads)
