from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from vocdet.boxes import area, clip

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
