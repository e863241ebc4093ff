from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.formats.shared.values import number_text
from vocdet.formats.voc.coordinates import decide, minimum_text, to_pixels

DEVKIT = "The VOC2007 Database PASCAL VOC2007 flickr"
SIZE = np.array([[100, 80]], np.int32)


def written(*box: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([box], np.float64)


def test_what_the_user_asks_for_is_done() -> None:
    assert decide("one", written(0, 0, 9, 9), SIZE, [""])[0] == "one"
    assert decide("zero", written(1, 1, 9, 9), SIZE, [DEVKIT])[0] == "zero"


def test_the_devkits_own_files_are_one_based() -> None:
    chosen, reason = decide("auto", written(1, 1, 100, 80), SIZE, [DEVKIT, DEVKIT, ""])
    assert chosen == "one"
    assert reason == "2 of 3 files name the VOC devkit as their source, and no box starts at 0"


def test_a_zero_speaks_against_the_devkit() -> None:
    chosen, reason = decide("auto", written(0, 5, 100, 80), SIZE, [DEVKIT])
    assert chosen == "zero"
    assert reason == "1 box starts at 0, which 1-based numbers never do"


def test_labelimgs_ones_prove_nothing() -> None:
    chosen, reason = decide("auto", written(1, 1, 100, 80), SIZE, ["Unknown"])
    assert chosen == "zero"
    assert "as labelImg writes it" in reason


def test_an_empty_dataset_is_zero() -> None:
    assert decide("auto", np.empty((0, 4)), np.empty((0, 2), np.int32), [])[0] == "zero"


def test_one_based_inclusive_boxes_lose_one_at_the_start_alone() -> None:
    # The whole of a 100x80 image is 1 1 100 80 in the devkit; one pixel at its corner is 1 1 1 1.
    assert to_pixels(written(1, 1, 100, 80), "one").tolist() == [[0, 0, 100, 80]]
    assert to_pixels(written(1, 1, 1, 1), "one").tolist() == [[0, 0, 1, 1]]


def test_decimals_are_counted_as_people_count_them() -> None:
    assert to_pixels(written(1.1, 45.70000076293945, 9, 9), "one")[0, :2].tolist() == [0.1, 44.70000076293945]
    assert 1.1 - 1 != 0.1


@given(st.decimals(0, 5000, places=6))
def test_writing_undoes_reading(value: object) -> None:
    text = number_text(float(str(value)) + 1)
    assert minimum_text(to_pixels(written(float(text), 1, 9, 9), "one")[0, 0], "one") == text


@pytest.mark.parametrize(("value", "text"), [(12.0, "12"), (-0.0, "0"), (138.3875, "138.3875"), (1e6, "1000000")])
def test_numbers_are_written_short(value: float, text: str) -> None:
    assert number_text(value) == text
