from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vocdet.data.dataset import Dataset
from vocdet.inputs.crop_samples import CropSamples
from vocdet.inputs.images import decode
from vocdet.inputs.square_crop import context_square, crop_rotated, crop_square, square_view
from vocdet.inputs.transforms import FILL

RED = [255, 0, 0]


def test_a_square_is_the_longer_side_and_its_share_all_round() -> None:
    assert context_square(np.array([10.0, 20, 50, 40]), 0.25) == (30, 30, 60)


def test_a_square_as_a_view_is_in_shares_of_the_image_and_may_leave_it() -> None:
    view = square_view((10, 10), 40, 100, 50)
    assert (view.x0, view.y0, view.x1, view.y1) == (-0.1, -0.2, 0.3, 0.6)


@pytest.mark.parametrize("size", [20, 64])
@pytest.mark.parametrize("context", [0.0, 0.15, 0.6])
def test_a_crop_of_a_size_is_what_the_classifier_is_trained_on(
    make_dataset: Callable[..., Dataset], size: int, context: float
) -> None:
    dataset = make_dataset([[(3, 2, 20.5, 9), (30, 10, 60, 40)]])
    crops = CropSamples(dataset, size, context=context)
    image = decode(dataset[0].path)
    for index, box in enumerate(dataset.objects.box):
        seen = crops.draw(index, np.random.default_rng(0)).image
        assert np.array_equal(crop_square(image, box, context=context, size=size), seen)


def test_without_a_size_the_pixels_are_those_of_the_image(make_dataset: Callable[..., Dataset]) -> None:
    dataset = make_dataset([[(10, 10, 30, 20)]])
    crop = crop_square(decode(dataset[0].path), dataset.objects.box[0], context=0.1)
    assert crop.shape == (24, 24, 3)  # 20 and 2 on each side; the box's center is in the middle
    assert (crop[7:17, 2:22] == RED).all()
    crop[7:17, 2:22] = 0
    assert not crop.any()


def test_beyond_the_image_it_is_gray(make_dataset: Callable[..., Dataset]) -> None:
    dataset = make_dataset([[(0, 30, 40, 40)]])  # of 60 × 40; the square is 40 × 40 round (20, 35)
    crop = crop_square(decode(dataset[0].path), dataset.objects.box[0], context=0)
    assert (crop[25:] == FILL).all()
    assert (crop[15:25] == RED).all()
    assert not crop[:15].any()


def test_the_smallest_object_is_a_pixel_at_least(make_dataset: Callable[..., Dataset]) -> None:
    dataset = make_dataset([[(10, 10, 10.2, 10.2)]])
    assert crop_square(decode(dataset[0].path), dataset.objects.box[0], context=0).shape == (1, 1, 3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_quarter_turns_of_a_square_move_its_pixels_exactly(mirrored: bool) -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    square = image[5:25, 10:30]
    for quarters in range(4):
        canvas = np.zeros((20, 20, 3), np.uint8)
        crop_rotated(canvas, image, (20, 15), 20, angle=quarters * np.pi / 2, mirrored=mirrored)
        expected = np.rot90(square, -quarters)  # NumPy turns the other way
        assert np.array_equal(canvas, expected[:, ::-1] if mirrored else expected)


def test_a_turned_square_is_gray_beyond_its_image_and_shrinks_without_skipping_pixels() -> None:
    striped = np.zeros((400, 400, 3), np.uint8)
    striped[:, ::2] = 200
    canvas = np.zeros((50, 50, 3), np.uint8)
    crop_rotated(canvas, striped, (200, 200), 400, angle=0.7)
    assert (canvas[0, 0] == FILL).all()  # a corner of the square is outside
    inner = canvas[20:30, 20:30]
    assert inner.min() > 80
    assert inner.max() < 120
    crop_rotated(canvas, striped, (-900, -900), 100, angle=1.0)
    assert (canvas == FILL).all()
