"""A dataset of tiles: what is learned in each of them, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from vocdet import masks
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.texts import Texts
from vocdet.data.tiles import Tiles, tiled, training_tiles
from vocdet.inputs.image_cache import CacheOptions, ImageCache


def dataset(boxes: list[tuple[int, int, int, int]], *, masked: bool = False, root: Path = Path()) -> Dataset:
    """One image of 180x100 pixels; with tiles of 100 and no overlap, the seam is at 80 to 100."""
    n = len(boxes)
    no, zero = np.zeros(n, np.bool_), np.zeros(n, np.int32)
    texts = []
    for x0, y0, x1, y1 in boxes:
        pixels = np.zeros((100, 180), np.bool_)
        pixels[y0:y1, x0:x1] = True
        texts.append(masks.rle_json(pixels) if masked else b"")
    objects = Objects(zero, zero, np.array(boxes, np.float64), no, no, no, no, zero, segmentation=Texts.of(texts))
    images = Images(("a",), ("a.png",), np.array([180]), np.array([100]), ("a.xml",))
    return Dataset(root, ("x",), images, objects, splits={"train": np.array([0])})


def contents(tiles: Dataset) -> list[list[tuple[list[float], bool]]]:
    return [
        [(box, crowd) for box, crowd in zip(one.objects.box.tolist(), one.objects.crowd.tolist(), strict=True)]
        for one in tiles
    ]


def test_a_tile_has_the_objects_of_which_it_shows_half_and_ignores_the_others() -> None:
    boxes = [(10, 10, 20, 20), (70, 10, 90, 20), (85, 30, 95, 40), (60, 50, 110, 60), (98, 70, 178, 80)]
    tiles = tiled(dataset(boxes), Tiles(100, 0, whole=False))
    assert tiles.images.windows.tolist() == [[0, 0, 100, 100, 180, 100], [80, 0, 180, 100, 180, 100]]
    assert [(one.width, one.height) for one in tiles] == [(100, 100), (100, 100)]
    assert contents(tiles) == [
        [([10, 10, 20, 20], False), ([70, 10, 90, 20], False), ([85, 30, 95, 40], False), ([60, 50, 100, 60], False)],
        [([0, 10, 10, 20], False), ([5, 30, 15, 40], False), ([0, 50, 30, 60], False), ([18, 70, 98, 80], False)],
    ]
    truncated = tiles.objects.truncated.tolist()
    assert truncated == [False, False, False, True, True, False, True, False]
    (left, right) = contents(tiled(dataset([(90, 0, 140, 10)]), Tiles(100, 0, whole=False), every=True))
    assert (left, right) == ([([90, 0, 100, 10], True)], [([10, 0, 60, 10], False)])  # a fifth of it: ignored


def test_the_whole_image_is_for_objects_that_a_tile_may_truncate() -> None:
    made = tiled(dataset([(10, 10, 20, 20), (0, 30, 170, 90)]), Tiles(100, 0.2))
    assert made.images.windows[-1].tolist() == [0, 0, 180, 100, 180, 100]
    assert contents(made)[-1] == [([10, 10, 20, 20], True), ([0, 30, 170, 90], False)]


def test_tiles_without_objects_are_as_many_as_those_with_objects() -> None:
    wide = dataset([(0, 0, 10, 10)])
    images = Images(("a",), ("a.png",), np.array([2000]), np.array([100]), ("a.xml",))
    wide = Dataset(wide.root, wide.labels, images, wide.objects)
    assert len(tiled(wide, Tiles(100, 0, whole=False))) == 2
    assert len(tiled(wide, Tiles(100, 0, whole=False), every=True)) == 20


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools' decode, with NumPy 2
def test_masks_are_cut_at_the_tiles() -> None:
    made = tiled(dataset([(60, 50, 110, 60)], masked=True), Tiles(100, 0, whole=False))
    for row, columns in enumerate((slice(60, 100), slice(0, 30))):
        rle = json.loads(made[row].objects.segmentation[0])
        expected = np.zeros((100, 100), np.uint8)
        expected[50:60, columns] = 1
        np.testing.assert_array_equal(coco.decode({**rle, "counts": rle["counts"].encode()}), expected)


@pytest.mark.parametrize("budget", [None, 0, 31_000])  # bytes: all tiles, none, one of them
def test_the_pixels_of_a_tile_are_those_of_its_image(tmp_path: Path, budget: int | None) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 180, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    made = tiled(dataset([(60, 50, 110, 60)], root=tmp_path), Tiles(100, 0, whole=False))
    cache = ImageCache(made, at_most=(100, 100), options=CacheOptions(budget))
    for _ in range(2):
        np.testing.assert_array_equal(cache[1], noise[:, 80:])
        np.testing.assert_array_equal(cache[0], noise[:, :100])


def test_the_whole_image_is_used_if_an_object_is_larger_than_a_tile() -> None:
    boxes = np.array([[0.0, 0, 90, 20]])
    assert training_tiles(0, 0.2, boxes) is None
    assert training_tiles(100, 0.3, boxes) == Tiles(100, 0.3, whole=False)
    assert training_tiles(80, 0.2, boxes) == Tiles(80, 0.2, whole=True)
