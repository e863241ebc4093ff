from __future__ import annotations

import json
import warnings
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from tests.strategies import examples
from vocdet import masks
from vocdet.masks import MaskError, Rle, area, bounds, parse, pixels, rle_json, window

SQUARE = [10.0, 20.0, 50.0, 20.0, 50.0, 60.0, 10.0, 60.0]


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def compressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The RLE that pycocotools makes of a mask, its text as in a JSON file."""
    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def runs(mask: NDArray[np.bool_]) -> list[int]:
    """Run lengths by their definition: 0s, 1s, 0s, ... down the columns."""
    lengths, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return lengths


def decoded(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """What pycocotools makes of an RLE; NumPy 2 warns of its way to make arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found: NDArray[np.uint8] = coco.decode(rle)
    return found.astype(np.bool_)


def problem(segmentation: bytes) -> tuple[str, str]:
    with pytest.raises(MaskError) as caught:
        parse(segmentation)
    return caught.value.code, str(caught.value)


shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
drawn = shapes.flatmap(lambda shape: arrays.arrays(np.bool_, shape))
blobs = st.sampled_from([(1, 1), (1, 9), (9, 1), (7, 5)]).flatmap(
    lambda shape: st.sampled_from(["empty", "full", "first", "last"]).map(lambda kind: blob(shape, kind))
)


def blob(shape: tuple[int, int], kind: str) -> NDArray[np.bool_]:
    """An empty mask, a full one, or one with a single pixel at an end."""
    mask = np.full(shape, kind == "full")
    if kind in ("first", "last"):
        mask.flat[0 if kind == "first" else -1] = True
    return mask


@given(drawn | blobs)
def test_a_compressed_rle_is_the_mask_pycocotools_made_it_of(mask: NDArray[np.bool_]) -> None:
    found = parse(as_json(compressed(mask)))
    assert isinstance(found, Rle)
    assert list(found.counts) == runs(mask)
    assert (pixels(found, *mask.shape) == mask).all()


@given(drawn | blobs)
def test_an_uncompressed_rle_is_the_mask_pycocotools_reads_from_it(mask: NDArray[np.bool_]) -> None:
    rle = {"size": list(mask.shape), "counts": runs(mask)}
    found = parse(as_json(rle))
    assert (pixels(found, *mask.shape) == decoded(coco.frPyObjects(rle, *mask.shape))).all()
    assert (pixels(found, *mask.shape) == mask).all()


@given(drawn | blobs)
def test_area_and_bounds_of_an_rle_are_those_pycocotools_measures(mask: NDArray[np.bool_]) -> None:
    rle = compressed(mask)
    found = parse(as_json(rle))
    assert area(found) == coco.area(rle)
    if not mask.any():
        assert bounds(found) is None
        return
    x, y, width, height = coco.toBbox(rle).tolist()
    assert bounds(found) == (x, y, x + width, y + height)


def test_a_run_across_columns_has_the_height_of_the_image() -> None:
    found = parse(
        as_json({"size": [5, 4], "counts": [8, 3, 9]})
    )  # from the fourth of the second to the first of the third
    assert bounds(found) == (1, 0, 3, 5)
    assert area(found) == 3


@pytest.mark.parametrize("counts", [[0, 0, 6, 0], [2, 0, 1, 0, 3], [0, 0, 0, 0, 6]])
def test_runs_of_no_length_are_no_pixels(counts: list[int]) -> None:
    found = parse(as_json({"size": [2, 3], "counts": counts}))
    assert not pixels(found, 2, 3).any()
    assert bounds(found) is None
    assert area(found) == 0


@given(drawn | blobs)
def test_a_mask_is_encoded_as_pycocotools_encodes_it(mask: NDArray[np.bool_]) -> None:
    for one in (mask, np.ascontiguousarray(mask.T).T, mask[::1]):
        assert json.loads(rle_json(one)) == compressed(mask)


def test_long_runs_are_read_as_pycocotools_writes_them() -> None:
    mask = np.zeros((3000, 2000), np.bool_)
    mask[2999, 1999] = mask[0, 1000] = mask[1500:1600, 3] = True
    found = parse(as_json(compressed(mask)))
    assert isinstance(found, Rle)
    assert list(found.counts) == [10500, 100, 3000000 - 10600, 1, 2999998, 1]
    assert bounds(found) == (3, 0, 2000, 3000)


coordinate = st.floats(-30, 60, width=32) | st.integers(-30, 60)
polygons = st.lists(st.lists(coordinate, min_size=6, max_size=16).map(lambda one: one[: len(one) // 2 * 2]),
                    min_size=1, max_size=3)  # fmt: skip


@given(polygons, shapes)
def test_polygons_are_filled_as_pycocotools_fills_them(polygons: list[list[float]], size: tuple[int, int]) -> None:
    found = parse(as_json(polygons))
    assert (pixels(found, *size) == decoded(coco.merge(coco.frPyObjects(polygons, *size)))).all()


@given(polygons)
def test_the_area_of_polygons_is_that_of_the_shoelace_formula(polygons: list[list[float]]) -> None:
    expected = 0.0
    for polygon in polygons:
        points = np.array(polygon).reshape(-1, 2)
        following = np.roll(points, -1, axis=0)
        expected += abs(float((points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum())) / 2
    assert area(parse(as_json(polygons))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("origin", [0, 4096.5, 1e6, -1e6, 5e8])
def test_the_area_of_a_polygon_is_the_same_wherever_it_is(origin: float) -> None:
    corners = [origin + value for value in (0, 0, 0.5, 0, 0.5, 0.25, 0, 0.25)]
    assert area(parse(as_json([corners]))) == 0.125


def test_the_bounds_of_polygons_go_around_all_of_them() -> None:
    assert bounds(parse(as_json([SQUARE, [-1.5, 3, 4, 5, 70.25, 6]]))) == (-1.5, 3, 70.25, 60)


@pytest.mark.parametrize(
    ("segmentation", "code", "text"),
    [
        ([], "empty", "has no polygon"),
        ([[]], "polygon.short", "polygon 0 has 0 points, but needs three"),
        ([SQUARE, [1, 2, 3, 4]], "polygon.short", "polygon 1 has 2 points, but needs three"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon.odd", "polygon 0 has 7 numbers, which do not form pairs of x and y"),
        ([[1, 2, 3, 4, 5, 1.1e9]], "polygon.far", "has a point further than 1e9 pixels out"),
        ([[1, 2, 3, 4, 5, -1e300]], "polygon.far", "has a point further than 1e9 pixels out"),
        ({"size": [0, 5], "counts": []}, "rle.size", "has the size 0×5"),
        ({"size": [1 << 17, 1], "counts": [1 << 17]}, "rle.size", "has the size 131072×1"),
        ({"size": [-5, -5], "counts": [25]}, "rle.size", "has the size -5×-5"),
        ({"size": [2, 3], "counts": [5]}, "rle.sum", "has runs of 5 pixels for a size of 2×3"),
        ({"size": [2, 3], "counts": [0, 7]}, "rle.sum", "has runs of 7 pixels for a size of 2×3"),
        ({"size": [2, 3], "counts": [0, 2**64 + 6]}, "rle.sum", "has runs of 18446744073709551622 pixels for a size of 2×3"),
        ({"size": [2, 3], "counts": [-1, 7]}, "rle.sum", "has a run of negative length"),
        ({"size": [2, 3], "counts": []}, "rle.sum", "has runs of 0 pixels for a size of 2×3"),
        ({"size": [2, 3], "counts": ""}, "rle.sum", "has runs of 0 pixels for a size of 2×3"),
        ({"size": [2, 3], "counts": "o"}, "rle.text", "has counts that end in the middle of a number"),
        ({"size": [2, 3], "counts": "oooooooooo0"}, "rle.text", "has counts that are not run lengths"),
        ({"size": [2, 3], "counts": "\x01"}, "rle.text", "has counts that are not run lengths"),
        ({"size": [2, 3], "counts": "6€"}, "rle.text", "has counts that are not run lengths"),
        ({"size": [2, 3], "counts": "p"}, "rle.text", "has counts that are not run lengths"),
        ({"size": [2, 3], "counts": "O"}, "rle.sum", "has a run of negative length"),
    ],
)  # fmt: skip
def test_an_invalid_segmentation_is_an_error(segmentation: object, code: str, text: str) -> None:
    assert problem(as_json(segmentation)) == (code, text)


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"null", b"5", b'"[[1,2,3,4,5,6]]"', b"[1,2,3,4,5,6]", b"[[1,2,3,4,5,null]]", b'[[1,2,3,4,5,"6"]]',
     b"[[1,2,3,4,5,true]]", b"[[1,2,3,4,5,NaN]]", b"[[1,2,3,4,5,1e999]]", b"[[[1,2,3,4,5,6]]]", b"[{}]", b"{}",
     b'{"size":[2,3]}', b'{"counts":[6]}', b'{"size":[2],"counts":[6]}', b'{"size":[2.5,3],"counts":[6]}',
     b'{"size":[2,3],"counts":[6.5]}', b'{"size":[2,3],"counts":{}}', b'{"size":[2,3],"counts":"\xff"}',
     b"[[1,2,3,4,5,6]", b"[" * 10_000, b"\xff\xfe"],
)  # fmt: skip
def test_what_is_neither_polygons_nor_an_rle_is_an_error(text: bytes) -> None:
    code, message = problem(text)
    assert code == "type"
    assert message.startswith("is neither a list of polygons nor an RLE: ")


def test_space_around_a_segmentation_does_not_matter() -> None:
    assert parse(b' \n{"size": [1, 2], "counts": [1, 1]}\n') == Rle(1, 2, (1, 1))
    assert parse(b" [[0, 0, 1, 0, 1, 1]] ") == [[0, 0, 1, 0, 1, 1]]


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_mask_or_none(text: bytes) -> None:
    try:
        found = parse(text)
    except MaskError:
        return
    assert bounds(found) is None or area(found) >= 0


rle_text = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12)


@given(st.integers(1, 9), st.integers(1, 9), rle_text | st.lists(st.integers(-2, 50), max_size=6))
def test_an_rle_that_is_taken_fills_its_mask_exactly(height: int, width: int, counts: str | list[int]) -> None:
    try:
        found = parse(msgspec.json.encode({"size": [height, width], "counts": counts}))
    except MaskError:
        return
    assert isinstance(found, Rle)
    assert pixels(found, height, width).sum() == area(found)


def test_an_rle_of_another_size_is_not_drawn() -> None:
    found = parse(as_json({"size": [2, 3], "counts": [6]}))
    with pytest.raises(MaskError, match="is 2×3, but its image is 3×2") as caught:
        pixels(found, 3, 2)
    assert caught.value.code == "rle.size"


class Reached(Exception):
    """C code was called."""


@pytest.fixture
def no_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pycocotools that must not be called."""

    def called(*_: object) -> None:
        raise Reached

    for name in ("frPyObjects", "merge", "decode", "encode"):
        monkeypatch.setattr(coco, name, called)


@pytest.mark.usefixtures("no_c")
def test_what_pycocotools_cannot_count_never_reaches_it() -> None:
    overflow = {"size": [100, 100], "counts": [0, 1 << 20]}
    with pytest.raises(MaskError, match="has runs of 1048576 pixels"):
        parse(as_json(overflow))
    whole = [[0, 0, 65536, 0, 65536, 65536]]
    with pytest.raises(MaskError, match="too many to draw"):
        pixels(parse(as_json(whole)), 65536, 65536)
    with pytest.raises(MaskError, match="too many to draw"):
        pixels(parse(as_json({"size": [65536, 65536], "counts": [1 << 32]})), 65536, 65536)
    zigzag = [[0, 0, *([1e9, 5, -1e9, 6] * 50)]]
    with pytest.raises(MaskError, match="has an outline that is too long to draw"):
        pixels(parse(as_json(zigzag)), 80, 100)
    with pytest.raises(Reached):
        pixels(parse(as_json([SQUARE])), 80, 100)


@pytest.mark.usefixtures("no_c")
@pytest.mark.parametrize("offset", [(101, 0), (0, 81), (-51, 0), (0, -61), (5e8, 5e8), (-9e8, 3)])
def test_a_polygon_outside_its_image_has_no_pixels(offset: tuple[float, float]) -> None:
    moved = [value + offset[i % 2] for i, value in enumerate(SQUARE)]
    assert not pixels(parse(as_json([moved])), 80, 100).any()


@given(drawn, st.data())
def test_a_window_of_run_lengths_is_that_part_of_the_mask(mask: NDArray[np.bool_], data: st.DataObject) -> None:
    height, width = mask.shape
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    for counts in (runs(mask), [0, 0, *runs(mask)], [*runs(mask), 0]):  # runs of no length change nothing
        assert np.array_equal(window(np.array(counts), height, (x0, y0, x1, y1)), mask[y0:y1, x0:x1])


@settings(max_examples=examples(50))
@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(0, 200), st.integers(0, 200))
def test_a_rectangle_of_whole_pixels_is_filled_with_them(x: int, y: int, width: int, height: int) -> None:
    assume(width and height)
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    expected = np.zeros((80, 100), np.bool_)
    expected[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = True
    assert (pixels(parse(as_json([corners])), 80, 100) == expected).all()


def test_a_mask_larger_than_what_is_drawn_is_still_measured() -> None:
    found = parse(as_json({"size": [65536, 65536], "counts": [5, (1 << 32) - 5]}))
    assert area(found) == (1 << 32) - 5
    assert bounds(found) == (0, 0, 65536, 65536)
    assert masks.MOST_PIXELS < 1 << 32
