"""One polygon covers exactly what the mask covers: drawn by pycocotools, it gives the same pixels."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from vocdet import masks
from vocdet.mask_outlines import as_polygon, clipped, outlines

Mask = NDArray[np.bool_]

small = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def drawn(polygon: list[float], size: tuple[int, ...]) -> Mask:
    (rle,) = coco.frPyObjects([polygon], *size)
    return np.asarray(masks.pixels(masks.parse(msgspec.json.encode(
        {"size": list(size), "counts": rle["counts"].decode()})), *size))  # fmt: skip


def rle(mask: Mask) -> masks.Rle:
    parsed = masks.parse(masks.rle_json(mask))
    assert isinstance(parsed, masks.Rle)
    return parsed


@given(small)
def test_pixels_become_a_polygon_that_draws_the_same_pixels(mask: Mask) -> None:
    polygon = as_polygon(rle(mask), *mask.shape)
    assert (polygon is None) == (not mask.any())
    if polygon is not None:
        assert np.array_equal(drawn(polygon, mask.shape), mask)


def test_a_rectangle_of_pixels_has_four_corners() -> None:
    mask = np.zeros((8, 10), np.bool_)
    mask[2:5, 3:9] = True
    assert as_polygon(rle(mask), 8, 10) == [3, 2, 9, 2, 9, 5, 3, 5]


def test_a_hole_is_a_separate_ring() -> None:
    mask = np.ones((5, 5), np.bool_)
    mask[2, 2] = False
    assert sorted(map(len, outlines(mask))) == [4, 4]


def test_pixels_that_touch_at_a_corner_are_two_pieces() -> None:
    assert len(outlines(np.eye(2, dtype=np.bool_))) == 2


def test_polygons_apart_keep_their_corners_and_are_joined() -> None:
    first, second = [1.5, 1.0, 4.0, 1.0, 4.0, 4.25], [6.0, 6.0, 9.0, 6.0, 9.0, 9.0]
    polygon = as_polygon([first, second], 10, 10)
    assert polygon == [1.5, 1, 4, 1, 4, 4.25, 1.5, 1, 6, 6, 9, 6, 9, 9, 6, 6]
    assert np.array_equal(drawn(polygon, (10, 10)), masks.pixels([first, second], 10, 10))


def test_polygons_that_overlap_cover_what_any_of_them_covers() -> None:
    both = [[1.0, 1, 6, 1, 6, 6, 1, 6], [4.0, 4, 9, 4, 9, 9, 4, 9]]
    polygon = as_polygon(both, 10, 10)
    assert polygon is not None
    assert np.array_equal(drawn(polygon, (10, 10)), masks.pixels(both, 10, 10))


@pytest.mark.parametrize(
    ("ring", "inside"),
    [
        ([(2, 2), (8, 2), (8, 8)], [(2, 2), (8, 2), (8, 8)]),
        ([(-5, 0), (5, 0), (5, 10)], [(0, 0), (5, 0), (5, 10), (0, 5)]),  # its edges cross x = 0 at y = 0 and y = 5
        ([(5, 5), (15, 5), (15, 8), (5, 8)], [(5, 5), (10, 5), (10, 8), (5, 8)]),
        ([(20, 20), (30, 20), (30, 30)], []),
    ],
)
def test_a_polygon_is_cut_where_it_leaves_the_image(
    ring: list[tuple[float, float]], inside: list[tuple[float, float]]
) -> None:
    assert set(clipped(ring, 10, 10)) == set(inside)


def test_nothing_in_the_image_is_no_polygon() -> None:
    assert as_polygon([[20, 20, 30, 20, 30, 30]], 10, 10) is None
    assert as_polygon([[1, 1, 5, 5, 9, 9]], 10, 10) is None  # a line
