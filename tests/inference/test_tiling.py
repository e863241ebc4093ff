"""Tiles: one object is one box with one mask, wherever the seams are, and two objects are two."""

from __future__ import annotations

import json
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.data.texts import Texts
from vocdet.data.tiles import Tiles
from vocdet.errors import ArgumentError
from vocdet.inference.tiled import TiledPredictor

Box = tuple[int, int, int, int]
SIDE = 640  # of tiles; with the overlap of 0.2 the seams of an image of 1152x640 are at 512 and 640
COLORS = ((250, 0, 0), (0, 250, 0))


class SeesPixels:
    """A detector that finds exactly what it sees: one object for every patch of each label's color.

    In an image larger than a tile it confuses what is closer than `blur` pixels, as a detector does that shrinks it.
    """

    labels = ("red", "green")
    thresholds = np.array([0.5, 0.5], np.float32)
    levels: Levels | None = None

    def __init__(self, blur: int = 0, masks: bool = False) -> None:
        self.blur, self.masks, self.views = blur, masks, list[tuple[int, ...]]()

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
        return [self.one(image) for image in images]

    def one(self, image: NDArray[np.uint8]) -> Detections:
        self.views.append(image.shape[:2])
        boxes, labels, masks = [], [], []
        for label, color in enumerate(COLORS):
            mask = (image == color).all(axis=2).astype(np.uint8)
            if self.blur and max(image.shape) > SIDE:
                mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((1, self.blur), np.uint8)), np.uint8)
            count, numbers, stats, _ = cv2.connectedComponentsWithStats(mask)
            for i in range(1, count):
                x, y, w, h, _ = stats[i].tolist()
                boxes.append((x, y, x + w, y + h))
                labels.append(label)
                rle = coco.encode(np.asfortranarray(numbers == i, np.uint8))
                text = {"size": list(mask.shape), "counts": rle["counts"].decode()}
                masks.append(json.dumps(text).encode())
        scores = 0.9 - 0.01 * np.arange(len(boxes))
        return Detections(
            np.array(boxes, np.float64), scores, np.array(labels), Texts.of(masks) if self.masks else None
        )


def picture(objects: Sequence[tuple[int, Box]], size: tuple[int, int] = (1152, 640)) -> NDArray[np.uint8]:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for label, (x0, y0, x1, y1) in objects:
        image[y0:y1, x0:x1] = COLORS[label]
    return image


CASES: dict[str, list[tuple[int, Box]]] = {
    "one in the overlap": [(0, (540, 100, 600, 160))],
    "one on a seam": [(0, (600, 100, 700, 160))],
    "one that is larger than the overlap": [(0, (400, 100, 760, 300))],
    "one that is larger than a tile": [(0, (60, 50, 1100, 600))],
    "two neighbors on a seam": [(0, (560, 100, 638, 160)), (0, (642, 100, 720, 160))],
    "two neighbors that both cross the seams": [(0, (400, 100, 760, 200)), (0, (400, 204, 760, 300))],
    "a small one beside a large one": [(0, (100, 100, 900, 500)), (0, (905, 300, 925, 320))],
    "two labels, one behind the other": [(0, (400, 100, 760, 300)), (1, (480, 150, 660, 250))],
    "two labels of one place": [(0, (500, 100, 700, 200)), (1, (500, 101, 700, 199))],
    "none": [],
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_every_object_is_one_box(case: str, whole: bool) -> None:
    objects = CASES[case]
    found = TiledPredictor(SeesPixels(), Tiles(SIDE, 0.2, whole)).detect([picture(objects)])[0]
    expected = {(label, box) for label, box in objects}
    if case == "two labels of one place":  # green hides red but for its upper and lower edge
        expected = {(0, (500, 100, 700, 101)), (0, (500, 199, 700, 200)), (1, (500, 101, 700, 199))}
    assert {(int(k), tuple(box)) for k, box in zip(found.labels, found.boxes.tolist(), strict=True)} == expected
    assert len(found) == len(expected)
    assert (np.diff(found.scores) <= 0).all()


def test_what_the_whole_image_confuses_the_tiles_keep_apart() -> None:
    pair: list[tuple[int, Box]] = [(0, (700, 100, 740, 140)), (0, (748, 100, 788, 140)), (0, (796, 100, 836, 140))]
    detector = TiledPredictor(SeesPixels(blur=20), Tiles(SIDE))
    assert len(detector.inner.detect([picture(pair)])[0]) == 1  # the whole image alone
    found = detector.detect([picture(pair)])[0]
    assert sorted(tuple(box) for box in found.boxes.tolist()) == sorted(box for _, box in pair)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools' decode, with NumPy 2
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("box", [(600, 100, 700, 160), (400, 100, 760, 300), (60, 50, 1100, 600)])
def test_the_masks_of_one_object_join(box: Box, whole: bool) -> None:
    image = picture([(0, box)])
    cv2.circle(image, (650, 130), 9, (0, 0, 0), -1)  # a hole
    found = TiledPredictor(SeesPixels(masks=True), Tiles(SIDE, 0.2, whole)).detect([image])[0]
    assert found.masks is not None
    assert len(found) == 1
    decoded = coco.decode({**(rle := json.loads(found.masks[0])), "counts": rle["counts"].encode()})
    np.testing.assert_array_equal(decoded, (image == COLORS[0]).all(axis=2))


def test_tiles_cover_the_image_and_overlap_evenly() -> None:
    windows = Tiles(640, 0.2).windows(4000, 3000)
    assert (windows[:, 2:] - windows[:, :2] == 640).all()
    covered = np.zeros((3000, 4000), np.bool_)
    for x0, y0, x1, y1 in windows.tolist():
        covered[y0:y1, x0:x1] = True
    assert covered.all()
    xs = np.unique(windows[:, 0])
    assert (np.diff(xs) <= 512).all()
    assert len(windows) == 8 * 6
    assert Tiles(640).windows(300, 900).tolist() == [[0, 0, 300, 640], [0, 260, 300, 900]]
    assert Tiles(640).windows(640, 480).tolist() == [[0, 0, 640, 480]]


def test_an_image_that_is_no_larger_than_a_tile_is_detected_once() -> None:
    inner = SeesPixels()
    TiledPredictor(inner, Tiles(SIDE)).detect([picture([], (640, 480))])
    assert inner.views == [(480, 640)]


@pytest.mark.parametrize(("size", "overlap", "problem"), [(8, 0.2, "tile is 8"), (640, 0.95, "overlap is 0.95")])
def test_impossible_tiles_are_refused(size: int, overlap: float, problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem):
        Tiles(size, overlap)
