"""Boxes follow their pixels, whatever view of an image is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.strategies import examples
from vocdet.inputs.transforms import (
    FILL,
    Augmentation,
    View,
    blend,
    draw_view,
    match_aspect,
    mosaic_cells,
    random_color,
    random_crop,
    random_view,
    visible_boxes,
)

Pixels = NDArray[np.uint8]
WHOLE = (0, 0, 80, 64)


def sample(size: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[Pixels, NDArray[np.float64]]:
    """A black image of this width and height with a red rectangle, and the rectangle in shares of the image."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = (255, 0, 0)
    return pixels, np.array([box], np.float64) / np.array([*size, *size])


def red(canvas: Pixels) -> tuple[int, int, int, int]:
    """Where the canvas is more red than black or gray."""
    mask = (canvas[..., 0] > 127) & (canvas[..., 1] < 64)
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


@st.composite
def samples(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    width, height = draw(st.integers(30, 300)), draw(st.integers(30, 300))
    x0, y0 = draw(st.integers(0, width - 12)), draw(st.integers(0, height - 12))
    return (width, height), (x0, y0, draw(st.integers(x0 + 12, width)), draw(st.integers(y0 + 12, height)))


@st.composite
def views(draw: st.DrawFn) -> View:
    w, h = draw(st.floats(0.3, 2.0)), draw(st.floats(0.3, 2.0))
    x0 = draw(st.floats(min(0, 1 - w), max(0, 1 - w)))
    y0 = draw(st.floats(min(0, 1 - h), max(0, 1 - h)))
    return View(x0, y0, x0 + w, y0 + h, draw(st.booleans()))


@settings(max_examples=examples(150), deadline=None)
@given(samples(), views(), st.sampled_from([WHOLE, (0, 0, 31, 33), (25, 10, 80, 64), (3, 40, 47, 64)]))
@example(((100, 50), (10, 10, 60, 40)), View(), WHOLE)
@example(((100, 50), (10, 10, 60, 40)), View(mirrored=True), WHOLE)
@example(((300, 290), (10, 10, 60, 250)), View(), (3, 40, 47, 64))
def test_a_box_is_where_its_pixels_are(
    what: tuple[tuple[int, int], tuple[int, int, int, int]], view: View, into: tuple[int, int, int, int]
) -> None:
    image, boxes = sample(*what)
    canvas = np.full((64, 80, 3), FILL, np.uint8)
    shown = draw_view(canvas, image, view, into)
    seen, keep = visible_boxes(boxes, shown, into)
    assume(len(keep))
    assume((seen[0, 2:] - seen[0, :2] >= 3).all())  # thinner ones may fall between the pixels
    assert np.abs(seen[0] - red(canvas)).max() <= 1.0
    outside = np.ones((64, 80), np.bool_)
    outside[into[1] : into[3], into[0] : into[2]] = False
    assert (canvas[outside] == FILL).all()


@given(views(), st.tuples(st.integers(1, 300), st.integers(1, 300)))
def test_a_view_is_rendered_at_the_requested_place(view: View, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    shown = draw_view(np.zeros((64, 80, 3), np.uint8), image, view, WHOLE)
    assert shown.mirrored == view.mirrored
    corners = ((view.x0, shown.x0, 1, 80), (view.y0, shown.y0, 0, 64), (view.x1, shown.x1, 1, 80))
    for asked, given_, axis, target in corners:
        pixel = max(1.0, (view.x1 - view.x0 if axis else view.y1 - view.y0) * size[axis] / target)
        assert abs(given_ - asked) * size[axis] <= 4 * pixel


def test_small_pictures_are_not_stretched_to_whole_pixels() -> None:
    image, _ = sample((40, 30), (10, 10, 20, 20))
    view = View(0.21, 0.22, 0.53, 0.68)
    assert draw_view(np.zeros((64, 80, 3), np.uint8), image, view, WHOLE) == view


def test_a_view_of_nothing_is_gray() -> None:
    canvas = np.zeros((64, 80, 3), np.uint8)
    draw_view(canvas, sample((80, 64), (0, 0, 80, 64))[0], View(1.5, 0.2, 2.0, 0.9), WHOLE)
    assert (canvas == FILL).all()


def test_a_strip_of_one_pixel_is_drawn_far_smaller() -> None:
    canvas = np.zeros((32, 32, 3), np.uint8)
    strip = np.full((1, 150, 3), 9, np.uint8)
    draw_view(canvas, strip, View(0, -72, 1, 78), (0, 0, 32, 32))  # a square around it
    assert (canvas[[0, -1]] == FILL).all()


def test_a_mirrored_view_is_the_image_mirrored_and_twice_is_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    once, twice = np.zeros_like(image), np.zeros_like(image)
    draw_view(once, image, View(mirrored=True), WHOLE)
    draw_view(twice, once, View(mirrored=True), WHOLE)
    assert np.array_equal(once, image[:, ::-1])
    assert np.array_equal(twice, image)


def test_pixels_beyond_the_image_are_gray() -> None:
    image, _ = sample((80, 64), (0, 0, 80, 64))
    canvas = np.zeros((64, 80, 3), np.uint8)
    draw_view(canvas, image, View(-0.5, -0.5, 1.5, 1.5), WHOLE)
    assert (canvas[:15] == FILL).all()
    assert (canvas[:, 61:] == FILL).all()
    assert (canvas[17:47, 21:59] == (255, 0, 0)).all()


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    checks = (np.indices((512, 640)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    for view in (View(), View(mirrored=True), View(0, 0, 0.99, 0.99)):
        canvas = np.zeros((64, 80, 3), np.uint8)
        draw_view(canvas, checks, view, WHOLE)
        assert np.abs(canvas[2:-2, 2:-2].astype(int) - 127).max() < 40


def test_an_object_counts_when_enough_of_it_is_seen() -> None:
    half = View(0.0, 0.0, 0.5, 1.0)
    shares = np.array(
        [
            [0.1, 0.1, 0.3, 0.3],  # all of it
            [0.35, 0.1, 0.6, 0.3],  # its center, too
            [0.45, 0.1, 0.7, 0.3],  # not its center
            [0.6, 0.1, 0.9, 0.9],  # nothing
            [0.1, 0.1, 0.105, 0.9],  # less than two pixels of it
        ]
    )
    seen, keep = visible_boxes(shares, half, (0, 0, 100, 100))
    assert keep.tolist() == [0, 1]
    np.testing.assert_allclose(seen, [[20, 10, 60, 30], [70, 10, 100, 30]])


def test_a_quarter_of_an_object_is_enough_and_less_is_not() -> None:
    # the center is seen in both; of the second, less than a quarter in area is left
    view = View(0.0, 0.0, 0.52, 0.52)
    seen, keep = visible_boxes(np.array([[0.2, 0.2, 0.8, 0.8], [0.0, 0.0, 1.0, 1.0]]), view, (0, 0, 100, 100))
    assert keep.tolist() == [0, 1]
    _, keep = visible_boxes(np.array([[0.01, 0.01, 1.0, 1.0]]), View(0.48, 0.48, 0.51, 0.51), (0, 0, 100, 100))
    assert keep.tolist() == []
    assert (seen >= 0).all()
    assert (seen <= 100).all()


def test_without_objects_nothing_is_seen() -> None:
    seen, keep = visible_boxes(np.zeros((0, 4)), View(0.2, 0.2, 0.7, 0.7, True), WHOLE)
    assert (seen.shape, keep.shape) == ((0, 4), (0,))


@settings(max_examples=examples(50), deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_a_crop_is_large_enough_not_too_thin_and_shows_an_object(seed: int, objects: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.random((objects, 2)) * 0.8
    boxes = np.concatenate([corner, corner + 0.02 + rng.random((objects, 2)) * 0.18], axis=1)
    x0, y0, x1, y1 = random_crop(rng, boxes, 0.3)
    assert min(x0, y0) >= 0
    assert max(x1, y1) <= 1
    w, h = x1 - x0, y1 - y0
    assert min(w, h) >= 0.3
    assert 0.5 <= w / h <= 2
    if objects:
        center = (boxes[:, :2] + boxes[:, 2:]) / 2
        assert ((center > (x0, y0)) & (center < (x1, y1))).all(1).any()


def test_views_are_whole_wide_and_mirrored_at_the_requested_rates() -> None:
    boxes = np.array([[0.4, 0.4, 0.6, 0.6]])
    only = {
        "whole": Augmentation(whole=1, zoom_out=0, flip=0),
        "wide": Augmentation(whole=0, zoom_out=1, flip=1, largest_canvas=3.0),
        "crop": Augmentation(whole=0, zoom_out=0, flip=0),
    }
    for seed in range(20):
        found = {name: random_view(np.random.default_rng(seed), boxes, a) for name, a in only.items()}
        assert found["whole"] == View()
        wide = found["wide"]
        assert wide.mirrored
        assert max(wide.x0, wide.y0) <= 0
        assert min(wide.x1, wide.y1) >= 1
        assert wide.x1 - wide.x0 == pytest.approx(wide.y1 - wide.y0)
        assert 1 <= wide.x1 - wide.x0 <= 3
        assert (found["crop"].x1 - found["crop"].x0) <= 1
        assert not found["crop"].mirrored


def test_colors_change_but_gray_stays_gray() -> None:
    gray = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16, 1).repeat(3, 2)
    color = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for seed in range(20):
        changed = random_color(np.random.default_rng(seed), gray)
        assert changed.shape == gray.shape
        assert changed.dtype == np.uint8
        assert int(np.ptp(changed.astype(int), axis=2).max()) <= 1
        assert (np.diff(changed[..., 0].ravel().astype(int)) >= 0).all()  # what was lighter still is
        assert not np.array_equal(random_color(np.random.default_rng(seed), color), color)
    before = color.copy()
    random_color(np.random.default_rng(0), color)
    assert np.array_equal(color, before)


@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(32, 400), st.integers(32, 400)))
def test_the_cells_of_a_mosaic_cover_every_pixel_once(seed: int, size: tuple[int, int]) -> None:
    covered = np.zeros(size, np.int64)
    for x0, y0, x1, y1 in mosaic_cells(np.random.default_rng(seed), size):
        assert min(x1 - x0, y1 - y0) >= 8
        covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()


def test_two_pictures_laid_over_each_other_are_half_of_each() -> None:
    one, other = (np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8) for i in range(2))
    halves = (one.astype(float) + other) / 2
    blend(one, other)
    assert np.abs(one - halves).max() <= 0.5


@given(
    views(),
    st.tuples(st.integers(30, 400), st.integers(30, 400)),
    st.tuples(st.integers(20, 200), st.integers(20, 200)),
    st.integers(0, 99),
)
def test_a_shaped_view_is_a_part_of_it_that_is_not_stretched(
    view: View, source: tuple[int, int], target: tuple[int, int], seed: int
) -> None:
    part = match_aspect(np.random.default_rng(seed), view, source, target)
    assert part.mirrored == view.mirrored
    assert min(part.x0 - view.x0, part.y0 - view.y0, view.x1 - part.x1, view.y1 - part.y1) > -1e-9
    across = target[0] / ((part.x1 - part.x0) * source[0])
    down = target[1] / ((part.y1 - part.y0) * source[1])
    assert across == pytest.approx(down, rel=1.01 / min(target))
    # as large as can be: it has all of one side
    assert (part.x1 - part.x0) == pytest.approx(view.x1 - view.x0) or (part.y1 - part.y0) == pytest.approx(
        view.y1 - view.y0
    )


def test_even_views_have_the_shape_of_their_image() -> None:
    boxes = np.array([[0.4, 0.4, 0.6, 0.6]])
    sides = set()
    for seed in range(40):
        view = random_view(np.random.default_rng(seed), boxes, Augmentation(), even=True)
        assert view.x1 - view.x0 == pytest.approx(view.y1 - view.y0)
        sides.add(round(view.x1 - view.x0, 2))
    assert len(sides) > 10
