"""Masks cut to rectangles, in one row of bytes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from vocdet.mask_crops import MaskCrops

L = np.array([[1, 0], [1, 0], [1, 1]], np.uint8)
DOT = np.ones((1, 1), np.uint8)


def three() -> MaskCrops:
    """An L at (4, 5), an object without a mask, a dot at (0, 9)."""
    return MaskCrops.of([(4, 5, L), None, (0, 9, DOT)])


def test_every_crop_is_where_it_was_put() -> None:
    masks = three()
    assert len(masks) == 3
    assert masks.where.tolist() == [[4, 5, 6, 8], [0, 0, 0, 0], [0, 9, 1, 10]]
    assert masks.pixels.tolist() == [1, 0, 1, 0, 1, 1, 1]
    assert np.array_equal(masks.crop(0), L)
    assert masks.crop(1).shape == (0, 0)
    assert masks.crop(2).tolist() == [[1]]
    assert masks.known.tolist() == [True, False, True]
    assert np.shares_memory(masks.crop(0), masks.pixels)


def test_masks_are_taken_by_row_in_any_order_and_more_than_once() -> None:
    taken = three().take(np.array([2, 1, 0, 2]))
    assert taken.where[:, 0].tolist() == [0, 0, 4, 0]
    assert [taken.crop(i).tolist() for i in (0, 2, 3)] == [[[1]], L.tolist(), [[1]]]
    assert three().take(np.array([True, False, False])).where.tolist() == [[4, 5, 6, 8]]
    assert len(three().take(np.zeros(0, np.int64))) == 0


def test_a_part_is_the_same_masks_without_a_copy() -> None:
    masks = three()
    for start, stop in ((0, 3), (0, 0), (1, 3), (2, 3), (3, 3)):
        part = masks.part(start, stop)
        assert [part.crop(i).tolist() for i in range(len(part))] == [masks.crop(i).tolist() for i in range(start, stop)]
    assert np.shares_memory(masks.part(2, 3).pixels, masks.pixels)


def test_parts_joined_are_the_whole() -> None:
    masks = three()
    joined = MaskCrops.joined([masks.part(0, 1), MaskCrops.none(0), masks.part(1, 3), MaskCrops.none(2)])
    assert np.array_equal(joined.where[:3], masks.where)
    assert not joined.where[3:].any()
    assert np.array_equal(joined.pixels, masks.pixels)
    assert len(MaskCrops.joined([])) == 0


def test_objects_without_masks_have_no_pixels() -> None:
    none = MaskCrops.none(4)
    assert len(none) == 4
    assert not none.known.any()
    assert none.pixels.size == 0
    assert not MaskCrops.of([(3, 4, np.zeros((0, 5), np.uint8))]).where.any()


def test_masks_go_from_one_process_to_another() -> None:
    back = pickle.loads(pickle.dumps(three()))
    assert np.array_equal(back.where, three().where)
    assert np.array_equal(back.crop(2), [[1]])


@pytest.mark.parametrize(
    ("where", "count"), [([[0, 0, 2, 2]], 3), ([[2, 0, 0, 2]], 4), ([[4, 5, 2, 3]], 4), ([[0, 0, 1]], 1)]
)
def test_pixels_that_do_not_fill_their_rectangles_are_refused(where: list[list[int]], count: int) -> None:
    with pytest.raises(ValueError, match="masks"):
        MaskCrops(np.array(where, np.int32), np.zeros(count, np.uint8))
    with pytest.raises(ValueError, match="type"):
        MaskCrops(np.zeros((1, 4), np.int64), np.zeros(0, np.uint8))
    with pytest.raises(ValueError, match="type"):
        MaskCrops(np.zeros((1, 4), np.int32), np.zeros(0, np.bool_))
