from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.boxes import Boxes, area, clip, pairwise_iou

numbers = st.integers(-50, 50)
some_boxes = st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=8).map(
    lambda rows: np.array(rows, np.float64).reshape(-1, 4)
)


def test_width_is_xmax_minus_xmin() -> None:
    assert area(np.array([[10.0, 20, 14, 25]])).tolist() == [20]


def test_an_inverted_box_has_no_area() -> None:
    assert area(np.array([[14.0, 25, 10, 20], [14, 20, 10, 25]])).tolist() == [0, 0]


def test_clipping_keeps_what_is_inside_the_image() -> None:
    boxes = np.array([[-5.0, 10, 120, 60], [10, 10, 20, 20], [150, 10, 160, 20]])
    assert clip(boxes, 100, 80).tolist() == [[0, 10, 100, 60], [10, 10, 20, 20], [100, 10, 100, 20]]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 50 / 150),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),  # half-open: they only touch
        ((3, 3, 3, 3), (3, 3, 3, 3), 0.0),
    ],
)
def test_iou_of_boxes_drawn_on_paper(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert pairwise_iou(np.array([a], np.float64), np.array([b], np.float64))[0, 0] == pytest.approx(expected)


@given(some_boxes, some_boxes)
def test_iou_counts_shared_pixels(a: Boxes, b: Boxes) -> None:
    def pixels(box: Boxes) -> set[tuple[int, int]]:
        xmin, ymin, xmax, ymax = (int(value) for value in box)
        return {(x, y) for x in range(xmin, xmax) for y in range(ymin, ymax)}

    found = pairwise_iou(a[:3], b[:3])
    for i, one in enumerate(map(pixels, a[:3])):
        for j, other in enumerate(map(pixels, b[:3])):
            expected = len(one & other) / len(one | other) if one | other else 0.0
            assert found[i, j] == pytest.approx(expected)
