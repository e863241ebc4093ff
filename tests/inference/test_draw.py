"""Boxes, labels and scores can be seen, and the picture they are drawn on stays as it was."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vocdet.data.dataset import Objects
from vocdet.data.detections import Detections
from vocdet.inference import draw as drawing
from vocdet.inference.draw import caption, color, contact_sheet, draw, draw_objects, side_by_side

GRAY = 90
NONE = Detections(np.empty((0, 4)), np.empty(0, np.float32), np.empty(0, np.int64))


def gray(height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GRAY, np.uint8)


def changed(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((image != GRAY).any(axis=2))


def found(*objects: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    """Detections of box, score, label."""
    boxes, scores, labels = zip(*objects, strict=True)
    return Detections(np.array(boxes, np.float64), np.array(scores, np.float32), np.array(labels))


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are drawn, in their order."""
    seen: list[str] = []
    kept = drawing._chip

    def chip(text: str, size: int, paper: tuple[int, int, int]) -> NDArray[np.uint8]:
        seen.append(text)
        return kept(text, size, paper)

    monkeypatch.setattr(drawing, "_chip", chip)
    return seen


@pytest.fixture(autouse=True, params=["the font in OpenCV 5", "installed fonts"])
def font(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with both ways to write."""
    if request.param == "installed fonts":
        monkeypatch.delattr(cv2, "FontFace", raising=False)
    elif not hasattr(cv2, "FontFace"):
        pytest.skip("this is OpenCV 4")
    drawing._chip.cache_clear()


def test_a_box_is_drawn_on_its_outermost_pixels() -> None:
    image = gray()
    drawn = draw(image, found(((40, 50, 100, 90), 0.9, 1)), ("cat", "dog"))
    assert (image == GRAY).all()
    for y, x in ((60, 40), (60, 99), (89, 60)):  # left, right, bottom
        assert tuple(drawn[y, x].tolist()) == color(1)
    for y, x in ((60, 39), (60, 100), (90, 60), (70, 70)):  # just outside, and the middle
        assert drawn[y, x].tolist() == [GRAY] * 3


def test_nothing_found_changes_nothing() -> None:
    assert not changed(draw(gray(), NONE, ("cat",))).any()


def test_the_caption_has_label_and_score(texts: list[str]) -> None:
    draw(gray(), found(((0, 0, 50, 50), 0.876, 0), ((0, 0, 60, 60), 0.3, 1)), ("cat", "dog"))
    assert texts == ["dog 30%", "cat 88%"]  # the best is drawn last, on top


@pytest.mark.parametrize(
    "box", [(-20, -20, 30, 30), (150, 110, 400, 400), (0, 0, 160, 120), (500, 500, 600, 600), (5, 5, 5, 5)]
)
def test_boxes_at_and_over_the_edge_are_drawn_as_far_as_they_go(box: tuple[float, float, float, float]) -> None:
    drawn = draw(gray(), found((box, 0.5, 0)), ("cat",))
    assert drawn.shape == (120, 160, 3)
    assert changed(drawn).any()


@pytest.mark.parametrize("size", [(1, 1), (10, 10), (30, 2000), (1080, 1920)])
def test_pictures_of_all_sizes_can_be_drawn_on(size: tuple[int, int]) -> None:
    drawn = draw(gray(*size), found(((0, 0, size[1], size[0]), 1.0, 0)), ("a rather long label",))
    assert drawn.shape == (*size, 3)


@pytest.mark.parametrize("label", ["é", "Жук", "ελιά"])
def test_labels_beyond_ascii_look_like_themselves(label: str) -> None:
    if not hasattr(cv2, "FontFace") and len(drawing._fonts(20)) < 2:
        pytest.skip("no fonts are installed here")
    written, unknown = drawing._chip(label, 20, (255, 255, 255)), drawing._chip("?" * len(label), 20, (255, 255, 255))
    assert written.shape != unknown.shape or (written != unknown).any()


def test_letters_of_no_font_become_question_marks() -> None:
    assert (drawing._chip("\uffff", 20, (255, 255, 255)) == drawing._chip("?", 20, (255, 255, 255))).all()


def test_text_is_light_on_dark_colors_and_dark_on_light_ones() -> None:
    assert drawing._chip("x", 20, (0, 0, 128)).max() > 200
    assert drawing._chip("x", 20, (255, 250, 200)).min() < 50


def test_a_hundred_labels_have_a_hundred_colors() -> None:
    colors = [color(label) for label in range(100)]
    assert len(set(colors)) == 100
    near = np.abs(np.diff(np.array(colors), axis=0)).sum(axis=1)
    assert near.min() > 60  # neighbors are far apart


def test_annotated_objects_are_drawn_and_difficult_ones_say_so(texts: list[str]) -> None:
    no, row = [False, False], np.zeros(2)
    objects = Objects(row, [0, 1], [[5, 5, 50, 50], [60, 60, 90, 90]], [False, True], no, no, no, row)  # type: ignore[arg-type]
    assert changed(draw_objects(gray(), objects, ("cat", "dog")))[40, 5]
    assert texts == ["cat", "dog (difficult)"]


def test_a_caption_is_in_the_lower_left_corner() -> None:
    image = gray()
    drawn = changed(caption(image, "30 frames a second"))
    assert drawn[-1, 0] and not drawn[: 120 // 2].any()
    assert (image == GRAY).all()


def test_pictures_stand_side_by_side_under_their_captions() -> None:
    sheet = side_by_side(gray(100, 160), gray(80, 160))
    assert sheet.shape[1] == 320
    below = sheet[-90:]
    assert (below == GRAY).all(axis=2)[:60, 2:158].all()
    assert (below == GRAY).all(axis=2)[:60, 162:318].all()


def test_a_contact_sheet_fits_pictures_of_all_shapes_into_its_cells() -> None:
    pictures = [gray(100, 50), gray(50, 100), gray(7, 7), gray(300, 200), gray()]
    sheet = contact_sheet(pictures, captions=["a", "b", "c", "d", "e"], width=600)
    assert sheet.shape[1] == 600
    assert (sheet == GRAY).all(axis=2).sum() > 5 * 190 * 90
    with pytest.raises(ValueError, match="0 pictures"):
        contact_sheet([])
    with pytest.raises(ValueError, match="1 pictures, 2 captions"):
        contact_sheet([gray()], captions=["a", "b"])
