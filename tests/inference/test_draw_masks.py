"""Masks can be seen: a tint and an outline in the label's color, the best on top, and nothing outside them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from vocdet.data.dataset import Objects
from vocdet.data.detections import Detections
from vocdet.data.texts import Texts
from vocdet.inference.draw import color, draw, draw_boxes, draw_objects
from vocdet.inference.draw_masks import cut_mask, cut_masks, numbered, tint
from vocdet.mask_crops import MaskCrops

GRAY = 90
SIZE = (120, 160)  # height, width
LABELS = ("cat", "dog")


def gray() -> NDArray[np.uint8]:
    return np.full((*SIZE, 3), GRAY, np.uint8)


def disc(x: int, y: int, radius: int, hole: int = 0) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    far = (columns - x) ** 2 + (rows - y) ** 2
    return np.asarray((far < radius**2) & (far >= hole**2))


def rle(pixels: NDArray[np.bool_]) -> bytes:
    encoded = coco.encode(np.asfortranarray(pixels, np.uint8))
    return json.dumps({"size": list(pixels.shape), "counts": encoded["counts"].decode()}).encode()


def found(*objects: tuple[NDArray[np.bool_], int]) -> Detections:
    """Detections of mask and label, best first, whose boxes and names lie in a corner: below row 85."""
    n = len(objects)
    boxes = np.array([[150, 110, 158, 118]] * n, np.float64)
    scores = np.linspace(0.9, 0.5, n, dtype=np.float32)
    return Detections(boxes, scores, np.array([label for _, label in objects]), Texts.of([rle(m) for m, _ in objects]))


def mixed(label: int) -> list[int]:
    return [round(0.6 * GRAY + 0.4 * value) for value in color(label)]


def test_a_mask_is_a_tint_of_the_picture_in_its_labels_color() -> None:
    image = gray()
    drawn = draw(image, found((disc(60, 50, 30), 1)), LABELS)
    assert drawn[50, 60].tolist() == mixed(1)
    assert (image == GRAY).all()


def test_its_outline_is_in_the_color_itself_between_edges_of_black_or_white() -> None:
    drawn = draw(gray(), found((disc(60, 50, 30), 0)), LABELS)
    row = drawn[50, 85:95].tolist()
    assert list(color(0)) in row
    assert [0, 0, 0] in row  # yellow is light
    dark = draw(gray(), found((disc(60, 50, 30), 1)), LABELS)[50, 85:95].tolist()
    assert [255, 255, 255] in dark  # blue is not


def test_outside_a_mask_and_in_its_hole_the_picture_stays() -> None:
    drawn = draw(gray(), found((disc(60, 50, 30, hole=12), 1)), LABELS)
    changed = (drawn[:85] != GRAY).any(axis=2)
    assert not changed[50, 60]
    assert not changed[~disc(60, 50, 34)[:85]].any()
    assert changed[disc(60, 50, 30, hole=12)[:85]].all()


def test_of_masks_that_overlap_the_best_is_on_top() -> None:
    both = found((disc(50, 50, 25), 0), (disc(80, 50, 25), 1))
    assert (
        draw(gray(), both, LABELS)[50, 65].tolist()
        == np.rint(0.6 * np.array(mixed(1)) + 0.4 * np.array(color(0))).tolist()
    )
    outline = draw(gray(), both, LABELS)[50, 74]  # of the first, inside the second
    assert outline.tolist() == list(color(0))


def test_annotated_masks_are_drawn_and_objects_without_one_have_their_box() -> None:
    box = np.array([[30, 20, 90, 80], [100, 20, 140, 60]], np.float64)
    off, none = np.zeros(2, np.bool_), np.zeros(2, np.int32)
    objects = Objects(none, none, box, off, off, off, off, none)
    polygon = b"[[30, 20, 90, 20, 90, 80, 30, 80]]"
    drawn = draw_objects(gray(), replace(objects, segmentation=Texts.of([polygon, b""])), LABELS)
    assert drawn[70, 60].tolist() == mixed(0)
    assert drawn[50, 120].tolist() == [GRAY] * 3
    assert drawn[50, 100].tolist() == list(color(0))


@pytest.mark.parametrize("text", [b"", b"[]", b"[[1, 1, 2, 2]]", b'{"size": [9, 9], "counts": [0, 81]}', b"x"])
def test_what_cannot_be_drawn_is_not_drawn(text: bytes) -> None:
    assert cut_mask(text, *SIZE) is None
    one = found((disc(60, 50, 30), 0))
    drawn = draw(gray(), Detections(one.boxes, one.scores, one.labels, Texts.of([text])), LABELS)
    assert (drawn[:85] == GRAY).all()


def test_a_mask_is_cut_to_its_bounds() -> None:
    pixels = disc(60, 50, 30, hole=12)
    x0, y0, cut = cut_mask(rle(pixels), *SIZE) or (0, 0, np.empty(0))
    assert (x0, y0, cut.shape) == (31, 21, (59, 59))
    assert np.array_equal(cut, pixels[21:80, 31:90])


def test_crops_of_a_network_input_are_drawn_too() -> None:
    crops = MaskCrops.of([None, (20, 10, np.ones((30, 40), np.uint8))])
    boxes = np.array([[0, 0, 10, 10], [20, 10, 60, 40]], np.float64)
    drawn = draw_boxes(gray(), boxes, [0, 1], ["", ""], crops)
    assert drawn[30, 45].tolist() == mixed(1)
    assert drawn[8, 8].tolist() != mixed(0)


def test_a_mask_that_leaves_the_picture_is_left_out() -> None:
    image = gray()
    tint(image, MaskCrops.of([(150, 10, np.ones((30, 40), np.uint8))]), [color(0)], 1)
    assert (image == GRAY).all()


def test_numbers_are_those_of_the_first_at_every_pixel() -> None:
    crops = cut_masks(Texts.of([rle(disc(50, 50, 20)), b"", rle(disc(60, 50, 20))]), *SIZE)
    values = numbered(crops, (7, 8, 9), *SIZE)
    expected = np.where(disc(50, 50, 20), 7, np.where(disc(60, 50, 20), 9, 0))
    assert np.array_equal(values, expected)
