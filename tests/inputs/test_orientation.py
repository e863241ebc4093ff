"""Boxes and masks follow their pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.inputs.masked import in_full
from vocdet.inputs.orientation import Orientation, orient_boxes, orient_image, orient_masks, random_orientation
from vocdet.mask_crops import MaskCrops

ALL = [Orientation(flipped, transposed) for flipped, transposed in itertools.product((False, True), repeat=2)]


@pytest.mark.parametrize("orientation", ALL)
def test_masks_and_boxes_follow_the_pixels_of_the_image(orientation: Orientation) -> None:
    rng = np.random.default_rng(0)
    masks = MaskCrops.of(
        [(4, 7, (rng.random((11, 6)) < 0.5).astype(np.uint8)), None, (0, 0, np.ones((30, 20), np.uint8))]
    )
    image = np.zeros((30, 20, 3), np.uint8)
    image[..., 0] = in_full(masks, 0, 30, 20)
    oriented, there = orient_image(image, orientation), orient_masks(masks, orientation, 30)
    assert oriented.shape == ((20, 30, 3) if orientation.transposed else (30, 20, 3))
    assert np.array_equal(in_full(there, 0, *oriented.shape[:2]), oriented[..., 0] > 0)
    assert there.known.tolist() == [True, False, True]
    boxes = orient_boxes(masks.where.astype(np.float64), orientation, 30)
    assert boxes[[0, 2]].tolist() == there.where[[0, 2]].tolist()


def test_with_a_mirror_a_square_has_eight_orientations() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    seen = {orient_image(start, orientation).tobytes() for orientation in ALL for start in (image, image[:, ::-1])}
    assert len(seen) == 8


def test_orientations_are_equally_likely_and_transposition_can_be_fixed() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_orientation(rng) for _ in range(400)]
    assert all(60 < drawn.count(orientation) < 140 for orientation in ALL)
    for transposed in (False, True):
        assert {random_orientation(rng, transposed=transposed).transposed for _ in range(20)} == {transposed}


def test_an_image_without_objects_has_orientations_too() -> None:
    assert len(orient_masks(MaskCrops.none(0), Orientation(True, True), 9)) == 0
    assert orient_boxes(np.zeros((0, 4)), Orientation(True, True), 9).shape == (0, 4)
