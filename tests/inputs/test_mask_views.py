"""A mask under a view is the mask of the whole image, cut, scaled and mirrored like its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.inputs.masked import Pixels, bounds_of, in_full, polygon_text, rle_text, save_dataset, whole_mask
from tests.strategies import examples
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.texts import Texts
from vocdet.inputs.mask_views import MaskFrame, bounded, tight, visible_mask, visible_masks
from vocdet.inputs.object_masks import ObjectMasks
from vocdet.inputs.transforms import FILL, View, draw_view, visible_boxes
from vocdet.mask_crops import MaskCrops

SIZE = (90, 70)  # width, height
WHOLE = (0, 0, *SIZE)


def table(*texts: bytes, size: tuple[int, int] = SIZE) -> ObjectMasks:
    """The masks of one image's objects."""
    n = len(texts)
    zero, no = np.zeros(n, np.int32), np.zeros(n, np.bool_)
    images = Images(("0",), ("0.png",), np.array(size[:1]), np.array(size[1:]), ("",))
    objects = Objects(zero, zero, np.zeros((n, 4)), no, no, no, no, zero, segmentation=Texts.of(texts))
    return ObjectMasks.of(Dataset(Path(), ("it",), images, objects))


def seen_in(
    found: ObjectMasks,
    view: View,
    into: tuple[int, int, int, int],
    canvas: tuple[int, int],
    size: tuple[int, int] = SIZE,
) -> Pixels:
    """What is seen of the first object's mask, in all pixels of a canvas (width, height)."""
    masks = MaskCrops.of([visible_mask(found, 0, MaskFrame(size, view, into))])
    return in_full(masks, 0, canvas[1], canvas[0])


def crop(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = SIZE, *, mirrored: bool = False) -> View:
    """A view of these pixels of an image."""
    width, height = size
    return View(x0 / width, y0 / height, x1 / width, y1 / height, mirrored)


coordinates = (
    st.integers(0, 900).map(lambda tenths: tenths / 10)
    | st.integers(0, 90)
    | st.floats(0, 90).map(lambda x: round(x, 3))
)
polygons = st.lists(
    st.integers(3, 7).flatmap(lambda n: st.lists(coordinates, min_size=2 * n, max_size=2 * n)), min_size=1, max_size=2
)
# some begin or end beyond the image
corners = st.tuples(st.integers(-20, 60), st.integers(-20, 40), st.integers(2, 60), st.integers(2, 60))


def cut_out(mask: Pixels, x0: int, y0: int, width: int, height: int) -> Pixels:
    """Pixels of a mask that may lie beyond it."""
    wide = np.pad(mask, 100)
    return wide[100 + y0 : 100 + y0 + height, 100 + x0 : 100 + x0 + width]


# an edge of it passes exactly between two pixels
TIED = [20.0, 75, 69, 33, 69, 71, 33, 19, 33, 27, 11, 12]


@settings(max_examples=examples(150), deadline=None)
@given(polygons, corners, st.booleans(), st.booleans())
@example([TIED], (3, 18, 49, 59), False, False)
def test_a_crop_of_whole_pixels_shows_those_of_the_whole_images_mask(
    polygon: list[list[float]], corner: tuple[int, int, int, int], mirrored: bool, as_rle: bool
) -> None:
    full = whole_mask(polygon, *SIZE)
    x0, y0, width, height = corner
    as_rle = as_rle and bool(full.any())
    found = table(rle_text(full) if as_rle else polygon_text(*polygon))
    if not found.usable[0]:  # a line
        return
    expected, tied = (
        cut_out(mask, x0, y0, width, height)[:, :: -1 if mirrored else 1]
        for mask in (full, np.zeros_like(full) if as_rle else _tied(polygon))
    )
    view = crop(x0, y0, x0 + width, y0 + height, mirrored=mirrored)
    seen = seen_in(found, view, (3, 5, 3 + width, 5 + height), (70, 70))
    inside = seen[5 : 5 + height, 3 : 3 + width]
    assert np.array_equal(inside[~tied], expected[~tied])
    assert seen.sum() == inside.sum()  # and nothing beside it


def _tied(polygons: list[list[float]]) -> Pixels:
    """The pixels that depend on where pycocotools draws: a sum halfway between two numbers rounds either way.

    Drawn again from the corner of the polygons' bounds, which is moved to the origin.
    """
    x, y = (int(min(value for polygon in polygons for value in polygon[k::2])) for k in (0, 1))
    moved = [np.round(np.subtract(polygon, [x, y] * (len(polygon) // 2)), 6).tolist() for polygon in polygons]
    again = np.zeros((SIZE[1] + 100, SIZE[0] + 100), np.bool_)
    again[y:][: SIZE[1], x : x + SIZE[0]] = whole_mask(moved, *SIZE)
    return whole_mask(polygons, *SIZE) ^ again[: SIZE[1], : SIZE[0]]


def test_few_pixels_depend_on_where_a_polygon_is_drawn() -> None:
    assert _tied([TIED]).sum() == 1
    rng = np.random.default_rng(0)
    triangles = [[(rng.integers(0, 701, 6) / 10).tolist()] for _ in range(300)]
    assert sum(int(_tied(triangle).sum()) for triangle in triangles) <= 3


@pytest.mark.parametrize("compressed", [True, False])
def test_a_view_that_changes_nothing_gives_every_mask_back(compressed: bool) -> None:
    noise = np.random.default_rng(0).random((SIZE[1], SIZE[0])) < 0.4
    assert np.array_equal(seen_in(table(rle_text(noise, compressed=compressed)), View(), WHOLE, SIZE), noise)
    one = np.zeros_like(noise)
    one[-1, -1] = True
    assert np.array_equal(seen_in(table(rle_text(one, compressed=compressed)), View(), WHOLE, SIZE), one)


def test_a_polygon_that_reaches_beyond_its_image_ends_with_it() -> None:
    around = [-20, -20, 200, -20, 200, 200, -20, 200]
    found = table(polygon_text(around))
    assert seen_in(found, View(), WHOLE, SIZE).all()
    zoomed = seen_in(found, View(-1, -1, 2, 2), WHOLE, SIZE)  # a third each way, in the middle
    assert bounds_of(zoomed) == [30, 23, 60, 47]
    assert zoomed.sum() == 30 * 24


@pytest.mark.parametrize(
    ("view", "into", "expected"),
    [
        (View(), (0, 0, 180, 140), (40, 20, 120, 80)),  # twice as large
        (View(mirrored=True), (0, 0, 180, 140), (60, 20, 140, 80)),
        (View(), (0, 0, 45, 35), (10, 5, 30, 20)),
        (View(), (9, 7, 54, 42), (19, 12, 39, 27)),  # in a cell of a mosaic
        (View(1 / 3, 0, 1, 1), (0, 0, 120, 140), (0, 20, 60, 80)),  # 10 pixels of it are cut off
        (View(-1, 0, 1, 1), (0, 0, 180, 70), (110, 10, 150, 40)),  # on a wider canvas
        (View(0, 0, 1, 1), (0, 0, 90, 140), (20, 20, 60, 80)),  # stretched
    ],
)
def test_a_rectangle_is_where_the_view_moves_it(
    view: View, into: tuple[int, int, int, int], expected: tuple[int, int, int, int]
) -> None:
    x0, y0, x1, y1 = 20, 10, 60, 40
    full = np.zeros((70, 90), np.bool_)
    full[y0:y1, x0:x1] = True
    for text in (polygon_text([x0, y0, x1, y0, x1, y1, x0, y1]), rle_text(full)):
        seen = seen_in(table(text), view, into, (200, 150))
        assert bounds_of(seen) == list(expected)
        assert seen[expected[1] : expected[3], expected[0] : expected[2]].all()


def test_a_run_length_mask_made_smaller_keeps_pixels_that_are_half_covered() -> None:
    full = np.zeros((8, 8), np.bool_)
    full[:4, :4] = True
    full[0, 4:6] = True  # half of a pixel of the half size: two of four
    full[4, 4] = True  # a quarter of one
    expected = np.zeros((4, 4), np.bool_)
    expected[:2, :2] = expected[0, 2] = True
    found = table(rle_text(full), size=(8, 8))
    assert np.array_equal(seen_in(found, View(), (0, 0, 4, 4), (4, 4), (8, 8)), expected)
    mirrored = seen_in(found, View(mirrored=True), (0, 0, 4, 4), (4, 4), (8, 8))
    assert np.array_equal(mirrored, expected[:, ::-1])


def test_a_run_length_mask_made_larger_has_every_pixel_as_often() -> None:
    noise = np.random.default_rng(1).random((9, 11)) < 0.5
    seen = seen_in(table(rle_text(noise), size=(11, 9)), View(), (0, 0, 33, 27), (33, 27), (11, 9))
    assert np.array_equal(seen, noise.repeat(3, axis=0).repeat(3, axis=1))


@st.composite
def views(draw: st.DrawFn) -> View:
    w, h = draw(st.floats(0.3, 2.0)), draw(st.floats(0.3, 2.0))
    x0 = draw(st.floats(min(0, 1 - w), max(0, 1 - w)))
    y0 = draw(st.floats(min(0, 1 - h), max(0, 1 - h)))
    return View(x0, y0, x0 + w, y0 + h, draw(st.booleans()))


blobs = st.tuples(st.integers(20, 70), st.integers(20, 50), st.integers(8, 19), st.integers(5, 9), st.integers(0, 99))


def blob(x: int, y: int, radius: int, count: int, seed: int) -> list[float]:
    """A polygon round a point."""
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    reach = radius * rng.uniform(0.6, 1, count)
    points = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)
    return np.round(points, 2).reshape(-1).tolist()


@settings(max_examples=examples(80), deadline=None)
@given(blobs, views(), st.sampled_from([WHOLE, (0, 0, 45, 40), (25, 10, 90, 64), (3, 40, 67, 70)]), st.booleans())
@example((20, 27, 8, 5, 14), View(0, 0, 1, 0.30078125), (0, 0, 90, 70), False)
def test_a_mask_is_where_its_pixels_are(
    what: tuple[int, int, int, int, int], view: View, into: tuple[int, int, int, int], as_rle: bool
) -> None:
    polygon = blob(*what)
    full = whole_mask([polygon], *SIZE)
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    image[full] = 255, 0, 0
    canvas = np.full((SIZE[1], SIZE[0], 3), FILL, np.uint8)
    shown = draw_view(canvas, image, view, into)
    found = table(rle_text(full) if as_rle else polygon_text(polygon))
    seen = seen_in(found, shown, into, SIZE)
    red = (canvas[..., 0] > 127) & (canvas[..., 1] < 64)
    left, top, right, bottom = into
    assert not seen[:top].any() and not seen[bottom:].any() and not seen[:, :left].any() and not seen[:, right:].any()
    # the edge of a shape is resampled: it may move by a pixel, of the canvas or of the image
    enlarged = max((right - left) / (90 * (shown.x1 - shown.x0)), (bottom - top) / (70 * (shown.y1 - shown.y0)))
    pixels = int(np.ceil(enlarged))
    edge = _edge(red)
    # an edge just beyond the view is not on the canvas: near its border, the edge of the whole mask counts
    strip = np.zeros_like(red)
    strip[top:bottom, left:right] = True
    strip[top + pixels : bottom - pixels, left + pixels : right - pixels] = False
    hidden = strip & _shown(_edge(full), view, into)
    assert not (seen ^ red)[~(_grown(edge, pixels) | hidden)].any()
    assert (seen ^ red).sum() <= 0.5 * max(1.0, enlarged) * (edge | hidden).sum() + 2


def _shown(mask: Pixels, view: View, into: tuple[int, int, int, int]) -> Pixels:
    """The pixels of a canvas that show a mask of the image."""
    canvas = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    draw_view(canvas, np.repeat(mask[..., None], 3, axis=2) * np.uint8(255), view, into)
    return canvas[..., 0] > FILL


def _edge(mask: Pixels) -> Pixels:
    """The pixels on both sides of a mask's edge."""
    return _grown(mask, 1) & _grown(~mask, 1)


def _grown(mask: Pixels, pixels: int) -> Pixels:
    """A mask grown by this many pixels in every direction."""
    side = 2 * pixels + 1
    around = np.lib.stride_tricks.sliding_window_view(np.pad(mask, pixels), (side, side))
    return np.asarray(around.any(axis=(2, 3)))


def test_the_box_of_an_object_that_is_cut_becomes_that_of_what_is_seen(tmp_path: Path) -> None:
    # an L: a bar of 10 pixels' width at the left and one of 10 pixels' height at the foot
    shape = [10, 10, 20, 10, 20, 50, 60, 50, 60, 60, 10, 60]
    image = np.zeros((70, 90, 3), np.uint8)
    dataset = save_dataset(tmp_path, [image], [[((10, 10, 60, 60), polygon_text(shape))]])
    found = ObjectMasks.of(dataset)

    def seen(view: View) -> tuple[list[int], list[list[float]], list[list[int]]]:
        into = (0, 0, round((view.x1 - view.x0) * 90), round((view.y1 - view.y0) * 70))
        boxes, keep = visible_boxes(dataset.objects.box / (90, 70, 90, 70), view, into)
        cut = np.array([True])
        rows, boxes, masks = visible_masks(found, keep, boxes, truncated=cut[keep], frame=MaskFrame(SIZE, view, into))
        return rows.tolist(), boxes.tolist(), masks.where.tolist()

    assert seen(View()) == ([0], [[10, 10, 60, 60]], [[10, 10, 60, 60]])
    # above row 48 there is the upright bar alone
    assert seen(crop(0, 0, 90, 48)) == ([0], [[10, 10, 20, 48]], [[10, 10, 20, 48]])
    # right of column 28 and above row 49 there is the box, but not the L
    assert seen(crop(28, 0, 90, 49)) == ([], [], [])
    # a view that shows one row of it
    assert seen(crop(28, 0, 90, 51)) == ([], [], [])


def test_an_object_without_a_mask_is_unchanged(tmp_path: Path) -> None:
    image = np.zeros((70, 90, 3), np.uint8)
    square = polygon_text([10, 10, 30, 10, 30, 30, 10, 30])
    boxes = [((10, 10, 30, 30), b""), ((10, 10, 30, 30), square), ((5, 5, 40, 40), b"[[1,2,3,4]]")]
    found = ObjectMasks.of(save_dataset(tmp_path, [image], [boxes]))
    given_boxes = np.array([[10.0, 10, 24.5, 30], [9, 10, 24.5, 30], [5, 5, 24.5, 40]])
    into = (0, 0, 25, 70)
    rows, kept, masks = visible_masks(
        found,
        np.arange(3),
        given_boxes,
        truncated=np.ones(3, np.bool_),
        frame=MaskFrame(SIZE, crop(0, 0, 25, 70), into),
    )
    assert rows.tolist() == [0, 1, 2]
    assert kept.tolist() == [[10, 10, 24.5, 30], [10, 10, 24.5, 30], [5, 5, 24.5, 40]]
    assert masks.where.tolist() == [[0, 0, 0, 0], [10, 10, 25, 30], [0, 0, 0, 0]]


def test_a_mask_too_thin_for_any_pixel_leaves_the_box_of_an_object_that_is_whole() -> None:
    hair = table(polygon_text([10, 10.0, 60, 10.1, 60, 10.2]))
    assert hair.usable.all()
    box = np.array([[10.0, 9, 60, 12]])
    for cut, expected in ((False, [0]), (True, [])):
        rows, _, masks = visible_masks(
            hair, np.array([0]), box, truncated=np.array([cut]), frame=MaskFrame(SIZE, View(), WHOLE)
        )
        assert rows.tolist() == expected
        assert not masks.known.any()


def test_a_mask_is_cut_to_its_pixels() -> None:
    mask = np.zeros((6, 9), np.uint8)
    mask[2, 3] = mask[4, 7] = 1
    x0, y0, part = tight(10, 20, mask) or (0, 0, mask)
    assert (x0, y0, part.shape) == (13, 22, (3, 5))
    assert tight(0, 0, np.zeros((3, 3), np.uint8)) is None
    box = np.array([12.5, 0, 16, 40])
    bound = bounded(box, (x0, y0, part))
    assert bound is not None
    assert bound.tolist() == [13, 22, 16, 25]
    assert bounded(np.array([0.0, 0, 14, 40]), (x0, y0, part)) is None  # one pixel is left


def test_a_self_crossing_polygon_is_drawn_as_pycocotools_draws_it() -> None:
    bow = [10.0, 10, 60, 50, 60, 10, 10, 50]
    star = [45.0, 5, 60, 60, 10, 25, 80, 25, 30, 60]
    for polygon in (bow, star):
        full = whole_mask([polygon], *SIZE)
        assert np.array_equal(seen_in(table(polygon_text(polygon)), View(), WHOLE, SIZE), full)
        doubled = whole_mask([[2 * x for x in polygon]], 180, 140)
        seen = seen_in(table(polygon_text(polygon)), View(), (0, 0, 180, 140), (180, 140))
        assert np.array_equal(seen, doubled)


def test_an_outline_that_is_too_long_to_draw_is_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vocdet.masks.LONGEST_OUTLINE", 100)
    found = table(polygon_text([10, 10, 60, 10, 60, 50]))
    assert visible_mask(found, 0, MaskFrame(SIZE, View(), WHOLE)) is None


def test_a_crop_of_a_large_mask_takes_the_room_of_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    from vocdet import masks

    whole: NDArray[np.bool_]
    window = masks.window

    def noted(counts: NDArray[np.int64], height: int, where: tuple[int, int, int, int]) -> NDArray[np.bool_]:
        made.append((where[2] - where[0], height))
        return window(counts, height, where)

    monkeypatch.setattr(masks, "window", noted)
    size = (4000, 3000)
    whole = np.zeros((3000, 4000), np.bool_)
    whole[100:2900, 100:3900] = True
    text = polygon_text([100, 100, 3900, 100, 3900, 2900, 100, 2900])
    for found in (table(text, size=size), table(rle_text(whole), size=size)):
        cut = visible_mask(found, 0, MaskFrame(size, crop(1000, 1000, 1050, 1040, size), (0, 0, 50, 40)))
        assert cut is not None
        assert cut[2].all()
        assert cut[2].shape == (40, 50)
    assert all(width <= 51 for width, _ in made)  # columns that were made
