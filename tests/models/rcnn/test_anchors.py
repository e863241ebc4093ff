"""Anchors of a pyramid: torchvision's by default, and fitted ones that cover a dataset better."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from vocdet.models.rcnn.anchor_fit import best_iou, fit_pyramid, pyramid_recall
from vocdet.models.rcnn.anchors import STRIDES, USUAL_ANCHORS, PyramidAnchors

SIDE = 512
Boxes = NDArray[np.float64]


@pytest.mark.parametrize(
    "anchors",
    [USUAL_ANCHORS, PyramidAnchors(((13.0, 17.5),) * 5, (0.33, 1.0, 1.7)), PyramidAnchors(ratios=(0.2,))],
)
@pytest.mark.parametrize("canvas", [(128, 192), (96, 160)])
def test_the_grid_is_torchvisions(anchors: PyramidAnchors, canvas: tuple[int, int]) -> None:
    maps = [torch.zeros(1, 1, -(-canvas[0] // s), -(-canvas[1] // s)) for s in STRIDES]
    theirs = AnchorGenerator(anchors.sides, (anchors.ratios,) * 5)
    (expected,) = theirs(ImageList(torch.zeros(1, 3, *canvas), [canvas]), maps)
    sizes = tuple((m.shape[2], m.shape[3]) for m in maps)
    strides = tuple((canvas[0] // h, canvas[1] // w) for h, w in sizes)
    assert np.array_equal(anchors.grid(sizes, strides), expected.numpy())
    assert [anchors.count] * 5 == theirs.num_anchors_per_location()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sides": ((32.0,),) * 4}, {"sides": ((32.0,), (32.0, 40.0), (32.0,), (32.0,), (32.0,))}, {"sides": ((),) * 5},
        {"sides": ((0.0,),) * 5}, {"sides": ((float("nan"),),) * 5}, {"ratios": ()}, {"ratios": (0.0,)},
        {"ratios": (float("inf"),)}, {"ratios": (1.0,) * 40},
    ],
)  # fmt: skip
def test_anchors_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"levels|sides|side|ratio"):
        PyramidAnchors(**wrong)


def boxes_of(count: int, low: float, high: float, *, ratio: float = 1.0, seed: int = 0) -> Boxes:
    """Boxes of mean sides from `low` to `high` pixels, and of this height / width, all over an input of 512 pixels."""
    rng = np.random.default_rng(seed)
    side = np.exp(rng.uniform(np.log(low), np.log(high), (count, 1)))
    sides = side * np.array([ratio**-0.5, ratio**0.5]) * np.exp(rng.normal(0, 0.1, (count, 2)))
    center = rng.uniform(0, SIDE, (count, 2))
    return np.concatenate([center - sides / 2, center + sides / 2], axis=1)


def zeros(boxes: Boxes) -> NDArray[np.int32]:
    return np.zeros(len(boxes), np.int32)


def best_overlaps(anchors: PyramidAnchors, boxes: Boxes) -> NDArray[np.float64]:
    """(N,) IoU of every box with the best anchor, by torchvision, over the whole grid."""
    maps = tuple((SIDE // s, SIDE // s) for s in STRIDES)
    grid = torch.from_numpy(anchors.grid(maps, tuple((s, s) for s in STRIDES)).astype(np.float64))
    return np.asarray(box_iou(torch.from_numpy(boxes), grid).max(dim=1).values)


@pytest.mark.parametrize(
    ("low", "high", "ratio", "gain"),
    [(8, 20, 1.0, 0.3), (40, 90, 1.0, 0.03), (60, 200, 4.0, 0.15), (100, 140, 1.0, 0.04)],
)
def test_fitted_anchors_cover_a_dataset_better_than_the_usual_ones(
    low: float, high: float, ratio: float, gain: float
) -> None:
    train, test = boxes_of(300, low, high, ratio=ratio), boxes_of(50, low, high, ratio=ratio, seed=1)
    fitted = fit_pyramid(train, zeros(train))
    assert best_overlaps(fitted, test).mean() > best_overlaps(USUAL_ANCHORS, test).mean() + gain
    assert len(fitted.ratios) <= 3
    sides = [side for (side,) in fitted.sides]
    assert sides == sorted(set(sides))


CASES = {
    "none": np.zeros((0, 4)),
    "one": np.array([[100.0, 100, 150, 180]]),
    "a pixel": np.array([[7.0, 7, 8, 8]]),
    "less than a pixel": np.array([[7.0, 7, 7.2, 7.2]]),
    "lines": np.array([[0.0, 50, 512, 52], [50, 0, 52, 512]]),
    "larger than any": np.array([[0.0, 0, 4000, 4000]]),
    "many": boxes_of(20_000, 4, 500),
}


@pytest.mark.parametrize("boxes", CASES.values(), ids=CASES.keys())
def test_any_dataset_gives_anchors(boxes: Boxes) -> None:
    anchors = fit_pyramid(boxes, zeros(boxes), seed=3)
    assert anchors == fit_pyramid(boxes, zeros(boxes), seed=3)
    assert 1 <= anchors.count <= 3
    if len(boxes) == 0:
        assert anchors == USUAL_ANCHORS


def test_a_rare_label_is_not_forgotten() -> None:
    boxes = np.concatenate([boxes_of(2000, 100, 200), boxes_of(20, 10, 14, seed=1)])
    labels = np.repeat([0, 1], [2000, 20]).astype(np.int32)
    rare = boxes_of(40, 10, 14, seed=2)
    assert (
        best_overlaps(fit_pyramid(boxes, labels), rare).mean() > 0.45 > best_overlaps(USUAL_ANCHORS, rare).mean() + 0.2
    )


def test_the_nearest_anchor_is_the_best_one() -> None:
    boxes = boxes_of(100, 5, 300, seed=3)
    boxes = boxes[((boxes[:, :2] + boxes[:, 2:]) / 2 < SIDE - 64).all(axis=1)]  # nearer to the end the grid has no more
    found = np.max(
        [
            best_iou(boxes, (cell[:, 2:] - cell[:, :2]).astype(np.float64), stride).max(axis=1)
            for cell, stride in zip(USUAL_ANCHORS.cell(), STRIDES, strict=True)
        ],
        axis=0,
    )
    # a rounded cell's center can be half a pixel off
    np.testing.assert_allclose(found, best_overlaps(USUAL_ANCHORS, boxes), atol=0.02)


def test_recall_is_counted_by_label_and_size() -> None:
    sides = np.array([20.0, 40, 200, 31, 96])  # small, medium, large, small, large: COCO's limits are 32 and 96
    boxes = np.column_stack([np.full((5, 2), 128.0) - sides[:, None] / 2, np.full((5, 2), 128.0) + sides[:, None] / 2])
    rows = pyramid_recall(USUAL_ANCHORS, boxes, np.array([0, 0, 0, 1, 1], np.int32), ("a", "b", "none of it"))
    assert [(r.label, r.size, r.objects) for r in rows] == [
        ("a", "small", 1), ("a", "medium", 1), ("a", "large", 1), ("b", "small", 1), ("b", "large", 1),
    ]  # fmt: skip
    expected = best_overlaps(USUAL_ANCHORS, boxes)
    np.testing.assert_allclose([r.mean_iou for r in rows], expected, atol=0.02)
    assert [r.recall for r in rows] == (expected >= 0.5).tolist()
    assert pyramid_recall(USUAL_ANCHORS, np.zeros((0, 4)), np.zeros(0, np.int32), ("a",)) == ()
