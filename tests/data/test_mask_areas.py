from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from vocdet.data import mask_areas as module
from vocdet.data.mask_areas import mask_areas, same_area
from vocdet.data.texts import Texts

TRIANGLE = b"[[0,0,4,0,0,3]]"  # 6 square pixels
TWO = b"[[0, 0, 4, 0, 0, 3], [10, 10, 12, 10, 12, 12, 10, 12]]"  # and 4
RLE = b'{"size":[4,5],"counts":[3,7,10]}'


def test_every_mask_of_a_column_is_measured() -> None:
    found = mask_areas(Texts.of([TRIANGLE, b"", RLE, TWO]))
    assert np.array_equal(found.area, [6, np.nan, 7, 10], equal_nan=True)
    assert found.errors == {}
    assert found.sizes == {2: (4, 5)}


def test_a_column_without_masks_has_no_areas() -> None:
    assert np.isnan(mask_areas(Texts.empty(3)).area).all()
    assert len(mask_areas(Texts.empty(0)).area) == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [(b"[[1,2,3,4,5]]", "polygon.odd"), (b"[[1,2,3,4]]", "polygon.short"), (b"[]", "empty"), (b"[[]]", "polygon.short"),
     (b"[[1,2,3,4,5,2e9]]", "polygon.far"), (b"[[1,2,3,4,5,null]]", "type"), (b"[[1,2,3,4,5,6]", "type"),
     (b'{"size":[2,3],"counts":[7]}', "rle.sum"), (b'"x"', "type"), (b"[[1,2,3,4,5,6]],[[1,2,3,4,5,6]]", "type"),
     (b"[[1,2,3,4,5,1e999]]", "type")],
)  # fmt: skip
def test_one_invalid_mask_does_not_hide_the_others(text: bytes, code: str) -> None:
    found = mask_areas(Texts.of([TRIANGLE, text, TWO, RLE]))
    assert {row: error.code for row, error in found.errors.items()} == {1: code}
    assert np.array_equal(found.area, [6, np.nan, 10, 7], equal_nan=True)


numbers = st.decimals(-5000, 5000, places=4).map(float) | st.integers(-100, 5000)
polygons = st.lists(st.integers(3, 8).flatmap(lambda n: st.lists(numbers, min_size=2 * n, max_size=2 * n)),
                    min_size=1, max_size=3)  # fmt: skip


@given(st.lists(polygons, min_size=1, max_size=6), st.integers(0, 5))
def test_the_area_of_a_mask_does_not_depend_on_those_beside_it(column: list[list[list[float]]], which: int) -> None:
    texts = [json.dumps(one).encode() for one in column]
    among = mask_areas(Texts.of(texts)).area
    alone = [mask_areas(Texts.of([text])).area[0] for text in texts]
    beside_odd = mask_areas(Texts.of([b"[[1]]", *texts])).area[1:]
    assert among.tolist() == alone == beside_odd.tolist()
    points = [np.array(polygon).reshape(-1, 2) for polygon in column[which % len(column)]]
    ahead = [(one, np.roll(one, -1, axis=0)) for one in points]
    expected = sum(abs(float((a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]).sum())) / 2 for a, b in ahead)
    assert among[which % len(column)] == pytest.approx(expected, abs=1e-5)


def test_more_masks_than_are_taken_apart_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 3)
    texts = [f"[[0,0,{i},0,0,2]]".encode() for i in range(1, 12)]
    assert mask_areas(Texts.of(texts)).area.tolist() == list(range(1, 12))
    texts[4] = b"[[0]]"
    found = mask_areas(Texts.of(texts))
    assert list(found.errors) == [4]
    assert np.flatnonzero(np.isnan(found.area)).tolist() == [4]


def test_a_compressed_mask_has_the_pixels_that_pycocotools_counts() -> None:
    mask = np.zeros((60, 70), np.uint8)
    mask[10:30, 20:65] = mask[40, :] = 1
    rle = coco.encode(np.asfortranarray(mask))
    text = json.dumps({"size": rle["size"], "counts": rle["counts"].decode()}).encode()
    found = mask_areas(Texts.of([text]))
    assert found.area.tolist() == [coco.area(rle)] == [970]
    assert found.sizes == {0: (60, 70)}


def test_an_area_is_the_same_but_for_its_rounding() -> None:
    measured = np.array([0, 0, 100, 100, 1e6, 1e6, 7], np.float64)
    said = np.array([1e-7, 1e-3, 100.00000001, 100.1, 1e6 + 0.5, 1e6 + 2, np.nan], np.float64)
    assert same_area(said, measured).tolist() == [True, False, True, False, True, False, False]
