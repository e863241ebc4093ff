"""Every image keeps its shape, and a batch is no larger than its images need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from tests.inputs.masked import polygon_text, save_dataset
from tests.strategies import examples
from vocdet.data.dataset import Dataset
from vocdet.inputs.batches import BatchRequest, EpochPlan, batches, make_batch
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.images import decode, fit_size, resize
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.inputs.sampling import group_by_orientation
from vocdet.inputs.transforms import FILL, Augmentation

RNG = np.random.default_rng
SHAPES = [(160, 120), (120, 160), (100, 100), (300, 60), (40, 30), (61, 97)]  # width, height


def pictures(folder: Path, shapes: list[tuple[int, int]] | None = None, suffix: str = ".png") -> Dataset:
    """Pictures of noise, each with a rectangle in its middle half."""
    images, objects = [], []
    for i, (width, height) in enumerate(shapes or SHAPES):
        images.append(RNG(i).integers(0, 256, (height, width, 3), np.uint8))
        x0, y0, x1, y1 = width / 4, height / 4, 3 * width / 4, 3 * height / 4
        objects.append([((x0, y0, x1, y1), polygon_text([x0, y0, x1, y0, x1, y1, x0, y1]))])
    return save_dataset(folder, images, objects, suffix=suffix)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(2, 400), st.integers(2, 400), st.integers(20, 300), st.integers(0, 300))
def test_an_image_gets_the_size_that_torchvision_gives_it(width: int, height: int, size: int, more: int) -> None:
    longest = size + more
    try:
        transform = GeneralizedRCNNTransform(size, longest, [0.0] * 3, [1.0] * 3)
        (resized,) = transform([torch.zeros(3, height, width)])[0].image_sizes
    except (ValueError, RuntimeError):  # torchvision makes no image of less than a pixel
        return
    assert fit_size(width, height, size, longest) == resized


def test_no_image_is_less_than_a_pixel() -> None:
    assert fit_size(5000, 2, 100, 200) == (1, 200)
    assert fit_size(2, 5000, 100, 200) == (200, 1)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"longest": 0}, {"multiple": 0}, {"scales": (0.0, 1.0)}, {"scales": (2.0, 1.0)}]
)
def test_impossible_sizes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="sides of"):
        ResizeShortestEdge(**{"size": 10, "longest": 20, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("fit", [ResizeShortestEdge(50, 90), ResizeShortestEdge(64, 64), ResizeShortestEdge(200, 333)])
def test_as_they_are_images_have_the_pixels_that_a_predictor_sees(
    fit: ResizeShortestEdge, suffix: str, tmp_path: Path
) -> None:
    scenes = DetectionSamples(pictures(tmp_path, suffix=suffix), fit, None)
    for row, (width, height) in enumerate(SHAPES):
        expected = resize(decode(tmp_path / f"{row}{suffix}"), fit_size(width, height, fit.size, fit.longest))
        for _ in range(2):  # decoded, and as it is kept
            assert np.array_equal(scenes.draw(row, RNG(0)).image, expected)


def test_images_lie_top_left_in_the_smallest_multiple_that_holds_them(tmp_path: Path) -> None:
    scenes = DetectionSamples(pictures(tmp_path), ResizeShortestEdge(60, 100, multiple=32), None, masks=True)
    expected = [(60, 80), (80, 60), (60, 60), (20, 100), (60, 80), (95, 60)]
    for rows, canvas in (((0, 3, 4), (64, 128)), ((0, 4), (64, 96)), ((1,), (96, 64)), (range(6), (96, 128))):
        stacked = make_batch(scenes, BatchRequest(0, 1, 0, tuple(rows)))
        assert stacked.images.shape == (len(rows), 3, *canvas)
        assert stacked.sizes is not None
        assert stacked.sizes.tolist() == [list(expected[row]) for row in rows]
        for image, row in zip(stacked.images.permute(0, 2, 3, 1).numpy(), rows, strict=True):
            height, width = expected[row]
            assert np.array_equal(image[:height, :width], scenes.draw(row, RNG(0)).image)
            assert (image[height:] == FILL).all()
            assert (image[:, width:] == FILL).all()


def test_a_batch_knows_the_size_of_every_image(tmp_path: Path) -> None:
    (batch,) = batches(
        DetectionSamples(pictures(tmp_path), ResizeShortestEdge(60, 100), None), EpochPlan(6, seed=0, epoch=1)
    )
    assert batch.sizes is not None
    assert (batch.sizes.dtype, batch.sizes.shape) == (torch.int64, (6, 2))
    assert batch.sizes[3].tolist() == [20, 100]
    (batch,) = batches(DetectionSamples(pictures(tmp_path), (64, 64), None), EpochPlan(6, seed=0, epoch=1))
    assert batch.sizes is None


def test_an_empty_part_of_a_batch_has_images_too(tmp_path: Path) -> None:
    scenes = DetectionSamples(pictures(tmp_path, [(80, 60)]), ResizeShortestEdge(60, 100), None, masks=True)
    (batch,) = batches(scenes, EpochPlan(2, seed=0, epoch=1, rank=1, world=2))
    assert batch.images.shape == (0, 3, 32, 32)
    assert batch.sizes is not None
    assert batch.sizes.shape == (0, 2)


def test_scales_are_drawn_for_every_sample_and_keep_its_shape(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, [(160, 120)] * 3)
    scenes = DetectionSamples(dataset, ResizeShortestEdge(120, 1000, (0.5, 1.5)), Augmentation())
    sizes = np.array([scenes.draw(0, RNG(seed)).image.shape[:2] for seed in range(60)])
    assert sizes[:, 0].min() >= 60
    assert sizes[:, 0].max() <= 180
    assert np.ptp(sizes[:, 0]) > 80
    assert np.abs(sizes[:, 1] - sizes[:, 0] * 4 / 3).max() < 2
    as_it_is = DetectionSamples(dataset, ResizeShortestEdge(120, 1000, (0.5, 1.5)), None)
    assert {as_it_is.draw(0, RNG(seed)).image.shape for seed in range(5)} == {(120, 160, 3)}


@pytest.mark.parametrize("turns", [False, True])
def test_objects_are_not_stretched(turns: bool, tmp_path: Path) -> None:
    # squares in pictures of all shapes
    images = [np.zeros((height, width, 3), np.uint8) for width, height in SHAPES]
    objects = []
    for width, height in SHAPES:
        s = min(width, height) / 2
        objects.append([((width / 2 - s / 2, height / 2 - s / 2, width / 2 + s / 2, height / 2 + s / 2), b"")])
    augmentation = Augmentation(color=0, mosaic=0.3, mixup=0.3, rotate=turns)
    scenes = DetectionSamples(
        save_dataset(tmp_path, images, objects), ResizeShortestEdge(100, 160, (0.8, 1.25)), augmentation
    )
    whole = 0
    for seed in range(60):
        sample = scenes.draw(seed % len(SHAPES), RNG(seed))
        height, width = sample.image.shape[:2]
        inside = (sample.boxes[:, :2] > 0.5).all(1) & (sample.boxes[:, 2:] < (width - 0.5, height - 0.5)).all(1)
        for x0, y0, x1, y1 in sample.boxes[inside]:
            whole += abs((x1 - x0) - (y1 - y0)) <= 0.08 * (x1 - x0) + 2
    assert whole > 40


def test_a_quarter_turn_exchanges_height_and_width(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, [(160, 120), (120, 160), (100, 100)])
    scenes = DetectionSamples(
        dataset, ResizeShortestEdge(60, 80), Augmentation(whole=1, zoom_out=0, color=0, rotate=True), masks=True
    )
    for row, shapes in ((0, {(60, 80), (80, 60)}), (1, {(60, 80), (80, 60)}), (2, {(60, 60)})):
        drawn = [scenes.draw(row, RNG(seed)) for seed in range(24)]
        assert {(sample.image.shape[0], sample.image.shape[1]) for sample in drawn} == shapes
        if row < 2:
            assert 4 < sum(sample.image.shape[0] == 60 for sample in drawn) < 20
        assert len({sample.image.tobytes() for sample in drawn}) == 8
        for sample in drawn:
            height, width = sample.image.shape[:2]
            assert sample.boxes.tolist() == [[width / 4, height / 4, 3 * width / 4, 3 * height / 4]]
            assert sample.masks is not None
            assert sample.masks.where.tolist() == sample.boxes.tolist()
    stacked = make_batch(scenes, BatchRequest(0, 1, 0, (0,) * 12))
    assert stacked.images.shape == (12, 3, 96, 96)
    assert stacked.sizes is not None
    assert {tuple(size) for size in stacked.sizes.tolist()} == {(60, 80), (80, 60)}


def test_a_sample_is_the_same_alone_and_in_a_batch(tmp_path: Path) -> None:
    augmentation = Augmentation(mosaic=0.3, mixup=0.3, copy_paste=0.5, rotate=True)
    scenes = DetectionSamples(pictures(tmp_path), ResizeShortestEdge(60, 100, (0.5, 2)), augmentation, masks=True)
    batch = make_batch(scenes, BatchRequest(7, 2, 30, (5, 0, 3)))
    assert batch.sizes is not None
    for i, row in enumerate((5, 0, 3)):
        alone = scenes.draw(row, RNG((7, 2, 30 + i)))
        height, width = alone.image.shape[:2]
        assert batch.sizes[i].tolist() == [height, width]
        assert np.array_equal(batch.images[i, :, :height, :width].permute(1, 2, 0).numpy(), alone.image)
        part = batch.part(i, i + 1)
        assert part.boxes[part.labels >= 0].tolist() == alone.boxes.astype(np.float32).tolist()
        assert part.masks is not None
        assert alone.masks is not None
        assert np.array_equal(part.masks.where, alone.masks.where)
        assert np.array_equal(part.masks.pixels, alone.masks.pixels)


def test_images_are_kept_as_large_as_their_largest_scale_needs(tmp_path: Path) -> None:
    shapes = [(1600, 1200), (160, 120)]
    dataset = pictures(tmp_path, shapes)
    augmented = DetectionSamples(dataset, ResizeShortestEdge(120, 200, (0.5, 1.5)), Augmentation())
    assert augmented.images[0].shape == (2 * 180, 2 * 240, 3)  # a crop of half its sides is still sharp
    assert augmented.images[1].shape == (120, 160, 3)
    as_they_are = DetectionSamples(dataset, ResizeShortestEdge(120, 200, (0.5, 1.5)), None)
    assert as_they_are.images[0].shape == (120, 160, 3)


def test_an_epochs_batches_of_one_shape_need_less_padding(tmp_path: Path) -> None:
    scenes = DetectionSamples(pictures(tmp_path, [(160, 120), (120, 160)] * 6), ResizeShortestEdge(60, 80), None)
    assert scenes.is_landscape().tolist() == [True, False] * 6
    order = np.random.default_rng(0).permutation(12)
    plain, grouped = (
        [batch.images.shape[2:] for batch in batches(scenes, EpochPlan(3, seed=0, epoch=1, order=one))]
        for one in (order, group_by_orientation(order, scenes.is_landscape(), 3))
    )
    assert (96, 96) in plain
    assert set(grouped) == {(64, 96), (96, 64)}
