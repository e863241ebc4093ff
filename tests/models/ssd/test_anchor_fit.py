"""Anchors that are fitted cover a dataset's objects, whatever the dataset is like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from vocdet.models.ssd.anchor_fit import anchor_recall, best_iou, fit_anchors
from vocdet.models.ssd.anchors import Anchors, Shape, map_sizes, torchvision_anchors
from vocdet.recipes.schema import LastMap

SIZE = (320, 320)
Shares = NDArray[np.float64]


def boxes_of(count: int, low: float, high: float, seed: int = 0) -> Shares:
    """Boxes with sides from `low` to `high` pixels at 320x320, as shares."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(low), np.log(high), (count, 2))) / 320
    corner = rng.random((count, 2)) * (1 - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def zeros(boxes: Shares) -> NDArray[np.int32]:
    return np.zeros(len(boxes), np.int32)


def best_overlaps(
    anchors: Anchors, boxes: Shares, size: tuple[int, int] = SIZE, last_map: LastMap = "conv"
) -> NDArray[np.float64]:
    """(N,) IoU of every box with the best anchor, by torchvision, over the whole grid."""
    grid = anchors.grid(map_sizes(size, last_map=last_map))
    iou = box_iou(torch.from_numpy(boxes), torch.from_numpy(grid.astype(np.float64)))
    return np.asarray(iou.max(dim=1).values)


def test_small_objects_get_anchors_that_torchvisions_do_not_have() -> None:
    train, test = boxes_of(400, 12, 32, seed=0), boxes_of(400, 12, 32, seed=1)
    fitted = best_overlaps(fit_anchors(train, zeros(train), SIZE), test)
    fixed = best_overlaps(torchvision_anchors(), test)
    assert (fixed >= 0.5).mean() < 0.1  # its smallest is 64 pixels wide
    assert (fitted >= 0.5).mean() > 0.9
    assert fitted.mean() > 2 * fixed.mean()


def test_objects_of_all_sizes_are_covered() -> None:
    train, test = boxes_of(800, 16, 300, seed=0), boxes_of(400, 16, 300, seed=1)
    fitted = best_overlaps(fit_anchors(train, zeros(train), SIZE), test)
    assert (fitted >= 0.5).mean() > 0.85


def test_the_same_boxes_give_the_same_anchors() -> None:
    boxes = boxes_of(6000, 8, 300)  # more than are looked at
    labels = np.arange(6000, dtype=np.int32) % 3
    assert fit_anchors(boxes, labels, SIZE, seed=4) == fit_anchors(boxes, labels, SIZE, seed=4)


CASES = {
    "none": np.zeros((0, 4)),
    "one": np.array([[0.2, 0.2, 0.3, 0.5]]),
    "the whole image": np.array([[0.0, 0.0, 1.0, 1.0]] * 5),
    "a pixel": np.array([[0.5, 0.5, 0.5 + 1 / 320, 0.5 + 1 / 320]]),
    "lines": np.array([[0.0, 0.5, 1.0, 0.503], [0.5, 0.0, 0.503, 1.0]]),
    "all the same": np.tile([[0.1, 0.1, 0.2, 0.2]], (50, 1)),
    "100,000": boxes_of(100_000, 4, 320),
}


@pytest.mark.parametrize("boxes", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("size", [(320, 320), (64, 64)])
def test_any_dataset_gives_anchors_for_every_map(boxes: Shares, size: tuple[int, int]) -> None:
    anchors = fit_anchors(boxes, zeros(boxes), size)
    assert len(anchors.shapes) == 6
    assert all(anchors.counts)
    assert sum(anchors.counts) <= 100  # at a cell of every map; SSD has 36
    grid = anchors.grid(map_sizes(size))
    assert np.isfinite(grid).all()
    assert (grid[:, 2:] > grid[:, :2]).all()


def test_a_rare_label_is_not_forgotten() -> None:
    boxes = np.concatenate([boxes_of(3000, 100, 200), boxes_of(30, 10, 14, seed=1)])
    labels = np.repeat([0, 1], [3000, 30]).astype(np.int32)
    rare = boxes_of(100, 10, 14, seed=2)
    assert (best_overlaps(fit_anchors(boxes, labels, SIZE), rare) >= 0.5).mean() > 0.5


def test_the_nearest_cell_holds_the_best_anchor() -> None:
    boxes = boxes_of(300, 2, 320, seed=3)
    shapes = (Shape(0.1, 0.1), Shape(0.05, 0.3, 2), Shape(1.0, 0.5))
    for grid in ((20, 20), (3, 5), (1, 1)):
        found = best_iou(boxes, shapes, grid)
        for k, shape in enumerate(shapes):
            anchors = Anchors(((shape,),)).grid((grid,)).astype(np.float64)
            expected = box_iou(torch.from_numpy(boxes), torch.from_numpy(anchors)).max(dim=1).values.numpy()
            np.testing.assert_allclose(found[:, k], expected, atol=1e-5)


def test_a_pooled_last_map_is_one_cell_to_the_fit_and_to_the_recall() -> None:
    size = (640, 640)  # by convolution the last map has 2 x 2 cells
    wide = np.tile([[0.02, 0.3, 0.98, 0.7]], (40, 1))  # in the middle: the one cell's center, and a corner of the four
    only_there = Anchors((*(((Shape(0.01, 0.01),),) * 5), (Shape(0.96, 0.4),)))
    last_maps: tuple[LastMap, ...] = ("conv", "pool")
    for last_map in last_maps:
        expected = best_overlaps(only_there, wide, size, last_map).mean()
        (row,) = anchor_recall(only_there, wide, zeros(wide), ("x",), size, last_map=last_map)
        assert row.mean_iou == pytest.approx(expected, abs=1e-5)
    fitted = fit_anchors(wide, zeros(wide), size, last_map="pool")
    assert any(shape.width > 0.6 for shape in fitted.shapes[5])  # a stride of 640 pixels, not of 320
    assert best_overlaps(fitted, wide, size, last_map="pool").min() > 0.6


def test_recall_is_counted_by_label_and_size() -> None:
    sides = np.array([20, 40, 200, 31, 96]) / 320  # small, medium, large, small, large: COCO's limits are 32 and 96
    boxes = np.column_stack([np.full((5, 2), 0.1), np.tile(0.1 + sides[:, None], (1, 2))])
    labels = np.array([0, 0, 0, 1, 1], np.int32)
    rows = anchor_recall(torchvision_anchors(), boxes, labels, ("a", "b", "none of it"), SIZE)
    assert [(r.label, r.size, r.objects) for r in rows] == [
        ("a", "small", 1), ("a", "medium", 1), ("a", "large", 1), ("b", "small", 1), ("b", "large", 1),
    ]  # fmt: skip
    expected = best_overlaps(torchvision_anchors(), boxes)
    np.testing.assert_allclose([r.mean_iou for r in rows], expected, atol=1e-5)
    assert [r.recall for r in rows] == (expected >= 0.5).tolist()


def test_recall_of_many_objects_is_the_share_of_those_covered() -> None:
    boxes = boxes_of(500, 40, 90)
    (row,) = anchor_recall(torchvision_anchors(), boxes, zeros(boxes), ("x",), SIZE)
    covered = best_overlaps(torchvision_anchors(), boxes)
    assert row.objects == 500
    assert row.recall == pytest.approx((covered >= 0.5).mean())
    assert row.mean_iou == pytest.approx(covered.mean(), abs=1e-5)


def test_without_objects_there_is_no_recall_to_tell() -> None:
    assert anchor_recall(torchvision_anchors(), np.zeros((0, 4)), np.zeros(0, np.int32), ("a",), SIZE) == ()
