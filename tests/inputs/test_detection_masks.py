"""Masks are where their pixels are and boxes go round them, whatever is done to a scene."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.inputs.masked import Pixels, bounds_of, in_full, polygon_text, rle_text, save_dataset, whole_mask
from vocdet.data.dataset import Dataset
from vocdet.inputs.batches import EpochPlan, batches
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.inputs.samples import Sample
from vocdet.inputs.transforms import Augmentation

RNG = np.random.default_rng
COLORS = [c for c in itertools.product((0, 255), repeat=3) if len(set(c)) > 1]
PLAIN = Augmentation(whole=1, zoom_out=0, flip=0, color=0)
HOW = {
    "whole": PLAIN,
    "flip": replace(PLAIN, flip=1),
    "expand": Augmentation(whole=0, zoom_out=1, color=0),
    "crop": Augmentation(whole=0, zoom_out=0, color=0),
    "turns": replace(PLAIN, rotate=True),
    "mosaic": Augmentation(color=0, mosaic=1, rotate=True),
}
SIZES: dict[str, tuple[int, int] | ResizeShortestEdge] = {
    "square": (128, 128), "stretched": (96, 160), "fit": ResizeShortestEdge(120, 200, (0.7, 1.3)),
}  # fmt: skip


def ring(rng: np.random.Generator, width: int, height: int) -> list[float]:
    """A polygon somewhere in a picture, of a fifth to a half of its shorter side."""
    reach = rng.uniform(0.1, 0.25) * min(width, height)
    x, y = rng.uniform(reach, (width - reach, height - reach))
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    r = reach * rng.uniform(0.8, 1, 12)
    return np.round(np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], 1), 2).reshape(-1).tolist()


def painted(folder: Path, count: int, seed: int = 0) -> Dataset:
    """Black pictures of many shapes, each with one shape of a color, which no other has; every other one is an RLE."""
    rng, images, objects = RNG(seed), [], []
    for i in range(count):
        width, height = rng.integers(150, 400, 2).tolist()
        polygon = ring(rng, width, height)
        mask = whole_mask([polygon], width, height)
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[mask] = COLORS[i]
        images.append(pixels)
        text = rle_text(mask) if i % 2 else polygon_text(polygon)
        xs, ys = polygon[::2], polygon[1::2]
        objects.append([((min(xs), min(ys), max(xs), max(ys)), text)])
    dataset = save_dataset(folder, images, objects)
    labels = np.arange(count, dtype=np.int32)
    return replace(dataset, labels=tuple(map(str, labels)), objects=replace(dataset.objects, label=labels))


def check(sample: Sample) -> int:
    """Every mask covers the pixels of its object's color, to a pixel's width at the edge; how many there are."""
    assert sample.masks is not None
    height, width = sample.image.shape[:2]
    image = sample.image.astype(int)
    for i, label in enumerate(sample.labels.tolist()):
        mask = in_full(sample.masks, i, height, width)
        shown = (np.abs(image - COLORS[label]) < 64).all(2)
        different = mask ^ shown
        if sample.rows.count(label) > 1:  # a picture twice in a mosaic, maybe too little of it to count
            different &= mask
        edge = grown(mask) & grown(~mask)
        assert not different[~grown(edge)].any()
        assert different.sum() <= 0.6 * edge.sum() + 3
        x0, y0, x1, y1 = sample.boxes[i].tolist()
        assert np.abs(np.array(bounds_of(mask)) - (x0, y0, x1, y1)).max() <= 1.5
        assert sample.masks.where[i].tolist() == bounds_of(mask)
    return len(sample.labels)


def grown(mask: Pixels) -> Pixels:
    """A mask and all pixels beside it."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 1), (3, 3))
    return np.asarray(around.any(axis=(2, 3)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", HOW)
def test_a_mask_follows_its_pixels_through_every_augmentation(how: str, size: str, tmp_path: Path) -> None:
    scenes = DetectionSamples(painted(tmp_path, 6), SIZES[size], HOW[how], masks=True)
    seen = sum(check(scenes.draw(seed % 6, RNG(seed))) for seed in range(16))
    assert seen >= (16 if how in ("whole", "flip", "turns") else 8)


def test_as_they_are_images_have_the_masks_that_pycocotools_draws_at_their_size(tmp_path: Path) -> None:
    polygon = [20.5, 10, 99, 30.25, 70, 90, 31, 77.5]
    image = np.zeros((120, 160, 3), np.uint8)
    dataset = save_dataset(tmp_path, [image], [[((20.5, 10, 99, 90), polygon_text(polygon))]])
    for size, scale in (((60, 80), 0.5), ((120, 160), 1.0), ((240, 320), 2.0)):
        for what in (size, ResizeShortestEdge(size[0], 2000)):
            sample = DetectionSamples(dataset, what, None, masks=True).draw(0, RNG(0))
            assert sample.masks is not None
            expected = whole_mask([[scale * value for value in polygon]], size[1], size[0])
            assert np.array_equal(in_full(sample.masks, 0, *size), expected)
            assert sample.boxes.tolist() == [[20.5 * scale, 10 * scale, 99 * scale, 90 * scale]]


def test_masks_are_loaded_only_on_request(tmp_path: Path) -> None:
    dataset = painted(tmp_path, 2)
    for augmentation in (None, Augmentation(), Augmentation(mixup=1, mosaic=1, rotate=True)):
        (batch,) = batches(DetectionSamples(dataset, (64, 64), augmentation), EpochPlan(2, seed=0, epoch=1))
        assert batch.masks is None
        (batch,) = batches(DetectionSamples(dataset, (64, 64), augmentation, masks=True), EpochPlan(2, seed=0, epoch=1))
        assert batch.masks is not None
        assert len(batch.masks) == (batch.labels >= 0).sum()


def test_masks_do_not_change_what_is_drawn(tmp_path: Path) -> None:
    dataset = painted(tmp_path, 6)
    for seed in range(6):
        with_, without = (
            DetectionSamples(dataset, (96, 96), Augmentation(mosaic=0.5, rotate=True), masks=masks).draw(
                seed, RNG(seed)
            )
            for masks in (True, False)
        )
        assert np.array_equal(with_.image, without.image)
        assert set(with_.labels.tolist()) <= set(without.labels.tolist())


def test_of_two_scenes_laid_over_each_other_both_have_masks(tmp_path: Path) -> None:
    scenes = DetectionSamples(painted(tmp_path, 4), (128, 128), replace(PLAIN, mixup=1), masks=True)
    for seed in range(8):
        sample = scenes.draw(seed % 4, RNG(seed))
        assert sample.masks is not None
        assert len(sample.labels) == len(sample.masks) == 2
        for i, label in enumerate(sample.labels.tolist()):
            mask = in_full(sample.masks, i, 128, 128)
            expected = DetectionSamples(painted(tmp_path, 4), (128, 128), None, masks=True).draw(label, RNG(0)).masks
            assert expected is not None
            assert np.abs(sample.masks.where[i] - expected.where[0]).max() <= 1
            assert mask.sum() == pytest.approx(expected.pixels.sum(), rel=0.05)


def test_a_batch_has_the_masks_of_its_images_in_the_order_of_their_labels(tmp_path: Path) -> None:
    dataset = painted(tmp_path, 6)
    empty = dataset.select_objects(np.array([0, 1, 3, 4, 5]))  # of image 2 there is none
    scenes = DetectionSamples(empty, (96, 96), None, masks=True)
    (batch,) = batches(scenes, EpochPlan(6, seed=0, epoch=1))
    assert batch.masks is not None
    labels = batch.labels[batch.labels >= 0].tolist()
    assert labels == [0, 1, 3, 4, 5]
    for k, row in enumerate(labels):
        own = scenes.draw(row, RNG(0)).masks
        assert own is not None
        assert np.array_equal(batch.masks.crop(k), own.crop(0))


def test_pasting_needs_masks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pasted along their masks"):
        DetectionSamples(painted(tmp_path, 2), (64, 64), Augmentation(copy_paste=0.5))


@pytest.mark.parametrize("size", ["square", "fit"])
def test_what_is_pasted_hides_what_is_below(size: str, tmp_path: Path) -> None:
    dataset = painted(tmp_path, 6, seed=5)
    pasted = replace(PLAIN, rotate=True, copy_paste=1)
    scenes = DetectionSamples(dataset, SIZES[size], pasted, masks=True)
    twice = 0
    for seed in range(40):
        sample = scenes.draw(seed % 6, RNG(seed))
        assert sample.masks is not None
        if len(set(sample.labels.tolist())) == len(sample.labels):
            check(sample)
        both = np.zeros(sample.image.shape[:2], np.int64)
        for i in range(len(sample.labels)):
            both += in_full(sample.masks, i, *sample.image.shape[:2])
        assert both.max(initial=0) <= 1  # no pixel belongs to two objects
        twice += len(sample.labels) > 1
    assert twice > 20
