"""Boxes and masks are turned with their pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.inputs.masked import in_full
from vocdet.inputs.turns import Turn, random_turn, turn_boxes, turn_image, turn_masks
from vocdet.mask_crops import MaskCrops

ALL = [Turn(over, quarter) for over, quarter in itertools.product((False, True), repeat=2)]


@pytest.mark.parametrize("turn", ALL)
def test_every_pixel_of_a_mask_goes_where_that_of_the_image_goes(turn: Turn) -> None:
    rng = np.random.default_rng(0)
    masks = MaskCrops.of(
        [(4, 7, (rng.random((11, 6)) < 0.5).astype(np.uint8)), None, (0, 0, np.ones((30, 20), np.uint8))]
    )
    image = np.zeros((30, 20, 3), np.uint8)
    image[..., 0] = in_full(masks, 0, 30, 20)
    turned, there = turn_image(image, turn), turn_masks(masks, turn, 30)
    assert turned.shape == ((20, 30, 3) if turn.quarter else (30, 20, 3))
    assert np.array_equal(in_full(there, 0, *turned.shape[:2]), turned[..., 0] > 0)
    assert there.known.tolist() == [True, False, True]
    boxes = turn_boxes(masks.where.astype(np.float64), turn, 30)
    assert boxes[[0, 2]].tolist() == there.where[[0, 2]].tolist()


def test_with_a_mirror_a_square_lies_in_all_eight_ways() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    ways = {turn_image(start, turn).tobytes() for turn in ALL for start in (image, image[:, ::-1])}
    assert len(ways) == 8


def test_all_turns_come_as_often_and_a_quarter_as_it_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_turn(rng) for _ in range(400)]
    assert all(60 < drawn.count(turn) < 140 for turn in ALL)
    for quarter in (False, True):
        assert {random_turn(rng, quarter=quarter).quarter for _ in range(20)} == {quarter}


def test_nothing_is_turned_as_well() -> None:
    assert len(turn_masks(MaskCrops.none(0), Turn(True, True), 9)) == 0
    assert turn_boxes(np.zeros((0, 4)), Turn(True, True), 9).shape == (0, 4)
