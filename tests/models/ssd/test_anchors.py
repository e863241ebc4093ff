"""Anchors lie where torchvision's lie, and at quarter points where that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from vocdet.models.ssd.anchors import Anchors, Shape, map_sizes, torchvision_anchors


@pytest.mark.parametrize("size", [(320, 320), (300, 300), (96, 64), (64, 513), (1024, 96)])
def test_the_fixed_ones_are_torchvisions_to_the_last_bit(size: tuple[int, int]) -> None:
    maps = map_sizes(size)
    generator = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    images = ImageList(torch.zeros(1, 3, *size), [size])
    expected = generator(images, [torch.zeros(1, 1, *m) for m in maps])[0].numpy()
    sides = np.array([size[1], size[0]] * 2, np.float32)
    assert np.array_equal(torchvision_anchors().grid(maps) * sides, expected)
    assert torchvision_anchors().counts == tuple(generator.num_anchors_per_location())


@pytest.mark.parametrize(
    ("size", "maps"),
    [
        ((300, 300), ((19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))),
        ((320, 320), ((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))),
        ((640, 300), ((40, 19), (20, 10), (10, 5), (5, 3), (3, 2), (2, 1))),
    ],
)
def test_a_pooled_last_map_is_one_cell_and_the_others_stay(
    size: tuple[int, int], maps: tuple[tuple[int, int], ...]
) -> None:
    assert map_sizes(size) == maps
    assert map_sizes(size, last_map="pool") == (*maps[:5], (1, 1))


def test_a_density_of_two_places_anchors_at_quarter_points() -> None:
    anchors = Anchors(((Shape(0.2, 0.1), Shape(0.1, 0.3, 2)),))
    assert anchors.counts == (5,)
    grid = anchors.grid(((2, 4),)).reshape(2, 4, 5, 4)  # rows, columns, anchors
    centers = (grid[..., :2] + grid[..., 2:]) / 2
    # the cell in row 1, column 2 reaches from (.5, .5) to (.75, 1)
    np.testing.assert_allclose(centers[1, 2, 0], (0.625, 0.75), atol=1e-6)
    quarters = [(0.5625, 0.625), (0.6875, 0.625), (0.5625, 0.875), (0.6875, 0.875)]
    np.testing.assert_allclose(centers[1, 2, 1:], quarters, atol=1e-6)
    sides = np.broadcast_to([[0.2, 0.1]] + [[0.1, 0.3]] * 4, (2, 4, 5, 2))
    np.testing.assert_allclose(grid[..., 2:] - grid[..., :2], sides, atol=1e-6)


def test_maps_come_first_then_rows_then_columns_then_shapes() -> None:
    grid = Anchors(((Shape(0.1, 0.1), Shape(0.2, 0.2)), (Shape(0.5, 0.5),))).grid(((1, 2), (1, 1)))
    centers = (grid[:, :2] + grid[:, 2:]) / 2
    widths = grid[:, 2] - grid[:, 0]
    np.testing.assert_allclose(centers[:, 0], (0.25, 0.25, 0.75, 0.75, 0.5), atol=1e-6)
    np.testing.assert_allclose(widths, (0.1, 0.2, 0.1, 0.2, 0.5), atol=1e-6)


def test_anchors_want_a_map_each() -> None:
    with pytest.raises(ValueError, match="1 maps for the anchors of 6"):
        torchvision_anchors().grid(((20, 20),))


@pytest.mark.parametrize("shape", [Shape(0, 0.1), Shape(0.1, -1), Shape(float("nan"), 0.1), Shape(0.1, 0.1, 0)])
def test_an_anchor_that_is_not_a_box_is_refused(shape: Shape) -> None:
    with pytest.raises(ValueError, match="an anchor of"):
        Anchors(((shape,),))
