from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as pycoco

from tests.strategies import examples
from vocdet.data.findings import Finding
from vocdet.formats.voc import masks as voc_masks
from vocdet.formats.voc.masks import PixelMasks, class_values, object_values, palette_png, read_masks, voc_palette

# The first colors of the palette that the VOC devkit's VOClabelcolormap makes, and its last, that of void.
DEVKIT_COLORS = {
    0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 5: (128, 0, 128), 8: (64, 0, 0),
    15: (192, 128, 128), 16: (0, 64, 0), 20: (0, 64, 128), 255: (224, 224, 192),
}  # fmt: skip
NUMBERS = np.array([[0, 1, 1, 255], [0, 2, 2, 255], [3, 0, 0, 0]], np.uint8)


def saved(path: Path, picture: NDArray[np.uint8] | Image.Image, **how: object) -> Path:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if image.mode == "L":
        image.putpalette([channel for value in range(256) for channel in (value, 0, 255 - value)])
    image.save(path, "PNG", **how)
    return path


def read(path: Path, count: int, size: tuple[int, int] = (4, 3)) -> tuple[PixelMasks | None, list[Finding]]:
    findings: list[Finding] = []
    return read_masks(path, count, size, findings), findings


def drawn(rle: bytes) -> NDArray[np.bool_]:
    """The pixels of a compressed RLE by pycocotools' polygon-free way: its uncompressed runs."""
    found = json.loads(rle)
    flat = np.zeros(found["size"][0] * found["size"][1], np.bool_)
    mask = {**found, "counts": found["counts"].encode()}
    assert pycoco.area(mask) >= 0
    for i in range(len(flat)):
        one = np.zeros(len(flat), np.uint8)
        one[i] = 1
        pixel = pycoco.encode(np.asfortranarray(one.reshape(found["size"], order="F")))
        flat[i] = pycoco.area(pycoco.merge([mask, pixel], intersect=True)) == 1
    return flat.reshape(found["size"], order="F")


def test_a_pictures_numbers_are_the_objects(tmp_path: Path) -> None:
    found, findings = read(saved(tmp_path / "a.png", NUMBERS), 4)
    assert findings == []
    assert found is not None
    assert [bool(text) for text in found.objects] == [True, True, True, False]
    for i, text in enumerate(found.objects[:3], 1):
        assert np.array_equal(drawn(text), np.equal(NUMBERS, i))
    assert np.array_equal(drawn(found.void.encode()), NUMBERS == 255)


def test_a_picture_of_nothing_has_no_masks(tmp_path: Path) -> None:
    found, findings = read(saved(tmp_path / "a.png", np.zeros((3, 4), np.uint8)), 2)
    assert (found, findings) == (PixelMasks([b"", b""], ""), [])
    assert read(saved(tmp_path / "a.png", np.zeros((3, 4), np.uint8)), 0)[0] == PixelMasks([], "")


def test_pictures_of_few_colors_and_in_stripes_are_the_same(tmp_path: Path) -> None:
    plain = read(saved(tmp_path / "a.png", NUMBERS * (NUMBERS < 9)), 3)
    few = saved(tmp_path / "b.png", Image.fromarray(NUMBERS * (NUMBERS < 9)), bits=2)
    assert read(few, 3) == plain
    gray = Image.fromarray(NUMBERS * (NUMBERS < 9))
    gray.save(tmp_path / "c.png", "PNG")
    assert read(tmp_path / "c.png", 3) == plain


@pytest.mark.parametrize(
    ("picture", "count", "code", "problem"),
    [
        (np.zeros((4, 3), np.uint8), 1, "mask.size", "is 3×4, but its image is 4×3: its masks are ignored"),
        (np.zeros((3, 4, 3), np.uint8), 1, "mask.colors", "has colors instead of a palette"),
        (np.zeros((3, 4), np.uint16), 1, "mask.colors", "has colors instead of a palette"),
        (NUMBERS, 2, "mask.unknown_object", "has pixels of object 3, but its XML has 2 objects: its masks are ignored"),
        (NUMBERS, 0, "mask.unknown_object", "has pixels of object 1, but its XML has 0 objects: its masks are ignored"),
        (NUMBERS, 255, "mask.objects", "has pixels of the value 255, either borders or object 255"),
    ],
)
def test_a_picture_that_is_not_a_mask_is_one_error(
    tmp_path: Path, picture: NDArray[np.uint8], count: int, code: str, problem: str
) -> None:
    image = Image.fromarray(picture)
    image.save(tmp_path / "a.png")
    found, (finding,) = read(tmp_path / "a.png", count)
    assert found is None
    assert (finding.severity, finding.code, finding.place.path) == ("error", code, tmp_path / "a.png")
    assert finding.problem.startswith(problem)
    assert finding.hint


@pytest.mark.parametrize("content", [b"", b"no picture", palette_png(NUMBERS)[:40], palette_png(NUMBERS)[:-30]])
def test_a_file_that_is_not_a_picture_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    found, (finding,) = read(tmp_path / "a.png", 3)
    assert (found, finding.code, finding.severity) == (None, "mask.corrupt", "error")


def test_a_jpeg_called_png_is_no_mask(tmp_path: Path) -> None:
    Image.new("L", (4, 3)).save(tmp_path / "a.png", "JPEG")
    assert read(tmp_path / "a.png", 3)[1][0].code == "mask.corrupt"


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(max_size=40), st.integers(0, 10**4))
def test_any_bytes_are_masks_or_an_error(module_tmp_path: Path, data: bytes, cut: int) -> None:
    whole = palette_png(NUMBERS)
    place = cut % len(whole)
    path = module_tmp_path / "a.png"
    path.write_bytes(whole[:place] + data + whole[place + len(data) // 2 :])
    found, findings = read(path, 3)
    assert (found is None) is (len(findings) == 1)


small = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.sampled_from([0, 1, 2, 3, 255])
)


@settings(deadline=None)
@given(small)
def test_numbers_are_read_written_and_read_the_same(module_tmp_path: Path, values: NDArray[np.uint8]) -> None:
    size = values.shape[1], values.shape[0]
    path = saved(module_tmp_path / "a.png", values)
    found, _ = read(path, 3, size)
    assert found is not None
    again = object_values(found.objects, found.void, size)
    assert again is not None
    assert np.array_equal(again, values)
    path.write_bytes(palette_png(again))
    assert read(path, 3, size)[0] == found


def rle(mask: NDArray[np.bool_]) -> bytes:
    encoded = pycoco.encode(np.asfortranarray(mask, np.uint8))
    return json.dumps({"size": encoded["size"], "counts": encoded["counts"].decode()}).encode()


def test_polygons_are_drawn_where_pixels_are_needed() -> None:
    values = object_values([b"[[0,0,2,0,2,2,0,2]]", b"", rle(NUMBERS == 255)], "", (4, 3))
    assert values is not None
    assert values.tolist() == [[1, 1, 0, 3], [1, 1, 0, 3], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("segmentations", "void"),
    [
        ([rle(NUMBERS == 1), rle(NUMBERS > 0)], ""),  # one on the other
        ([rle(NUMBERS == 1)], rle(NUMBERS > 0).decode()),  # void on one
        ([b'{"size":[4,3],"counts":[12]}'], ""),  # of a turned image
        ([b"[[1,2]]"], ""),
        ([], "void"),
        ([b""] * 255, ""),  # more than there are numbers
    ],
)
def test_masks_that_cannot_be_one_picture_are_none(segmentations: list[bytes], void: str) -> None:
    assert object_values(segmentations, void, (4, 3)) is None


def test_an_image_without_masks_is_a_picture_of_nothing() -> None:
    values = object_values([b"", b""], "", (4, 3))
    assert values is not None
    assert values.shape == (3, 4)
    assert not values.any()
    assert object_values([b""] * 254, "", (4, 3)) is not None


def test_many_masks_are_drawn_into_one_picture() -> None:
    texts = [f'{{"size":[16,20],"counts":[{i},1,{319 - i}]}}'.encode() for i in range(254)]
    values = object_values(texts, '{"size":[16,20],"counts":[254,66]}', (20, 16))
    assert values is not None
    assert values.ravel(order="F").tolist() == [*range(1, 255), *[255] * 66]


def test_the_numbers_of_labels_stand_where_their_objects_are() -> None:
    assert class_values(NUMBERS, [4, 0, 4]).tolist() == [[0, 5, 5, 255], [0, 1, 1, 255], [5, 0, 0, 0]]
    assert class_values(np.zeros((2, 2), np.uint8), []).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(("value", "color"), DEVKIT_COLORS.items())
def test_the_palette_is_that_of_the_devkit(value: int, color: tuple[int, int, int]) -> None:
    assert tuple(voc_palette()[value].tolist()) == color


def test_a_picture_keeps_its_numbers_and_shows_the_colors() -> None:
    with Image.open(io.BytesIO(palette_png(NUMBERS))) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), NUMBERS)
        assert image.convert("RGB").getpixel((0, 2)) == DEVKIT_COLORS[3]
    assert voc_masks.MOST_OBJECTS == voc_masks.VOID - 1
