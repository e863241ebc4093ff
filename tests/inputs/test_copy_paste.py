"""What is pasted covers what is below it: pixels, masks and boxes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inputs.masked import bounds_of, in_full
from vocdet.inputs.copy_paste import paste
from vocdet.inputs.samples import Sample
from vocdet.mask_crops import MaskCrops

RNG = np.random.default_rng
Box = tuple[int, int, int, int]
SIDE = 100


def picture(color: int, *objects: tuple[Box, bool], first: int = 0) -> Sample:
    """A picture of one color with rectangles that fill their masks, or have none; labels count from `first`."""
    cuts = [(x0, y0, np.ones((y1 - y0, x1 - x0), np.uint8)) if masked else None for (x0, y0, x1, y1), masked in objects]
    boxes = np.array([box for box, _ in objects], np.float64).reshape(-1, 4)
    image = np.full((SIDE, SIDE, 3), color, np.uint8)
    return Sample(image, boxes, np.arange(first, first + len(objects)), (first,), MaskCrops.of(cuts))


def pasted(below: Sample, *objects: tuple[Box, bool], seed: int = 0) -> Sample:
    return paste(below, picture(9, *objects, first=100), RNG(seed))


def test_the_pixels_under_the_mask_are_those_of_the_other_picture() -> None:
    below = picture(1, ((0, 0, 20, 20), True))
    found = pasted(below, ((50, 40, 70, 60), True))
    expected = np.full((SIDE, SIDE), 1)
    expected[40:60, 50:70] = 9
    assert np.array_equal(found.image[..., 0], expected)
    assert found.image is below.image
    assert found.boxes.tolist() == [[0, 0, 20, 20], [50, 40, 70, 60]]
    assert found.labels.tolist() == [0, 100]
    assert found.rows == (0, 100)
    assert found.masks is not None
    assert found.masks.where.tolist() == [[0, 0, 20, 20], [50, 40, 70, 60]]


@pytest.mark.parametrize(
    ("over", "box"),
    [((30, 0, 60, 60), (0, 0, 30, 40)),  # its right side
     ((0, 25, 60, 60), (0, 0, 40, 25)),  # its foot
     ((10, 10, 30, 30), (0, 0, 40, 40)),  # a hole
     ((0, 0, 20, 20), (0, 0, 40, 40)),  # a corner
     ((60, 60, 90, 90), (0, 0, 40, 40))],  # nothing
)  # fmt: skip
def test_what_is_hidden_is_taken_off_mask_and_box(over: Box, box: Box) -> None:
    found = pasted(picture(1, ((0, 0, 40, 40), True)), (over, True))
    full = np.zeros((SIDE, SIDE), np.bool_)
    full[:40, :40] = True
    full[over[1] : over[3], over[0] : over[2]] = False
    assert found.masks is not None
    assert np.array_equal(in_full(found.masks, 0, SIDE, SIDE), full)
    assert found.boxes[0].tolist() == list(box) == bounds_of(full)
    assert found.masks.where[0].tolist() == list(box)


@pytest.mark.parametrize(("right", "stays"), [(30, True), (31, False), (40, False)])
def test_an_object_of_which_less_than_a_quarter_is_left_is_gone(right: int, stays: bool) -> None:
    found = pasted(picture(1, ((0, 0, 40, 40), True), ((60, 60, 80, 80), True)), ((0, 0, right, 50), True))
    assert found.labels.tolist() == ([0, 1, 100] if stays else [1, 100])
    assert found.masks is not None
    assert len(found.masks) == len(found.boxes) == len(found.labels)


@pytest.mark.parametrize(("right", "stays"), [(30, True), (31, False)])
def test_of_an_object_without_a_mask_the_box_counts_and_stays_whole(right: int, stays: bool) -> None:
    found = pasted(picture(1, ((0, 0, 40, 40), False)), ((0, 0, right, 50), True))
    assert found.labels.tolist() == ([0, 100] if stays else [100])
    if stays:
        assert found.boxes[0].tolist() == [0, 0, 40, 40]
        assert found.masks is not None
        assert found.masks.known.tolist() == [False, True]


def test_objects_without_masks_are_not_pasted() -> None:
    below = picture(1, ((0, 0, 40, 40), True))
    found = pasted(below, ((50, 50, 60, 60), False))
    assert found is below
    assert (found.image == 1).all()
    assert pasted(below) is below  # from a picture without objects
    for seed in range(10):
        found = pasted(picture(1), ((50, 50, 60, 60), False), ((70, 70, 80, 80), True), seed=seed)
        assert found.labels.tolist() == [101]


def test_a_random_subset_is_pasted_and_at_least_one() -> None:
    three = [((10 * i, 0, 10 * i + 8, 8), True) for i in range(3)]
    seen = {tuple(pasted(picture(1), *three, seed=seed).labels.tolist()) for seed in range(80)}
    assert seen == {(100,), (101,), (102,), (100, 101), (100, 102), (101, 102), (100, 101, 102)}


def test_the_same_seed_pastes_the_same() -> None:
    objects = [((10 * i, 0, 10 * i + 8, 8), True) for i in range(8)]
    one, other = (pasted(picture(1), *objects, seed=4).labels.tolist() for _ in range(2))
    assert one == other


def test_a_part_of_a_larger_canvas_may_be_pasted_on() -> None:
    canvas = np.ones((SIDE + 28, SIDE + 28, 3), np.uint8)
    below = picture(1)
    part = Sample(canvas[:SIDE, :SIDE], below.boxes, below.labels, below.rows, below.masks)
    paste(part, picture(9, ((90, 90, 100, 100), True), first=100), RNG(0))
    assert (canvas[90:100, 90:100] == 9).all()
    assert canvas.sum() == 3 * ((SIDE + 28) ** 2 + 8 * 100)


def test_pasting_without_masks_is_a_mistake() -> None:
    without_images = Sample(np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4)), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="pasting needs the masks"):
        paste(without_images, without_images, RNG(0))
