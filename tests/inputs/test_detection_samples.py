"""Boxes are where their pixels are, whatever is done to a scene."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.strategies import examples
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.texts import Texts
from vocdet.inputs.batches import BatchRequest, make_batch
from vocdet.inputs.crop_samples import CropAugmentation, CropSamples
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.image_cache import CacheOptions
from vocdet.inputs.images import decode, resize
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.inputs.samples import Sample
from vocdet.inputs.transforms import Augmentation

MakeDataset = Callable[..., Dataset]
RNG = np.random.default_rng
Box = tuple[int, int, int, int]
Color = tuple[int, ...]

COLORS: list[Color] = [c for c in itertools.product((0, 130, 255), repeat=3) if max(c) - min(c) > 100]
CROP = Augmentation(whole=0, zoom_out=0, flip=0, color=0)
ONLY = {
    "whole": Augmentation(whole=1, zoom_out=0, flip=0, color=0),
    "flip": Augmentation(whole=1, zoom_out=0, flip=1, color=0),
    "expand": Augmentation(whole=0, zoom_out=1, largest_canvas=3.0, flip=0.5, color=0),
    "crop": CROP,
    "turns": Augmentation(whole=1, zoom_out=0, color=0, rotate=True),
    "all": Augmentation(color=0, rotate=True),
}


def painted(folder: Path, pictures: Sequence[tuple[tuple[int, int], Box, Color]]) -> Dataset:
    """Black images of these (width, height), each with one rectangle of a color; image k has label k."""
    for i, ((width, height), (x0, y0, x1, y1), color) in enumerate(pictures):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[y0:y1, x0:x1] = color
        Image.fromarray(pixels).save(folder / f"{i}.png")
    n = len(pictures)
    names, rows, no = tuple(f"{i}.png" for i in range(n)), np.arange(n, dtype=np.int32), np.zeros(n, np.bool_)
    widths, heights = np.array([size for size, _, _ in pictures]).T
    boxes = np.array([box for _, box, _ in pictures], np.float64)
    objects = Objects(rows, rows, boxes, no, no, no, no, np.zeros(n, np.int32))
    return Dataset(folder, tuple(map(str, rows)), Images(names, names, widths, heights, ("",) * n), objects)


def extent(mask: NDArray[np.bool_], box: NDArray[np.float64]) -> list[int]:
    """The box round the pixels that hang together with the middle of a box."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8))
    x, y = ((box[:2] + box[2:]) / 2).astype(int)
    assert parts[y, x], "the middle of the box shows something else"
    ys, xs = (np.flatnonzero((parts == parts[y, x]).any(axis)) for axis in (1, 0))
    return [int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1]


def check(sample: Sample, mask_of: Callable[[int], NDArray[np.bool_]]) -> int:
    """Every box is where the pixels of its label are, to a pixel; how many there are."""
    for box, label in zip(sample.boxes, sample.labels.tolist(), strict=True):
        assert np.abs(box - extent(mask_of(label), box)).max() <= 1.0
    return len(sample.boxes)


@st.composite
def pictures(draw: st.DrawFn, color: Color) -> tuple[tuple[int, int], Box, Color]:
    width, height = draw(st.integers(48, 420)), draw(st.integers(48, 420))
    x0, y0 = draw(st.integers(0, width * 2 // 3)), draw(st.integers(0, height * 2 // 3))
    x1, y1 = draw(st.integers(x0 + width // 4, width)), draw(st.integers(y0 + height // 4, height))
    return (width, height), (x0, y0, x1, y1), color


@pytest.mark.parametrize("name", ONLY)
@settings(max_examples=40, deadline=None)
@given(pictures((255, 0, 0)), st.integers(0, 2**32 - 1))
def test_a_box_follows_its_pixels_through_every_augmentation(
    name: str, picture: tuple[tuple[int, int], Box, Color], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sample = DetectionSamples(painted(Path(folder), [picture]), (96, 96), ONLY[name]).draw(0, RNG(seed))
    assert check(sample, lambda _: (sample.image[..., 0] > 127) & (sample.image[..., 1] < 64)) == len(sample.labels)
    if name in ("whole", "flip", "turns"):
        assert len(sample.boxes) == 1


@settings(max_examples=examples(60), deadline=None)
@given(pictures((255, 0, 0)), pictures((0, 255, 0)), st.integers(0, 2**32 - 1))
def test_of_two_scenes_laid_over_each_other_both_are_learned(
    red: tuple[tuple[int, int], Box, Color], green: tuple[tuple[int, int], Box, Color], seed: int
) -> None:
    augmentation = Augmentation(whole=0.4, zoom_out=0, color=0, mixup=1)
    with tempfile.TemporaryDirectory() as folder:
        sample = DetectionSamples(painted(Path(folder), [red, green]), (96, 96), augmentation).draw(0, RNG(seed))
    assume(sorted(sample.labels.tolist()) == [0, 1])
    assert check(sample, lambda label: sample.image[..., label] > 63) == 2


def test_boxes_are_where_their_pixels_are_in_mosaics(tmp_path: Path) -> None:
    rng = RNG(0)

    def random_picture(color: Color) -> tuple[tuple[int, int], Box, Color]:
        width, height = rng.integers(150, 400, 2).tolist()
        x0, y0 = int(rng.integers(4, width // 2)), int(rng.integers(4, height // 2))
        return (width, height), (x0, y0, x0 + width // 3, y0 + height // 3), color

    dataset = painted(tmp_path, [random_picture(color) for color in COLORS])
    scenes = DetectionSamples(dataset, (160, 160), Augmentation(color=0, mosaic=1, rotate=True))
    seen = 0
    for seed in range(60):
        sample = scenes.draw(seed % len(scenes), RNG(seed))
        if len(np.unique(sample.labels)) < 4:  # the same image twice: its pixels may touch
            continue
        image = sample.image.astype(int)
        seen += check(sample, lambda k, image=image: (np.abs(image - COLORS[k]) < 64).all(2))  # type: ignore[misc]
    assert seen > 100


def crowded(folder: Path) -> Dataset:
    """Black images, each with a red crowd and a green object with a mask."""
    folder.mkdir(exist_ok=True)
    crowds, boxes = [(20, 30, 150, 120), (90, 8, 190, 60)], [(100, 40, 190, 140), (10, 70, 80, 150)]
    for i, (crowd, box) in enumerate(zip(crowds, boxes, strict=True)):
        pixels = np.zeros((160, 200, 3), np.uint8)
        for (x0, y0, x1, y1), color in ((crowd, (255, 0, 0)), (box, (0, 255, 0))):
            pixels[y0:y1, x0:x1] = color
        Image.fromarray(pixels).save(folder / f"{i}.png")
    x = [f"[[{x0},{y0},{x1},{y0},{x1},{y1},{x0},{y1}]]".encode() for x0, y0, x1, y1 in boxes]
    no, names = np.zeros(4, np.bool_), ("0.png", "1.png")
    objects = Objects(
        np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([crowds[0], boxes[0], crowds[1], boxes[1]], float),
        no, no, no, np.array([True, False, True, False]), np.zeros(4, np.int32),
        segmentation=Texts.of([b"", x[0], b"", x[1]]),
    )  # fmt: skip
    return Dataset(folder, ("red", "green"), Images(names, names, np.full(2, 200), np.full(2, 160), ("",) * 2), objects)


@pytest.mark.parametrize("size", [(96, 96), ResizeShortestEdge(96, 160, (0.8, 1.25))])
@pytest.mark.parametrize("name", [*ONLY, "mosaic", "mixup", "copy_paste"])
def test_a_crowd_follows_its_pixels_through_every_augmentation(
    name: str, size: tuple[int, int] | ResizeShortestEdge, tmp_path: Path
) -> None:
    augmentation = ONLY.get(name, Augmentation(color=0, rotate=True, **({name: 1.0} if name not in ONLY else {})))
    samples = DetectionSamples(crowded(tmp_path), size, augmentation, masks=True)
    seen = 0
    for seed in range(30):
        sample = samples.draw(seed % 2, RNG(seed))
        assert set(sample.labels.tolist()) <= {1}  # crowds are no objects
        red = sample.image[..., 0].astype(int) - sample.image[..., 1] > 64
        inside = np.zeros(red.shape, np.bool_)
        for x0, y0, x1, y1 in np.rint(sample.crowds).astype(int).tolist():
            inside[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1] = True
        assert not (red & ~inside).any()
        seen += len(sample.crowds)
    assert seen > 10


def test_crowds_are_in_their_batch_padded_with_empty_boxes(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(6, 8, 30, 20), (33, 4, 57, 36)], [(1, 1, 9, 9)]], crowd=[1])
    batch = make_batch(DetectionSamples(dataset, (80, 120), None), BatchRequest(0, 1, 0, (1, 0)))
    assert batch.crowds is not None
    assert batch.crowds.tolist() == [[[0, 0, 0, 0]], [[66, 8, 114, 72]]]
    assert batch.part(1, 2).crowds is not None
    assert batch.part(1, 2).crowds.tolist() == [[[66, 8, 114, 72]]]  # type: ignore[union-attr]
    without = make_batch(DetectionSamples(dataset, (80, 120), None), BatchRequest(0, 1, 0, (1,)))
    assert without.crowds is None


def test_no_crop_is_chosen_around_a_crowd(make_dataset: MakeDataset) -> None:
    boxes = [[(2, 2, 12, 12), (30, 20, 58, 38)]]
    object_alone = DetectionSamples(make_dataset([boxes[0][1:]]), (64, 64), CROP)
    expected = [object_alone.draw(0, RNG(seed)).boxes for seed in range(20)]
    beside_a_crowd = DetectionSamples(make_dataset(boxes, crowd=[0]), (64, 64), CROP)
    found = [beside_a_crowd.draw(0, RNG(seed)).boxes for seed in range(20)]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_batch_names_all_images_that_are_in_it(tmp_path: Path) -> None:
    dataset = painted(tmp_path, [((96, 96), (16, 16, 80, 80), color) for color in COLORS])
    whole = Augmentation(whole=1, zoom_out=0, flip=0, color=0, mosaic=1, mixup=1)
    for seed in range(5):
        stacked = make_batch(DetectionSamples(dataset, (96, 96), whole), BatchRequest(seed, 1, 0, (3, 8)))
        seen = set(stacked.labels.ravel().tolist()) - {-1}  # image k shows label k
        assert set(stacked.rows) == seen
        assert len(stacked.rows) == len(seen) > 5
        assert stacked.rows[0] == 3
    plain = make_batch(DetectionSamples(dataset, (96, 96), None), BatchRequest(0, 1, 0, (3, 8, 3)))
    assert plain.rows == (3, 8)
    crops = CropSamples(dataset, 32, context=0, augmentation=CropAugmentation(rotate=True))
    assert make_batch(crops, BatchRequest(0, 1, 0, (5, 2))).rows == (5, 2)


def test_mixup_and_mosaic_occur_at_the_requested_rates(tmp_path: Path) -> None:
    dataset = painted(tmp_path, [((96, 96), (32, 32, 64, 64), c) for c in COLORS[:4]])
    for mosaic, mixup, fewest, most in ((0, 0, 1, 1), (1, 0, 4, 4), (0, 1, 2, 2), (1, 1, 8, 8), (0.5, 0.5, 3, 4.6)):
        always = Augmentation(whole=1, zoom_out=0, color=0, mosaic=mosaic, mixup=mixup)
        scenes = DetectionSamples(dataset, (96, 96), always)
        assert fewest <= np.mean([len(scenes.draw(0, RNG(seed)).labels) for seed in range(60)]) <= most


@pytest.mark.parametrize("augmentation", [None, Augmentation(), Augmentation(mosaic=1, mixup=1, rotate=True, color=0)])
def test_a_sample_is_drawn_into_the_canvas_that_it_is_given(
    make_dataset: MakeDataset, augmentation: Augmentation | None
) -> None:
    dataset = make_dataset([[(6, 8, 30, 20)], [(33, 4, 57, 36)]], size=(120, 90))
    scenes = DetectionSamples(dataset, (64, 64), augmentation)
    crops = CropSamples(
        dataset, 64, context=0.2, augmentation=CropAugmentation(rotate=True) if augmentation is not None else None
    )
    for seed in range(8):
        for samples in (scenes, crops):
            canvases = np.full((3, 64, 64, 3), seed, np.uint8)
            sample, alone = samples.draw(0, RNG(seed), canvases[1]), samples.draw(0, RNG(seed))
            assert sample.image is canvases[1] or sample.image.base is canvases
            assert np.array_equal(canvases[1], alone.image)
            assert np.array_equal(sample.boxes, alone.boxes)
            assert (canvases[[0, 2]] == seed).all()


def test_samples_are_the_same_with_and_without_a_cache(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(6, 8, 30, 20)], [(33, 4, 57, 36)]], size=(300, 200))
    request = BatchRequest(1, 2, 0, (0, 1, 0))

    def made(cache: CacheOptions) -> Iterator[torch.Tensor]:
        for samples in (
            DetectionSamples(dataset, (64, 64), Augmentation(mosaic=0.5), cache=cache),
            CropSamples(dataset, 32, context=0.1, cache=cache, augmentation=CropAugmentation()),
        ):
            yield make_batch(samples, request).images
            yield make_batch(samples, request).images  # from the cache

    expected = list(made(CacheOptions(budget=0)))
    for cache in (CacheOptions(), CacheOptions(shared=True)):
        assert all(torch.equal(a, b) for a, b in zip(expected, made(cache), strict=True))


def test_an_unaugmented_sample_has_the_pixels_of_the_predictor(tmp_path: Path) -> None:
    noise = RNG(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).resize((800, 600)).save(tmp_path / "0.jpg")
    names, no = ("0.jpg",), np.zeros(0, np.bool_)
    empty = np.zeros(0, np.int32)
    dataset = Dataset(
        tmp_path, (), Images(names, names, np.array([800]), np.array([600]), ("",)),
        Objects(empty, empty, np.zeros((0, 4)), no, no, no, no, empty),
    )  # fmt: skip
    expected = resize(decode(tmp_path / "0.jpg"), (64, 64))
    assert np.array_equal(DetectionSamples(dataset, (64, 64), None).draw(0, RNG(0)).image, expected)


def test_every_sample_has_the_name_of_its_file(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset([[(6, 8, 30, 20), (33, 4, 57, 36)], [(1, 1, 20, 20)]])
    assert DetectionSamples(dataset, (64, 64), None).name(1) == str(tmp_path / "1.png")
    crops = CropSamples(dataset, 32, context=0)
    assert [crops.name(i) for i in range(3)] == [str(tmp_path / name) for name in ("0.png", "0.png", "1.png")]


def test_labels_that_are_shown_leave_crowds_out_and_name_a_label_once(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(1, 1, 9, 9), (20, 20, 30, 30)], [], [(5, 5, 15, 15)]], crowd=[1])
    twice = dataset.subset([0, 1, 2]).select_objects([0, 0, 1, 2])
    assert DetectionSamples(twice, (64, 64), None).shown_labels().tolist() == [[0, 0], [2, 0]]
    assert CropSamples(dataset, 32, context=0).shown_labels().tolist() == [[0, 0], [1, 0]]
